"""The edits of `quantize`: quantizer pairs behind activations, dequantized constants for weights and biases."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from irc.graph import Edit, Graph, Node
from irc.ops.quantization import Dequantize
from irc.ops.quantization import Quantize as QuantizeOp
from irc.types import Array, Float, Integer, IntArray, TensorType
from passes.layers import Layer, per_channel
from passes.quantize.calibration import Quantizer
from passes.quantize.placement import CARRYING, Component
from passes.quantize.scales import best_scale, largest_scale, round_to

_BIAS = Integer(True, 32)
_ROOM = 1 << 30  # a bias uses at most half of its 32 bits, the products get the rest


class Rewrite:
    """A batch of edits; `finish` applies them."""

    def __init__(self, graph: Graph, weights: Integer, channels: bool, powers_of_two: bool, weight_scale: str) -> None:
        self.graph, self.edit = graph, graph.edit()
        self.form, self.channels, self.powers_of_two, self.choice = weights, channels, powers_of_two, weight_scale
        self._scale = self._given_scales()
        self._operands: dict[str, tuple[str, ...]] = {}
        self._done: dict[tuple[str, int], tuple[str, Array]] = {}

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
            if node.name in self._operands:
                self._replace(node, self._operands[node.name])
        return self.edit.finish()

    def _replace(self, node: Node, operands: tuple[str, ...]) -> None:
        self.edit.replace(node, replace(node, operands=operands))

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

    def _pair(self, value: str, quantizer: Quantizer) -> tuple[Node, Node]:
        kind, origin = self.graph.tensor(value), self._origin(value)
        scale = self._constant(f"{value}_scale", Float(32), np.asarray(quantizer.scale))
        parameters = (scale, self._constant(f"{value}_zero", quantizer.format, np.asarray(quantizer.zero)))
        down = self.edit.node(f"{value}_q", QuantizeOp(quantizer.format), (value, *parameters), (
            kind, TensorType(Float(32), ()), TensorType(quantizer.format, ())), origin)
        return down, self._dequantize(f"{value}_dq", down.name, down.type.format, kind.shape, parameters, 1, origin)

    def _origin(self, value: str) -> str:
        maker = self.graph.producers.get(value)
        return maker.origin if maker else ""

    # constants

    def table(self, gather: Node) -> None:
        """An embedding table: one scale for the whole table, because its rows meet in later sums."""
        name = gather.operands[0]
        if name not in self.graph.constants:
            self._inherit(name)
        else:
            value, scale = self._weight(name, -1, 0.0)
            self._swap(gather, name, value)
            self._scale[gather.name] = float(scale[0])

    def layer(self, layer: Layer) -> None:
        """Weight and bias of a convolution or dense layer."""
        scale_x = self.scale_of(layer.x)
        if layer.weight in self.graph.constants:
            least = self._least_scale(layer, scale_x)
            value, scale = self._weight(layer.weight, layer.weight_axis if self.channels else -1, least)
            self._swap(layer.node, layer.weight, value)
        else:
            scale = self._given_weight_scale(layer.weight)
        if layer.bias in self.graph.constants and scale_x and scale.size:
            self._bias(layer, scale * scale_x)

    def _given_weight_scale(self, weight: str) -> Array:
        """Scales of a weight that is a dequantized constant; none when it is something else."""
        maker = self.graph.producers.get(weight)
        known = maker is not None and isinstance(maker.op, Dequantize) and maker.operands[1] in self.graph.constants
        return self.graph.constants[maker.operands[1]].data.reshape(-1).astype(np.float64) if maker and known else np.zeros(0)

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

    def _inherit(self, table: str) -> None:
        scale = self._scale.get(table)
        if scale:
            self._scale.update((u.name, scale) for u in self.graph.users[table])

    def _least_scale(self, layer: Layer, scale_x: float) -> float:
        """The weight scale below which the bias would not fit its format."""
        if layer.bias not in self.graph.constants or not scale_x:
            return 0.0
        return float(np.abs(self.graph.constants[layer.bias].data).max(initial=0)) / (scale_x * _ROOM)

    def _weight(self, name: str, axis: int, least: float) -> tuple[str, Array]:
        """Quantize a constant once for each axis (-1: one scale for all); returns the dequantized value and scales."""
        if (name, axis) not in self._done:
            self._done[name, axis] = self._quantized(name, axis, least)
        return self._done[name, axis]

    def _quantized(self, name: str, axis: int, least: float) -> tuple[str, Array]:
        data = self.graph.constants[name].data.astype(np.float64)
        rows = data.reshape(1, -1) if axis < 0 else per_channel(data, axis)
        choose = best_scale if self.choice == "mse" else largest_scale
        scale = choose(rows, self.form, self.powers_of_two)
        scale = np.where(scale < least, 2.0 ** np.ceil(np.log2(max(least, 1e-300))), scale)
        q = restored(round_to(rows, scale, self.form), data.shape, axis)
        return self.dequantized(name, self.form, q, scale, Float(32), max(axis, 0)), scale

    def dequantized(self, stem: str, form: Integer, q: IntArray, scale: Array, real: Float, axis: int) -> str:
        """A new integer constant with its dequantized value; returns the name of the latter."""
        whole = self._constant(f"{stem}_q", form, q)
        parameter = self._constant(f"{stem}_scale", real, scale if scale.size > 1 else scale.reshape(()))
        node = self._dequantize(f"{stem}_dq", whole, form, q.shape, (parameter,), axis, "")
        self.edit.insert_after(stem, node)
        return node.name

    def _bias(self, layer: Layer, scale: Array) -> None:
        data = self.graph.constants[layer.bias].data.astype(np.float64)
        rank = 1 if layer.addition is None else len(self.graph.tensor(layer.result).shape)
        axis = 0 if layer.addition is None else layer.axis
        channels = self.graph.tensor(layer.result).shape[layer.axis]
        q = np.clip(np.rint(np.broadcast_to(data.reshape(-1), channels) / scale), _BIAS.minimum, _BIAS.maximum)
        shaped = q.astype(np.int64).reshape(tuple(-1 if i == axis else 1 for i in range(rank)))
        value = self.dequantized(layer.bias, _BIAS, shaped, scale, Float(64), axis)
        self._swap(layer.addition or layer.node, layer.bias, value)

    def _constant(self, stem: str, form: Integer | Float, data: Array) -> str:
        return self.edit.constant(stem, TensorType(form, data.shape), data)

    def _dequantize(self, stem: str, q: str, form: object, shape: tuple[int, ...], parameters: tuple[str, ...], axis: int,
                    origin: str) -> Node:
        node = Node((self.edit.fresh(stem),), Dequantize(axis), (q, *parameters), (TensorType(Float(32), shape),), origin)
        return node


def restored(rows: IntArray, shape: tuple[int, ...], axis: int) -> IntArray:
    """The inverse of `per_channel`."""
    if axis < 0:
        return rows.reshape(shape)
    moved = (shape[axis], *(n for i, n in enumerate(shape) if i != axis))
    return np.asarray(np.moveaxis(rows.reshape(moved), 0, axis))


__all__ = ["Edit", "Rewrite", "restored"]
