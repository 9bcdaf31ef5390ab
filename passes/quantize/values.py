"""The edits of `quantize` on values: quantizer pairs behind activations, integers for embedding tables."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from irc.graph import Graph, Node
from irc.ops.quantization import Dequantize
from irc.ops.quantization import Quantize as QuantizeOp
from irc.types import Array, Float, Integer, TensorType
from passes.quantize.calibration import Quantizer
from passes.quantize.placement import Component
from passes.rounding.alphabet import Alphabet
from passes.rounding.fit import Letters
from passes.stored import enter_integers


class ValueRewrite:
    """A batch of edits; `finish` applies them.

    `scale` tells the scale of every value that shares a quantizer, `largest` the largest magnitude of its integers.
    """

    def __init__(self, graph: Graph) -> None:
        self.graph, self.edit = graph, graph.edit()
        self.scale: dict[str, float] = {}
        self.largest: dict[str, int] = {}
        self._operands: dict[str, tuple[str, ...]] = {}
        self._tables: dict[str, tuple[str, Array]] = {}

    def finish(self) -> Graph:
        """The rewritten graph."""
        for node in self.graph.nodes:
            if node.name in self._operands:
                self.edit.replace(node, replace(node, operands=self._operands[node.name]))
        return self.edit.finish()

    def activations(self, component: Component, quantizer: Quantizer) -> None:
        """Quantize and dequantize behind every entry of a component, and in front of each import."""
        for value in component.entries:
            pair = self._pair(value, quantizer)
            self.edit.insert_after(value, *pair)
            self.edit.redirect(value, pair[1].name, keep=(pair[0].name,))
        for user, value in component.imports:
            pair = self._pair(value, quantizer)
            self.edit.insert_after(value, *pair)
            self._swap(self.graph.producers[user], value, pair[1].name)
        largest = max(quantizer.format.maximum, -quantizer.format.minimum)
        self.scale.update(dict.fromkeys(component.members, quantizer.scale))
        self.largest.update(dict.fromkeys(component.members, largest))

    def table(self, gather: Node, choose: Callable[[Node, Array], Letters], letters: Alphabet) -> None:
        """An embedding table; `choose(gather, table)` gives the letters of its rows, [1, rows, columns]."""
        name = gather.operands[0]
        if name not in self.graph.constants:
            return
        if name not in self._tables:
            self._tables[name] = self._quantized(name, choose(gather, self.graph.constants[name].data), letters)
        value, scale = self._tables[name]
        if scale.size == 1:
            self.scale[gather.name] = float(scale[0])
        self._swap(gather, name, value)

    def _quantized(self, name: str, found: Letters, letters: Alphabet) -> tuple[str, Array]:
        """A table's dequantized value, and its scales."""
        shape, scale = self.graph.tensor(name).shape, found.scale.reshape(-1)
        scale = scale[:1] if (scale == scale[0]).all() else scale
        return enter_integers(self.edit, name, letters.form, found.letters.reshape(shape), scale, 0), scale

    def _pair(self, value: str, quantizer: Quantizer) -> tuple[Node, Node]:
        kind, maker = self.graph.tensor(value), self.graph.producers.get(value)
        origin = maker.origin if maker else ""
        parameters = (self._constant(f"{value}_scale", Float(32), np.asarray(quantizer.scale)),
                      self._constant(f"{value}_zero", quantizer.format, np.asarray(quantizer.zero)))
        down = self.edit.node(f"{value}_q", QuantizeOp(quantizer.format), (value, *parameters), (
            kind, TensorType(Float(32), ()), TensorType(quantizer.format, ())), origin)
        up = Node((self.edit.fresh(f"{value}_dq"),), Dequantize(), (down.name, *parameters),
                  (TensorType(Float(32), kind.shape),), origin)
        return down, up

    def _constant(self, stem: str, form: Float | Integer, data: Array) -> str:
        return self.edit.constant(stem, TensorType(form, data.shape), data)

    def _swap(self, node: Node, old: str, new: str) -> None:
        """Let one node read `new` instead of `old`."""
        operands = self._operands.get(node.name, node.operands)
        self._operands[node.name] = tuple(new if o == old else o for o in operands)
