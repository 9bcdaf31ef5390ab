"""What both forms of quantizers share: the graph, and constants under fresh names."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np
from onnx import NodeProto, TensorProto

from backends.onnx.tensors import stored
from irc.diagnostics import error
from irc.graph import Graph, Node
from irc.types import Array


class Quantizers:
    """How quantizers are written; the base of both forms. Constants are added under fresh names."""

    domain = ""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.tensors: dict[str, TensorProto] = {}
        self._taken = {*graph.types, *(p.name for p in graph.outputs)}

    def nodes(self, node: Node) -> Iterator[NodeProto]:
        """A quantize, dequantize or bipolar. Raises E502 for what the form cannot say."""
        raise error("E502", f"{node.op.name} has no form in this target", node=node.name, operator=node.op.name)

    def rewritten(self, node: Node) -> list[NodeProto]:
        """Another form of a node that is no quantizer; empty: as it is."""
        return []

    def fresh(self, stem: str) -> str:
        """A name that nothing has."""
        names = itertools.chain([stem], (f"{stem}_{i}" for i in itertools.count(1)))
        name = next(n for n in names if n not in self._taken)
        self._taken.add(name)
        return name

    def tensor(self, stem: str, data: Array, kind: int) -> str:
        """Store a constant under a name made from `stem`."""
        name = self.fresh(stem)
        self.tensors[name] = stored(name, data, kind)
        return name

    def parameter(self, node: Node, index: int) -> Array:
        """A scale or zero point, which must be a constant; zeros for a zero point that is left out."""
        if index >= len(node.operands) or not node.operands[index]:
            return np.zeros_like(self.parameter(node, 1), np.int64)
        found = self.graph.constants.get(node.operands[index])
        if found is None:
            raise error("E502", "the scale and zero point of a quantizer must be constants", node=node.name,
                        operator=node.op.name, remedy="Run fold first.")
        return found.data
