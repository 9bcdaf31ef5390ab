"""The edits of `quantize` on layers: weights and biases as integers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np

from irc.codebook import stored
from irc.graph import Graph, Node
from irc.ops.elementwise import Add
from irc.ops.linear import Conv
from irc.ops.quantization import Dequantize
from irc.types import Array, Float, IntArray, Integer, TensorType
from passes.layers import Layer, per_channel
from passes.quantize.steps import Steps
from passes.rounding.alphabet import Alphabet
from passes.stored import enter_integers

_BIAS = Integer(True, 32)
_ROOM = 1 << 29  # a bias uses at most a quarter of its 32 bits


@dataclass(frozen=True, slots=True)
class Weight:
    """A constant in letters of an alphabet: q * scale; one scale, or one for each index along `axis`."""

    letters: Alphabet
    q: IntArray
    scale: Array
    axis: int


class WeightRewrite:
    """A batch of edits; `finish` applies them. `shifts` is what the bias of a node gains, by output channel."""

    def __init__(self, graph: Graph, steps: Steps, weights: Mapping[str, Weight], shifts: Mapping[str, Array]) -> None:
        self.graph, self.edit, self.steps = graph, graph.edit(), steps
        self.weights, self.shifts = weights, shifts
        self._values: dict[str, str] = {}
        self._operands: dict[str, tuple[str, ...]] = {}
        self._added: dict[str, str] = {}

    def finish(self) -> Graph:
        """The rewritten graph."""
        for node in self.graph.nodes:
            if node.name in self._operands or node.name in self._added:
                self.edit.replace(node, *self._rewritten(node))
        return self.edit.finish()

    def _rewritten(self, node: Node) -> tuple[Node, ...]:
        """The node with its new operands; a bias that it did not have is added behind it, under its name."""
        changed = replace(node, operands=self._operands.get(node.name, node.operands))
        if node.name not in self._added:
            return (changed,)
        product = replace(changed, results=(self.edit.fresh(f"{node.name}_product"),))
        return product, replace(node, op=Add(), operands=(product.name, self._added[node.name]))

    def operand(self, node: Node, name: str) -> None:
        """Let a node read a weight's integers."""
        if name in self.weights:
            self._swap(node, name, self._value(name))

    def layer(self, layer: Layer) -> None:
        """Weight and bias of a convolution or dense layer."""
        self.operand(layer.node, layer.weight)
        weight = self.weights.get(layer.weight) or given_weight(self.graph, layer)
        step, out = self.steps.scale(layer.x), self.steps.given(layer.result)
        if layer.bias and layer.bias not in self.graph.constants:
            return
        shift = self.shifts.get(layer.node.name)
        if step and weight:
            self._bias(layer, weight, step, out, self._real_bias(layer, shift))
        elif shift is not None:
            real = self._real_bias(layer, shift)
            self._place(layer, self._real(_stem(layer), self._shaped(layer, real)))

    def recurrent(self, node: Node, bias: str) -> None:
        """Weights of a recurrent layer; its bias gains the shift of the input's products."""
        for name in node.operands[1:3]:
            self.operand(node, name)
        shift, known = self.shifts.get(node.name), self.graph.constants.get(bias)
        if shift is not None and known is not None:
            moved = known.data + np.concatenate((shift, np.zeros_like(shift)))
            self._swap(node, bias, self._real(bias, moved))

    def _swap(self, node: Node, old: str, new: str) -> None:
        """Let one node read `new` instead of `old`."""
        operands = self._operands.get(node.name, node.operands)
        self._operands[node.name] = tuple(new if o == old else o for o in operands)

    def _value(self, name: str) -> str:
        """The dequantized value of a weight, made once."""
        if name not in self._values:
            weight = self.weights[name]
            self._values[name] = enter_integers(self.edit, name, weight.letters.form, weight.q, weight.scale,
                                                max(weight.axis, 0))
        return self._values[name]

    # biases

    def _real(self, stem: str, data: Array) -> str:
        return self.edit.constant(stem, TensorType(Float(32), data.shape), data)

    def _real_bias(self, layer: Layer, shift: Array | None) -> Array:
        """The bias of each output channel, in reals."""
        channels = self.graph.tensor(layer.result).shape[layer.axis]
        data = self.graph.constants[layer.bias].data if layer.bias else np.zeros(1)
        real = np.broadcast_to(data.astype(np.float64).reshape(-1), channels)
        return real if shift is None else real + shift

    def _bias(self, layer: Layer, weight: Weight, step: float, out: float, real: Array) -> None:
        """The bias as integers. A layer whose results may tie when they are rounded gets half a unit more."""
        unit = weight.scale.reshape(-1) * step
        bound = reach(weight.q, layer.weight_axis, self.steps.largest(layer.x)) + np.abs(real / unit)
        half = bool(out) and ties(unit, out, bound)
        if not half and not layer.bias and not real.any():
            return
        q = np.clip(np.rint(real / unit - 0.5 * half), _BIAS.minimum // 2, _BIAS.maximum // 2).astype(np.int64)
        whole, scale = (2 * q + 1, unit / 2) if half else (q, unit)
        axis = 0 if _inside(layer) else layer.axis
        self._place(layer, enter_integers(self.edit, _stem(layer), _BIAS, self._shaped(layer, whole), scale, axis,
                                          Float(64)))

    def _shaped(self, layer: Layer, bias: Array) -> Array:
        """A bias in the shape that it has as an operand."""
        if _inside(layer):
            return bias
        rank = len(self.graph.tensor(layer.result).shape)
        return bias.reshape(tuple(-1 if i == layer.axis else 1 for i in range(rank)))

    def _place(self, layer: Layer, value: str) -> None:
        """Let the layer read a new bias."""
        if layer.bias:
            self._swap(layer.addition or layer.node, layer.bias, value)
        elif _inside(layer):
            operands = self._operands.get(layer.node.name, layer.node.operands)
            self._operands[layer.node.name] = (*operands[:2], value)
        else:
            self._added[layer.node.name] = value


def _inside(layer: Layer) -> bool:
    """Whether the bias is an operand of the layer itself."""
    return isinstance(layer.node.op, Conv) and layer.addition is None


def _stem(layer: Layer) -> str:
    return layer.bias or f"{layer.node.name}_bias"


def least_scale(graph: Graph, layer: Layer, step: float) -> float:
    """The weight scale below which the bias would not fit its format."""
    if not layer.bias or layer.bias not in graph.constants or not step:
        return 0.0
    return float(np.abs(graph.constants[layer.bias].data).max(initial=0)) / (step * _ROOM)


def given_weight(graph: Graph, layer: Layer) -> Weight | None:
    """A weight that is a dequantized constant already, plain or from a codebook; None when it is something else."""
    maker = graph.producers.get(layer.weight)
    if maker is None or not isinstance(maker.op, Dequantize):
        return None
    q, scale = stored(graph, maker.operands[0]), graph.constants.get(maker.operands[1])
    if q is None or scale is None or isinstance(q.type.format, Float):
        return None
    form = q.type.format
    return Weight(Alphabet(form, form.minimum, form.maximum), q.data, scale.data.astype(np.float64), maker.op.axis)


def reach(q: IntArray, axis: int, largest: int) -> Array:
    """The largest magnitude of each channel's sum of products with operands up to `largest`."""
    return np.asarray(np.abs(per_channel(q, axis)).sum(axis=1) * float(largest))


def ties(unit: Array, out: float, bound: Array) -> bool:
    """Whether an integer up to `bound`, times unit / out, can be an integer and a half.

    In lowest terms n / d that needs an odd multiple of d / 2."""
    ratios = (Fraction(float(u)) / Fraction(out) for u in np.broadcast_to(unit, bound.shape))
    return any(r.denominator % 2 == 0 and r.denominator // 2 <= b for r, b in zip(ratios, bound, strict=True))
