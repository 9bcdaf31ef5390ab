"""Short readable identifiers from the names that exporters write.

`/layer1/layer1.0/conv1/Conv` -> `layer1_0_conv1`, `/MaxPool_1` -> `max_pool_1`, `node_conv2d` -> `conv2d`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from itertools import count

from onnx import NodeProto

KEYWORDS = frozenset({"graph", "in", "out", "const", "from", "as", "true", "false", "inf", "nan"})


def identifier(text: str) -> str:
    """`text` as a name of ASCII letters, digits and underscores that is no keyword of the IR text."""
    clean = re.sub(r"[^A-Za-z0-9]+", "_", text).strip("_") or "value"
    clean = f"v{clean}" if clean[0].isdigit() else clean
    return f"{clean}_" if clean in KEYWORDS else clean


def _snake(operator: str) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", operator).lower()


def label(node: NodeProto) -> str:
    """What diagnostics and origins call a node: its name, else its first output, else its operator."""
    return node.name or next((o for o in node.output if o), node.op_type)


def stem(node: NodeProto) -> str:
    """The identifier that the results of `node` are named after."""
    parts = [part for part in label(node).removeprefix("node_").split("/") if part] or [node.op_type]
    # a module path repeats its parents: layer1/layer1.0 says layer1.0
    path = [part for part, child in zip(parts, [*parts[1:], ""], strict=True) if not child.startswith(f"{part}.")]
    if re.fullmatch(rf"{re.escape(node.op_type)}(_\d+)?", path[-1]):  # /module/Operator: the module says it all
        path = path[:-1] if len(path) > 1 and path[-1] == node.op_type else [*path[:-1], _snake(path[-1])]
    return identifier("_".join(path))


class Namer:
    """Hands out names, each once."""

    def __init__(self, taken: Iterable[str]) -> None:
        self._taken = set(taken)
        self._next: dict[str, Iterator[int]] = {}

    def fresh(self, stem: str) -> str:
        """`stem` when it is free, else `stem_1`, `stem_2`, ..."""
        name, numbers = stem, self._next.setdefault(stem, count(1))
        while name in self._taken:
            name = f"{stem}_{next(numbers)}"
        self._taken.add(name)
        return name
