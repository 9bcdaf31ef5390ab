"""The IR text: what a person reads, what a diff of two stages compares, what `irc opt` takes and gives."""

from irc.text.files import load_graph, read_npz, save_graph, write_npz
from irc.text.printer import large_constants, print_graph, print_node
from irc.text.reader import read_graph

__all__ = [
    "large_constants",
    "load_graph",
    "print_graph",
    "print_node",
    "read_graph",
    "read_npz",
    "save_graph",
    "write_npz",
]
