"""The edits of `quantize`: quantizer pairs behind activations, dequantized constants for weights and biases."""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np

from irc.graph import Graph, Node
from irc.ops.elementwise import Add
from irc.ops.linear import Conv
from irc.ops.quantization import Dequantize
from irc.ops.quantization import Quantize as QuantizeOp
from irc.types import Array, Float, IntArray, Integer, Shape, TensorType
from passes.layers import Layer, per_channel, restored
from passes.quantize.calibration import Quantizer
from passes.quantize.placement import CARRYING, Component
from passes.quantize.scales import Grid, best_scale, is_bipolar, largest_scale, odd_part, round_to

_BIAS = Integer(True, 32)
_ROOM = 1 << 29  # a bias uses at most a quarter of its 32 bits


@dataclass(frozen=True, slots=True)
class Weight:
    """A quantized constant: its dequantized value, its integers, its scales (one, or one a channel)."""

    value: str
    q: IntArray
    scale: Array


class Rewrite:
    """A batch of edits; `finish` applies them."""

    def __init__(self, graph: Graph, weights: Integer, channels: bool, bits: int, search: bool) -> None:
        self.graph, self.edit = graph, graph.edit()
        self.form, self.channels, self.bits = weights, channels, bits
        self.choose = best_scale if search else largest_scale
        self._scale = self._given_scales()
        self._operands: dict[str, tuple[str, ...]] = {}
        self._added: dict[str, str] = {}
        self._done: dict[tuple[str, int], Weight] = {}
        self._largest: dict[str, int] = {}

    def _given_scales(self) -> dict[str, float]:
        """Per-tensor scales of values that are dequantized already."""
        found = {}
        for node in self.graph.nodes:
            scale = self.graph.constants.get(node.operands[1]) if isinstance(node.op, Dequantize) else None
            if scale is not None and scale.data.size == 1:
                found[node.name] = float(scale.data.reshape(-1)[0])
        return found

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

    def _swap(self, node: Node, old: str, new: str) -> None:
        """Let one node read `new` instead of `old`."""
        operands = self._operands.get(node.name, node.operands)
        self._operands[node.name] = tuple(new if o == old else o for o in operands)

    # activations

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
        self._scale.update(dict.fromkeys(component.members, quantizer.scale))
        largest = max(quantizer.format.maximum, -quantizer.format.minimum)
        self._largest.update(dict.fromkeys(component.members, largest))

    def _pair(self, value: str, quantizer: Quantizer) -> tuple[Node, Node]:
        kind, origin = self.graph.tensor(value), self._origin(value)
        scale = self._constant(f"{value}_scale", Float(32), np.asarray(quantizer.scale))
        parameters = (scale, self._constant(f"{value}_zero", quantizer.format, np.asarray(quantizer.zero)))
        down = self.edit.node(f"{value}_q", QuantizeOp(quantizer.format), (value, *parameters), (
            kind, TensorType(Float(32), ()), TensorType(quantizer.format, ())), origin)
        return down, self._dequantize(f"{value}_dq", down.name, kind.shape, parameters, 1, origin)

    def _origin(self, value: str) -> str:
        maker = self.graph.producers.get(value)
        return maker.origin if maker else ""

    # constants

    def table(self, gather: Node) -> None:
        """An embedding table: one scale for the whole table, because its rows meet in later sums."""
        name = gather.operands[0]
        if name in self.graph.constants:
            weight = self._weight(name, -1, Grid(self.bits))
            self._swap(gather, name, weight.value)
            self._scale[gather.name] = float(weight.scale[0])
        elif name in self._scale:
            self._scale[gather.name] = self._scale[name]

    def layer(self, layer: Layer) -> None:
        """Weight and bias of a convolution or dense layer."""
        step, out = self.scale_of(layer.x), self._scale.get(layer.result, 0.0)
        if layer.weight in self.graph.constants:
            grid = Grid(self.bits, odd_part(out) if out else 1.0, self._least_scale(layer, step))
            weight = self._weight(layer.weight, layer.weight_axis if self.channels else -1, grid)
            self._swap(layer.node, layer.weight, weight.value)
        else:
            weight = given_weight(self.graph, layer)
        fixable = not layer.bias or layer.bias in self.graph.constants
        if step and weight.scale.size and fixable:
            self._bias(layer, weight, step, out)

    def scale_of(self, value: str) -> float:
        """The scale of an activation, looked up through ops that carry it; 0 when it has none."""
        trail = []
        while value not in self._scale:
            maker = self.graph.producers.get(value)
            if maker is None or not isinstance(maker.op, CARRYING):
                return 0.0
            trail.append(value)
            value = maker.operands[0]
        self._scale.update(dict.fromkeys(trail, self._scale[value]))
        return self._scale[value]

    def _least_scale(self, layer: Layer, step: float) -> float:
        """The weight scale below which the bias would not fit its format."""
        if not layer.bias or layer.bias not in self.graph.constants or not step:
            return 0.0
        return float(np.abs(self.graph.constants[layer.bias].data).max(initial=0)) / (step * _ROOM)

    def _weight(self, name: str, axis: int, grid: Grid) -> Weight:
        """Quantize a constant once for each axis (-1: one scale for all)."""
        if (name, axis) not in self._done:
            self._done[name, axis] = self._quantized(name, axis, grid)
        return self._done[name, axis]

    def _quantized(self, name: str, axis: int, grid: Grid) -> Weight:
        data = self.graph.constants[name].data.astype(np.float64)
        rows = per_channel(data, axis)
        scale = self.choose(rows, self.form, grid)
        q = restored(round_to(rows, scale, self.form), data.shape, axis)
        stored = Integer(True, 2) if is_bipolar(self.form) else self.form  # two's complement needs two bits for +1
        return Weight(self._dequantized(name, stored, q, scale, Float(32), max(axis, 0)), q, scale)

    def _dequantized(self, stem: str, form: Integer, q: IntArray, scale: Array, real: Float, axis: int) -> str:
        """A new integer constant with its dequantized value; returns the name of the latter."""
        whole = self._constant(f"{stem}_q", form, q)
        parameter = self._constant(f"{stem}_scale", real, scale if scale.size > 1 else scale.reshape(()))
        node = self._dequantize(f"{stem}_dq", whole, q.shape, (parameter,), axis, "")
        self.edit.insert_after(whole, node)
        return node.name

    def _bias(self, layer: Layer, weight: Weight, step: float, out: float) -> None:
        """The bias as integers. A layer whose results may tie when they are rounded gets half a unit more."""
        channels = self.graph.tensor(layer.result).shape[layer.axis]
        data = self.graph.constants[layer.bias].data if layer.bias else np.zeros(1)
        real, unit = np.broadcast_to(data.astype(np.float64).reshape(-1), channels), weight.scale * step
        bound: Array = reach(weight.q, layer.weight_axis, self._largest.get(layer.x, 1 << 16)) + np.abs(real / unit)
        half = bool(out) and ties(unit, out, bound)
        if not half and not layer.bias:
            return
        q = np.clip(np.rint(real / unit - 0.5 * half), _BIAS.minimum // 2, _BIAS.maximum // 2).astype(np.int64)
        self._place_bias(layer, 2 * q + 1 if half else q, unit / 2 if half else unit)

    def _place_bias(self, layer: Layer, q: IntArray, scale: Array) -> None:
        inside = isinstance(layer.node.op, Conv) and layer.addition is None
        rank, axis = (1, 0) if inside else (len(self.graph.tensor(layer.result).shape), layer.axis)
        shaped = q.reshape(tuple(-1 if i == axis else 1 for i in range(rank)))
        value = self._dequantized(layer.bias or f"{layer.node.name}_bias", _BIAS, shaped, scale, Float(64), axis)
        if layer.bias:
            self._swap(layer.addition or layer.node, layer.bias, value)
        elif inside:
            operands = self._operands.get(layer.node.name, layer.node.operands)
            self._operands[layer.node.name] = (*operands[:2], value)
        else:
            self._added[layer.node.name] = value

    def _constant(self, stem: str, form: Integer | Float, data: Array) -> str:
        return self.edit.constant(stem, TensorType(form, data.shape), data)

    def _dequantize(self, stem: str, q: str, shape: Shape, parameters: tuple[str, ...], axis: int, origin: str) -> Node:
        kind = TensorType(Float(32), shape)
        return Node((self.edit.fresh(stem),), Dequantize(axis), (q, *parameters), (kind,), origin)


def given_weight(graph: Graph, layer: Layer) -> Weight:
    """A weight that is a dequantized constant already; without scales when it is something else."""
    maker = graph.producers[layer.weight]
    parts = [graph.constants.get(o) for o in maker.operands[:2]]
    if not isinstance(maker.op, Dequantize) or parts[0] is None or parts[1] is None:
        return Weight(layer.weight, np.zeros(0, np.int64), np.zeros(0))
    return Weight(layer.weight, parts[0].data, parts[1].data.reshape(-1).astype(np.float64))


def reach(q: IntArray, axis: int, largest: int) -> Array:
    """The largest magnitude of each channel's sum of products with operands up to `largest`."""
    return np.asarray(np.abs(per_channel(q, axis)).sum(axis=1) * float(largest))


def ties(unit: Array, out: float, bound: Array) -> bool:
    """Whether an integer up to `bound`, times unit / out, can be an integer and a half.

    In lowest terms n / d that needs an odd multiple of d / 2."""
    ratios = (Fraction(float(u)) / Fraction(out) for u in np.broadcast_to(unit, bound.shape))
    return any(r.denominator % 2 == 0 and r.denominator // 2 <= b for r, b in zip(ratios, bound, strict=True))
