"""The scales of a network whose activations are quantized: looked up wherever a value only carries others."""

from __future__ import annotations

from collections.abc import Mapping

from irc.graph import Graph
from irc.ops.quantization import Dequantize
from irc.types import Integer
from passes.quantize.placement import CARRYING

_UNKNOWN = 1 << 16  # the largest magnitude assumed of integers whose format is not known


class Steps:
    """Scale and largest integer of values; `scale` and `largest` are those of values that share a quantizer."""

    def __init__(self, graph: Graph, scale: Mapping[str, float], largest: Mapping[str, int]) -> None:
        self.graph = graph
        self._scale, self._largest = dict(scale), dict(largest)
        for node in graph.nodes:
            if isinstance(node.op, Dequantize):
                self._add(node.name, *node.operands[:2])

    def _add(self, value: str, q: str, scale: str) -> None:
        form, given = self.graph.tensor(q).format, self.graph.constants.get(scale)
        if given is not None and given.data.size == 1:
            self._scale[value] = float(given.data.reshape(-1)[0])
        if isinstance(form, Integer) and q not in self.graph.constants:
            self._largest[value] = max(form.maximum, -form.minimum)

    def scale(self, value: str) -> float:
        """The scale of a value; 0 when it has none."""
        trail = []
        while value not in self._scale:
            maker = self.graph.producers.get(value)
            if maker is None or not isinstance(maker.op, CARRYING):
                return 0.0
            trail.append(value)
            value = maker.operands[0]
        self._scale.update(dict.fromkeys(trail, self._scale[value]))
        return self._scale[value]

    def given(self, value: str) -> float:
        """The scale of the value's own quantizer, 0 when it has none."""
        return self._scale.get(value, 0.0)

    def largest(self, value: str) -> int:
        """The largest magnitude of a value's integers."""
        return self._largest.get(value, _UNKNOWN)
