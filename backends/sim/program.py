"""The emitted program: header, one function an actor, the table of the network, the timing law, the command line."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterable, Sequence
from itertools import chain
from textwrap import fill, indent
from types import ModuleType

import numpy as np

from backends.sim import runtime
from backends.sim.actors import actor_code
from backends.sim.names import Names, plain
from irc.actor import node_firings, stream, stream_operands
from irc.dataflow import law
from irc.dataflow.timing import channel_names
from irc.graph import Graph, Node, Port
from irc.types import Array, IntArray, StreamType, TensorType

ELEMENTS_AT_ONCE = 1 << 22  # of all channels together; more samples at once would only take more memory

# what the functions written here use besides the names of the two modules copied
OWN_NAMES = ("DATA", "archive", "blocks", "channels", "compute", "counts", "design", "network", "pixels", "scaled",
             "sums", "thresholds", "weight", "windows")

HEADER = '''\
"""Cycle-exact simulator of {name}. It needs this file, weights.npz beside it, and NumPy.

    python sim.py --report                              latency, initiation interval, utilisation
    python sim.py --input x.npz --output y.npz          the same integers as the hardware
    python sim.py --frames 1000 --vcd waves.vcd         when every token enters and leaves every FIFO

Values and timing are apart: what a token carries never changes when it moves. The functions `run_...` compute the
values of one actor each, as arrays [samples, positions, elements]; `network` tells the timing law which firing of an
actor takes and makes which tokens.
"""
'''

FOOTER = '''\
if __name__ == "__main__":
    main(design())
'''


def program(graph: Graph) -> tuple[str, dict[str, Array]]:
    """`sim.py` and the arrays of `weights.npz`."""
    names = Names(chain(vars(law), vars(runtime), OWN_NAMES))
    known = {channel: names.fresh(channel) for channel in channel_names(graph)}
    data: dict[str, Array] = {c.name: c.data for c in graph.constants.values()}
    parts = [
        f"{HEADER.format(name=plain(graph.name))}\nfrom __future__ import annotations\n\n{imports((law, runtime))}\n\n"
        'with np.load(Path(__file__).with_name("weights.npz")) as archive:\n'
        "    DATA = {name: archive[name].astype(np.int64) for name in archive.files}\n",
        *(actor_function(graph, node, known) for node in graph.nodes),
        compute(graph, known),
        network(graph, data),
        design(graph),
        quoted(law),
        quoted(runtime),
        FOOTER,
    ]
    return "\n\n".join(parts), data


def imports(modules: Iterable[ModuleType]) -> str:
    """What these modules import from elsewhere, as one sorted block."""
    lines = [line for module in modules for line in ast.parse(inspect.getsource(module)).body]
    whole = {ast.unparse(line) for line in lines if isinstance(line, ast.Import)}
    parts: dict[str, set[str]] = {}
    for line in lines:
        if isinstance(line, ast.ImportFrom) and line.module and not line.module.startswith(("irc.", "__future__")):
            parts.setdefault(line.module, set()).update(alias.name for alias in line.names)
    taken = [f"from {module} import {', '.join(sorted(names))}" for module, names in sorted(parts.items())]
    numpy = {line for line in whole if "numpy" in line}
    return "\n".join([*sorted(whole - numpy), *taken, "", *sorted(numpy)])


def quoted(module: ModuleType) -> str:
    """The source of a module behind its imports, its docstring as a comment before it."""
    source = inspect.getsource(module)
    body = ast.parse(source).body
    last = max(line.end_lineno or 0 for line in body if isinstance(line, ast.Import | ast.ImportFrom))
    doc = indent(inspect.cleandoc(module.__doc__ or ""), "# ", lambda line: True)
    rest = "\n".join(source.splitlines()[last:]).strip("\n")
    return "\n".join(line.rstrip() for line in doc.splitlines()) + f"\n\n{rest}\n"


def actor_function(graph: Graph, node: Node, known: dict[str, str]) -> str:
    """One section: what an actor computes."""
    reads = [known[o] for o in stream_operands(graph, node)]
    doc, *body = actor_code(graph, node, reads)
    origin = f" From {plain(node.origin)}." if node.origin else ""
    made = "tuple[Array, ...]" if len(node.results) > 1 else "Array"
    lines = [f"def run_{known[node.name]}({', '.join(f'{r}: Array' for r in reads)}) -> {made}:",
             f'    """{node.op.name}: {doc}{origin}', f"    {plain(str(node.type))}",
             '    """', *(f"    {line}" for line in body)]
    return "\n".join(lines) + "\n"


def compute(graph: Graph, known: dict[str, str]) -> str:
    """The function that runs all actors in order."""
    arguments = ", ".join(f"{known[p.name]}: Array" for p in graph.inputs)
    lines = [f"def compute({arguments}) -> tuple[Array, ...]:",
             '    """Value arrays of the outputs from those of the inputs."""']
    for node in graph.nodes:
        made, read = (", ".join(known[n] for n in names) for names in (node.results, stream_operands(graph, node)))
        lines.append(f"    {made} = run_{known[node.name]}({read})")
    shown = ", ".join(known[p.value] for p in graph.outputs)
    return "\n".join([*lines, f"    return ({shown},)"]) + "\n"


def network(graph: Graph, data: dict[str, Array]) -> str:
    """The table of channels and actors; schedules without a simple rule go to `data`."""
    types = {name: stream(graph, name) for name in channel_names(graph)}
    channels = [f"{name!r}: Channel({name!r}, tokens={t.tokens}, depth={t.depth})" for name, t in types.items()]
    sources = [f"source({'in:' + p.name!r}, channels[{p.name!r}])" for p in graph.inputs]
    sinks = [f"sink({'out:' + p.name!r}, channels[{p.value!r}])" for p in graph.outputs]
    actors = [actor(graph, node, data) for node in graph.nodes]
    return "\n".join(["def network() -> Network:", '    """Actors and channels as the timing law sees them."""',
                      "    channels = {", *(f"        {c}," for c in channels), "    }", "    actors = (",
                      *(f"        {a}," for a in (*sources, *actors, *sinks)), "    )",
                      "    return Network(actors, tuple(channels.values()))"]) + "\n"


def actor(graph: Graph, node: Node, data: dict[str, Array]) -> str:
    """One entry of the table."""
    firings = node_firings(graph, node)
    lines = [f"Actor({node.name!r}, count={firings.count}, latency={firings.latency}, inputs=("]
    for k, channel in enumerate(stream_operands(graph, node)):
        needs = schedule(firings.needs[k], f"{node.name} needs {k}", data)
        releases = schedule(firings.releases[k], f"{node.name} releases {k}", data)
        lines.append(f"            Input({channel!r}, needs={needs},\n                  releases={releases}),")
    lines.append("        ), outputs=(")
    for k, channel in enumerate(node.results):
        produces = schedule(firings.produces[k], f"{node.name} produces {k}", data)
        lines.append(f"            Output({channel!r}, produces={produces}),")
    return "\n".join([*lines, "        ))"])


def schedule(tokens: IntArray, key: str, data: dict[str, Array]) -> str:
    """Code that gives the array: a rule when there is one, else the name under which it is stored."""
    ramp, each = np.arange(1, len(tokens) + 1), max(1, len(tokens) // max(1, int(tokens[-1])))
    rules = {f"upto({len(tokens)})": ramp, f"upto({len(tokens)}) // {each}": ramp // each,
             f"-(-upto({len(tokens)}) // {each})": -(-ramp // each)}
    found = [code for code, rule in rules.items() if np.array_equal(rule, tokens)]
    if not found:
        data[key] = tokens
    return found[0] if found else f"DATA[{key!r}]"


def design(graph: Graph) -> str:
    """The function that ties all together."""
    types = [stream(graph, name) for name in channel_names(graph)]
    total = sum(t.positions * t.elements for t in types)
    lines = ["def design() -> Design:", '    """Ports, values and timing together."""', "    inputs = (",
             *(port(p, p.name) for p in graph.inputs), "    )", "    outputs = (",
             *(port(p, p.value) for p in graph.outputs), "    )",
             f"    return Design({graph.name!r}, inputs, outputs, compute, network(), "
             f"chunk={max(1, ELEMENTS_AT_ONCE // total)})"]
    return "\n".join(lines) + "\n"


def port(p: Port, channel: str) -> str:
    """One port: its stream, the user's tensor, and what the integers mean."""
    type = p.type
    assert isinstance(type, StreamType)
    tensor = p.tensor or TensorType(type.format, (type.positions, type.elements))
    order: Sequence[int] = p.order or tuple(range(len(tensor.shape)))
    fields = [f"Port({p.name!r}, {channel!r}, least={type.format.minimum}, most={type.format.maximum}",
              f"positions={type.positions}, elements={type.elements}, shape={tensor.shape}, order={tuple(order)}"]
    if p.encoding:
        scale = fill(repr(p.encoding.scale), 100, subsequent_indent=" " * 20)
        fields.append(f"scale={scale}, zero={p.encoding.zero}, axis={p.encoding.axis}, "
                      f"rounding={p.encoding.rounding!r}")
    return "        " + ",\n             ".join(fields) + "),"
