"""Lower integers to streams: every tensor becomes a channel, every op one or two actors, folded to one multiplier.

A channel carries the elements of a tensor in some order. The order is tracked as a `Layout`, so that flattening and
transposing cost no hardware: the next layer's weights are permuted instead.

before:  c1: s17[1, 6, 28, 28] = conv(image, c1_weight, strides=[1, 1], pads=[2, 2, 2, 2], dilations=[1, 1])
after:   c1_window: stream u8[784, 25] lanes=1 repeat=6 depth=5 = window(image, size=[28, 28], channels=1, ...)
         c1: stream s17[784, 6] lanes=1 depth=10 = matvec(c1_window, c1_weight)
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, TypeVar, cast

import numpy as np

from irc.dataflow.depths import with_depths
from irc.diagnostics import Diagnostic, IrcError, error
from irc.graph import Constant, Graph, Node, Port
from irc.operation import Op
from irc.ops.depthwise import Depthwise
from irc.ops.elementwise import Add, Clip, Mul, Relu, Sub
from irc.ops.linear import Conv, MatMul
from irc.ops.matvec import MatVec
from irc.ops.pooling import ArgMax, MaxPool, ReduceMax, ReduceSum
from irc.ops.quantization import MultiplyShift, Threshold
from irc.ops.routing import Fork, StreamConcat
from irc.ops.shape import Concat, Gather, Reshape, Transpose
from irc.ops.stream_add import StreamAdd
from irc.ops.stream_map import Map, MapAdd, MapClip, MapScale, MapThreshold
from irc.ops.stream_reduce import Embed, Reduce, StreamArgMax
from irc.ops.window import Window
from irc.pipeline.step import Context, Contract, Exact, Pass
from irc.types import Array, IntArray, Integer, Level, PowerOfTwo, StreamType, TensorType, Type

_WINDOWED = Conv | MaxPool


@dataclass(frozen=True, slots=True)
class LowerDataflow(Pass):
    """Turn integer tensors into streams between actors, one multiplier a layer; `parallelize` folds it out."""

    keeps: ClassVar[Contract] = Exact()
    requires: ClassVar[Level | None] = Level.INTEGER
    ensures: ClassVar[Level | None] = Level.DATAFLOW

    def run(self, graph: Graph, context: Context) -> Graph:
        return with_depths(_Lowering(graph).run())


@dataclass(frozen=True, slots=True)
class Layout:
    """How a tensor travels: on `channel`, element i of the stream is element `order[i]` of the flat tensor."""

    channel: str
    shape: tuple[int, ...]
    order: IntArray

    def rows(self, columns: int) -> IntArray:
        return self.order.reshape(-1, columns)


class _Lowering:
    """One run: the graph being built, and where each integer value travels."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.layouts: dict[str, Layout] = {}
        self.types: dict[str, Type] = {}
        self.constants: dict[str, Constant] = {}
        self.nodes: list[Node] = []
        self.taken = {p.name for p in graph.inputs}
        self.counts = Counter[str]()  # how often a stem was asked for
        self.node = graph.nodes[0] if graph.nodes else None

    def run(self) -> Graph:
        inputs = [replace(port, **self._input(port.name)) for port in self.graph.inputs]
        problems = [problem for node in self.graph.nodes for problem in self._attempt(node)]
        if problems:
            raise IrcError(*problems)
        outputs = [self._output(port) for port in self.graph.outputs]
        lowered = Graph(self.graph.name, Level.DATAFLOW, tuple(inputs), tuple(outputs), self.constants,
                        tuple(self.nodes))
        return _forked(lowered)

    def _attempt(self, node: Node) -> tuple[Diagnostic, ...]:
        """Lower one node. What a refused one makes is taken for an input, to find all that is refused."""
        self.node = node
        try:
            _rule(node)(self, node, node.op)
        except IrcError as refusal:
            self._input(node.name)
            return refusal.diagnostics
        return ()

    def refuse(self, reason: str, remedy: str = "") -> IrcError:
        """E306 blaming the node being lowered."""
        assert self.node is not None
        return error("E306", reason, node=self.node.name, operator=self.node.op.name, remedy=remedy)

    def _input(self, name: str) -> dict[str, Any]:
        """A value that the environment sends: what its port has to say."""
        tensor = self.graph.tensor(name)
        axes = self._travel(name, len(tensor.shape))
        order = _raster(tensor.shape).transpose(axes).ravel()
        elements = tensor.shape[axes[-1]] if axes else 1
        channel = StreamType(cast(Integer, tensor.format), tensor.size // elements, elements)
        self.types[name] = channel
        self.layouts[name] = Layout(name, tensor.shape, order)
        return {"type": channel, "tensor": tensor, "order": axes}

    def _travel(self, name: str, rank: int) -> tuple[int, ...]:
        """Axes of an input in the order in which they travel: what is transposed for windows (images with channels
        last) travels as these read it."""
        axes, users = channels_last(rank), self.graph.users[name]
        perms = {user.op.perm if isinstance(user.op, Transpose) else () for user in users}
        readers = [reader.op for user in users for reader in self.graph.users[user.name]]
        if perms in ({()}, set()) or len(perms) > 1 or not all(isinstance(op, _WINDOWED) for op in readers):
            return axes
        perm = perms.pop()
        return tuple(perm[axis] for axis in axes)

    def _output(self, port: Port) -> Port:
        layout = self.layout(port.value)
        axes = _axes_of(layout)
        if np.array_equal(_raster(layout.shape).transpose(axes).ravel(), layout.order):
            tensor = self.graph.tensor(port.value)
            return replace(port, type=self.types[layout.channel], value=layout.channel, tensor=tensor, order=axes)
        raise error("E306", f"output '{port.name}' leaves in an order that no permutation of its axes describes")

    def layout(self, name: str) -> Layout:
        """Where a value travels; E306 for a constant where an actor needs a stream."""
        if name not in self.layouts:
            raise self.refuse(f"'{name}' is a constant, but hardware computes this operand",
                              "run clean and fold before lowering")
        return self.layouts[name]

    def stream(self, name: str) -> StreamType:
        return cast(StreamType, self.types[name])

    def rom(self, name: str) -> Constant:
        """The constant operand `name`; E306 when it is computed."""
        if name not in self.graph.constants:
            raise self.refuse(f"'{name}' is computed, but hardware needs this operand constant")
        return self.graph.constants[name]

    def constant(self, stem: str, type: TensorType, data: Array) -> str:
        name = self.fresh(stem)
        self.constants[name] = Constant(name, type, data)
        self.types[name] = type
        return name

    def fresh(self, stem: str) -> str:
        name, count = stem, self.counts[stem]
        while name in self.taken:
            count += 1
            name = f"{stem}_{count}"
        self.taken.add(name)
        self.counts[stem] = count
        return name

    def emit(self, stem: str, op: Op, operands: Sequence[str], form: Integer | None = None) -> str:
        """Add an actor; returns its channel. `form` is the range-analysed format of the result."""
        assert self.node is not None
        (made,) = op.result_types([self.types[o] for o in operands])
        channel = cast(StreamType, made)
        channel = channel if form is None else replace(channel, format=form)
        name = self.fresh(stem)
        self.nodes.append(Node((name,), op, tuple(operands), (channel,), self.node.origin))
        self.types[name] = channel
        return name

    def place(self, node: Node, channel: str, order: Array) -> None:
        """Record that the result of `node` travels on `channel` in `order`."""
        shape = self.graph.tensor(node.name).shape
        self.layouts[node.name] = Layout(channel, shape, np.asarray(order, np.int64).ravel())

    def format(self, node: Node) -> Integer:
        return cast(Integer, self.graph.tensor(node.name).format)

    def parameter(self, layout: Layout, value: Array, stem: str, type: TensorType, channels: int) -> str:
        """A constant that broadcasts over a tensor, in stream order: [1, ...] or [channels, ...]."""
        rank = len(layout.shape)
        kinds = value.reshape(*value.shape[:rank], -1)  # the same number stands for the same entries
        first, which = np.unique(kinds.reshape(-1, kinds.shape[-1]), axis=0, return_index=True, return_inverse=True)[1:]
        spread = np.broadcast_to(which.reshape(value.shape[:rank]), layout.shape).ravel()[layout.order]
        rows = spread.reshape(-1, channels)
        if (rows != rows[:1]).any():
            raise self.refuse("a constant differs between positions of the stream", "fold it into the weights")
        used = rows[0] if (rows[0] != rows[0, :1]).any() else rows[0, :1]
        found = value.reshape(-1, *value.shape[rank:])[first[used]]
        return self.constant(stem, TensorType(type.format, found.shape), found)


def channels_last(rank: int) -> tuple[int, ...]:
    """Axes of a tensor in the order in which they travel: raster order, channels innermost."""
    return (0, *range(2, rank), 1) if rank > 2 else tuple(range(rank))


def _raster(shape: tuple[int, ...]) -> IntArray:
    return np.arange(int(np.prod(shape, dtype=np.int64)), dtype=np.int64).reshape(shape)


def _axes_of(layout: Layout) -> tuple[int, ...]:
    """The order of the axes in which a tensor would travel as `layout` says: the later the second index of an axis
    comes, the further out it is. Axes of one index stand where they make the order smallest."""
    raster = _raster(layout.shape)
    place = np.empty_like(layout.order)
    place[layout.order] = np.arange(len(place))
    second = {axis: int(place[raster.take(1, axis).flat[0]]) for axis, size in enumerate(layout.shape) if size > 1}
    single = [axis for axis, size in enumerate(layout.shape) if size == 1]
    return tuple(heapq.merge(single, sorted(second, key=second.__getitem__, reverse=True)))


R = TypeVar("R", bound=Op)
Rule = Callable[[_Lowering, Node, Any], None]
RULES: dict[type[Op], Rule] = {}


def _lowers(kind: type[R]) -> Callable[[Callable[[_Lowering, Node, R], None]], Callable[[_Lowering, Node, R], None]]:
    """Enter the lowering of one op."""

    def enter(rule: Callable[[_Lowering, Node, R], None]) -> Callable[[_Lowering, Node, R], None]:
        RULES[kind] = rule
        return rule

    return enter


def _rule(node: Node) -> Rule:
    if type(node.op) not in RULES:
        known = ", ".join(sorted(kind.name for kind in RULES))
        raise error("E306", f"op {node.op.name} has no hardware", node=node.name, operator=node.op.name,
                    remedy=f"These have: {known}.")
    return RULES[type(node.op)]


def _channels_last_or_refuse(low: _Lowering, layout: Layout) -> None:
    expected = _raster(layout.shape).transpose(channels_last(len(layout.shape))).ravel()
    if not np.array_equal(layout.order, expected):
        raise low.refuse("the feature map does not arrive in raster order, channels innermost",
                         "remove the transpose or reshape before it")


def _plane(values: Sequence[int], fill: int) -> tuple[int, int]:
    """Spatial attributes of a 1-D or 2-D op as (rows, columns)."""
    return (fill, values[0]) if len(values) == 1 else (values[0], values[1])


def _plane_pads(pads: Sequence[int]) -> tuple[int, int, int, int]:
    return (0, pads[0], 0, pads[1]) if len(pads) == 2 else (pads[0], pads[1], pads[2], pads[3])


def _window(low: _Lowering, layout: Layout, kernel: Sequence[int], op: Conv | MaxPool, pad_value: int,
            **more: int) -> Window:
    _channels_last_or_refuse(low, layout)
    if len(kernel) > 2:
        raise low.refuse("hardware has 1-D and 2-D windows only")
    return Window(_plane(layout.shape[2:], 1), layout.shape[1], _plane(kernel, 1), _plane(op.strides, 1),
                  _plane_pads(op.pads), _plane(op.dilations, 1), pad_value, **more)


@_lowers(Conv)
def _conv(low: _Lowering, node: Node, op: Conv) -> None:
    layout, weight = low.layout(node.operands[0]), low.rom(node.operands[1])
    if len(node.operands) > 2:
        raise low.refuse("hardware takes a convolution with its bias behind it",
                         "lower with the `integer` pass, which splits the bias off")
    rows, taps = weight.data.shape[0], weight.data.shape[2:]
    if op.group == rows == layout.shape[1] > 1:
        _depthwise(low, node, op, layout, weight)
        return
    window = _window(low, layout, taps, op, op.pad_value, repeat=rows)
    flat = np.moveaxis(_ungrouped(weight.data, op.group), 1, -1).reshape(rows, -1)
    form = weight.type.format
    if op.group > 1 and isinstance(form, PowerOfTwo):
        form = replace(form, zero=True)  # where there was no connection
    rom = low.constant(weight.name, TensorType(form, flat.shape), flat)
    patches = low.emit(f"{node.name}_window", window, [layout.channel])
    channel = low.emit(node.name, MatVec(), [patches, rom], low.format(node))
    shape = low.graph.tensor(node.name).shape
    low.place(node, channel, _raster(shape).transpose(channels_last(len(shape))))


def _ungrouped(weight: IntArray, groups: int) -> IntArray:
    """The weight [O, C, ...] of the same convolution without groups: zeros where there was no connection. It costs as
    many multiplications as if there were no groups; only depthwise convolutions have an actor of their own."""
    rows, inner = weight.shape[:2]
    if groups == 1:
        return weight
    dense = np.zeros((groups, rows // groups, groups, inner, *weight.shape[2:]), weight.dtype)
    each = np.arange(groups)
    dense[each, :, each] = weight.reshape(groups, rows // groups, *weight.shape[1:])
    return dense.reshape(rows, groups * inner, *weight.shape[2:])


def _depthwise(low: _Lowering, node: Node, op: Conv, layout: Layout, weight: Constant) -> None:
    """A filter for each channel: windows in blocks of channels, as for pooling."""
    window = _window(low, layout, weight.data.shape[2:], op, op.pad_value, block=1)
    flat = weight.data.reshape(len(weight.data), -1)
    form = weight.type.format
    if op.group > 1 and isinstance(form, PowerOfTwo):
        form = replace(form, zero=True)  # where there was no connection
    rom = low.constant(weight.name, TensorType(form, flat.shape), flat)
    patches = low.emit(f"{node.name}_window", window, [layout.channel])
    channel = low.emit(node.name, Depthwise(), [patches, rom], low.format(node))
    shape = low.graph.tensor(node.name).shape
    low.place(node, channel, _raster(shape).transpose(channels_last(len(shape))))


@_lowers(MatMul)
def _matmul(low: _Lowering, node: Node, op: MatMul) -> None:
    layout, weight = low.layout(node.operands[0]), low.rom(node.operands[1])
    inner = layout.shape[-1]
    rows = layout.rows(inner)
    base = rows.min(axis=1, keepdims=True)
    if weight.data.ndim != 2 or (rows - base != rows[:1] - base[:1]).any() or (np.diff(base.ravel()) < 0).any():
        raise low.refuse("the operands do not arrive vector by vector", "remove the transpose before it")
    positions = len(rows)
    matrix = weight.data[rows[0] - base[0]].T
    rom = low.constant(weight.name, TensorType(weight.type.format, matrix.shape), matrix)
    again = Window((1, positions), inner, (1, 1), repeat=len(matrix))
    vectors = low.emit(f"{node.name}_window", again, [layout.channel])
    channel = low.emit(node.name, MatVec(), [vectors, rom], low.format(node))
    low.place(node, channel, _raster(low.graph.tensor(node.name).shape))


@_lowers(MaxPool)
def _max_pool(low: _Lowering, node: Node, op: MaxPool) -> None:
    layout = low.layout(node.operands[0])
    form = low.stream(layout.channel).format
    window = _window(low, layout, op.kernel, op, form.minimum, block=1)
    patches = low.emit(f"{node.name}_window", window, [layout.channel])
    taps = int(np.prod(op.kernel))
    channel = low.emit(node.name, Reduce(taps, 1), [patches], low.format(node))
    shape = low.graph.tensor(node.name).shape
    low.place(node, channel, _raster(shape).transpose(channels_last(len(shape))))


@_lowers(ReduceMax)
def _reduce_max(low: _Lowering, node: Node, op: ReduceMax) -> None:
    _reduce(low, node, op.axes, "max")


@_lowers(ReduceSum)
def _reduce_sum(low: _Lowering, node: Node, op: ReduceSum) -> None:
    _reduce(low, node, op.axes, "sum")


def _reduce(low: _Lowering, node: Node, axes: Sequence[int], function: Literal["max", "sum"]) -> None:
    layout = low.layout(node.operands[0])
    kept = tuple(1 if i in axes else n for i, n in enumerate(layout.shape))
    target = np.broadcast_to(_raster(kept), layout.shape).ravel()[layout.order]
    channels = int(np.prod(kept))
    rows = target.reshape(-1, channels)
    if (rows != rows[:1]).any():
        raise low.refuse("the reduced axes do not travel outermost", "remove the transpose before it")
    channel = low.emit(node.name, Reduce(len(rows), channels, function), [layout.channel], low.format(node))
    low.place(node, channel, rows[0])


@_lowers(ArgMax)
def _argmax(low: _Lowering, node: Node, op: ArgMax) -> None:
    layout = low.layout(node.operands[0])
    classes = layout.shape[op.axis]
    place = np.unravel_index(layout.order, layout.shape)
    kept = tuple(1 if i == op.axis else n for i, n in enumerate(layout.shape))
    target = np.broadcast_to(_raster(kept), layout.shape).ravel()[layout.order].reshape(-1, classes)
    if (target != target[:, :1]).any() or (place[op.axis].reshape(-1, classes) != np.arange(classes)).any():
        raise low.refuse("the compared axis does not travel innermost", "remove the transpose before it")
    low.place(node, low.emit(node.name, StreamArgMax(classes), [layout.channel]), target[:, 0])


@_lowers(Reshape)
def _reshape(low: _Lowering, node: Node, op: Reshape) -> None:
    layout = low.layout(node.operands[0])
    low.place(node, layout.channel, layout.order)


@_lowers(Transpose)
def _transpose(low: _Lowering, node: Node, op: Transpose) -> None:
    layout = low.layout(node.operands[0])
    moved = np.empty(len(layout.order), np.int64)
    moved[_raster(layout.shape).transpose(op.perm).ravel()] = np.arange(len(moved))
    low.place(node, layout.channel, moved[layout.order])


@_lowers(Concat)
def _concat(low: _Lowering, node: Node, op: Concat) -> None:
    layouts = [low.layout(o) for o in node.operands]
    positions = {low.stream(part.channel).positions for part in layouts}
    count = positions.pop() if len(positions) == 1 else 1
    ends = np.cumsum([part.shape[op.axis] for part in layouts])[:-1]
    pieces = np.split(_raster(low.graph.tensor(node.name).shape), ends, axis=op.axis)
    orders = [piece.ravel()[part.order].reshape(count, -1) for piece, part in zip(pieces, layouts, strict=True)]
    join = StreamConcat(tuple(o.shape[1] for o in orders))
    channel = low.emit(node.name, join, [part.channel for part in layouts])
    low.place(node, channel, np.concatenate(orders, axis=1))


@_lowers(Gather)
def _gather(low: _Lowering, node: Node, op: Gather) -> None:
    table, layout = low.rom(node.operands[0]), low.layout(node.operands[1])
    if table.data.ndim != 2 or op.axis != 0:
        raise low.refuse("hardware looks up rows of a two-dimensional table only")
    rom = low.constant(table.name, table.type, table.data)
    channel = low.emit(node.name, Embed(), [layout.channel, rom], low.format(node))
    columns = table.data.shape[1]
    low.place(node, channel, layout.order[:, None] * columns + np.arange(columns))


def _map(low: _Lowering, node: Node, layout: Layout, make: Callable[[int], Map],
         parameters: Sequence[tuple[Constant, Array]] = ()) -> None:
    """Emit an element-wise actor. Each parameter comes with its value, shaped to broadcast over the tensor."""
    channels = low.stream(layout.channel).elements
    roms = [low.parameter(layout, value, rom.name, rom.type, channels) for rom, value in parameters]
    channel = low.emit(node.name, make(channels), [layout.channel, *roms], low.format(node))
    low.place(node, channel, layout.order)


def _on_axis(layout: Layout, value: Array, axis: int) -> Array:
    """A per-tensor or per-channel parameter (first axis) shaped to broadcast over the tensor."""
    tail = value.shape[1:] if value.ndim > 1 else ()
    shape = [1] * len(layout.shape)
    if value.shape and value.shape[0] > 1:
        shape[axis] = value.shape[0]
    return value.reshape(*shape, *tail)


@_lowers(Add)
def _add(low: _Lowering, node: Node, op: Add) -> None:
    if not any(o in low.graph.constants for o in node.operands):
        _add_streams(low, node)
        return
    streamed, constant = node.operands if node.operands[1] in low.graph.constants else node.operands[::-1]
    _add_constant(low, node, streamed, low.rom(constant), 1)


def _add_streams(low: _Lowering, node: Node) -> None:
    a, b = (low.layout(o) for o in node.operands)
    if a.shape != b.shape or not np.array_equal(a.order, b.order):
        raise low.refuse("the operands do not arrive in the same order",
                         "remove the broadcast, transpose or reshape before it")
    channels = low.stream(a.channel).elements
    channel = low.emit(node.name, StreamAdd(channels), [a.channel, b.channel], low.format(node))
    low.place(node, channel, a.order)


@_lowers(Mul)
def _mul(low: _Lowering, node: Node, op: Mul) -> None:
    """A constant factor is a requantization without a shift."""
    streamed, constant = node.operands if node.operands[1] in low.graph.constants else node.operands[::-1]
    layout, rom = low.layout(streamed), low.rom(constant)
    value = rom.data.reshape((1,) * (len(layout.shape) - rom.data.ndim) + rom.data.shape)
    zero = np.zeros((1,) * len(layout.shape), np.int64)
    none = Constant(f"{rom.name}_none", TensorType(Integer(False, 1), zero.shape), zero)
    _map(low, node, layout, lambda channels: MapScale(channels, low.format(node), 0), [(rom, value), (none, zero)])


@_lowers(Sub)
def _sub(low: _Lowering, node: Node, op: Sub) -> None:
    _add_constant(low, node, node.operands[0], low.rom(node.operands[1]), -1)


def _add_constant(low: _Lowering, node: Node, streamed: str, rom: Constant, sign: int) -> None:
    layout = low.layout(streamed)
    value = sign * rom.data.reshape((1,) * (len(layout.shape) - rom.data.ndim) + rom.data.shape)
    form = rom.type.format if sign > 0 else Integer(True, min(64, rom.type.format.bits + 1))
    signed = Constant(rom.name, TensorType(form, value.shape), value)
    _map(low, node, layout, lambda channels: MapAdd(channels, low.format(node)), [(signed, value)])


@_lowers(Relu)
def _relu(low: _Lowering, node: Node, op: Relu) -> None:
    layout = low.layout(node.operands[0])
    high = low.stream(layout.channel).format.maximum
    _map(low, node, layout, lambda channels: MapClip(channels, 0, high))


@_lowers(Clip)
def _clip(low: _Lowering, node: Node, op: Clip) -> None:
    layout = low.layout(node.operands[0])
    form = low.stream(layout.channel).format
    low_end, high_end = int(max(op.low, form.minimum)), int(min(op.high, form.maximum))
    _map(low, node, layout, lambda channels: MapClip(channels, low_end, high_end))


@_lowers(MultiplyShift)
def _multiply_shift(low: _Lowering, node: Node, op: MultiplyShift) -> None:
    layout = low.layout(node.operands[0])
    roms = [low.rom(o) for o in node.operands[1:]]
    parameters = [(rom, _on_axis(layout, rom.data, op.axis)) for rom in roms]
    _map(low, node, layout, lambda channels: MapScale(channels, op.to, op.shift), parameters)


@_lowers(Threshold)
def _threshold(low: _Lowering, node: Node, op: Threshold) -> None:
    layout, table = low.layout(node.operands[0]), low.rom(node.operands[1])
    parameters = [(table, _on_axis(layout, table.data, op.axis))]
    _map(low, node, layout, lambda channels: MapThreshold(channels, op.to, op.low), parameters)


def _forked(graph: Graph) -> Graph:
    """The graph with a fork wherever a channel has more than one reader."""
    readers: dict[str, list[tuple[str, int]]] = {}
    for node in graph.nodes:
        for i, operand in enumerate(node.operands):
            readers.setdefault(operand, []).append((node.name, i))
    for port in graph.outputs:
        readers.setdefault(port.value, []).append((f"out:{port.name}", -1))
    edit = graph.edit()
    renamed: dict[tuple[str, int], str] = {}
    for name, uses in readers.items():
        if len(uses) > 1 and name not in graph.constants:
            origin = graph.producers[name].origin if name in graph.producers else ""
            fork = edit.node(f"{name}_fork", Fork(len(uses)), [name], [graph.types[name]], origin)
            edit.insert_after(name, fork)
            renamed.update(zip(uses, fork.results, strict=True))
    for node in graph.nodes:
        operands = tuple(renamed.get((node.name, i), o) for i, o in enumerate(node.operands))
        if operands != node.operands:
            edit.replace(node, replace(node, operands=operands))
    edit.set_outputs([replace(p, value=renamed.get((f"out:{p.name}", -1), p.value)) for p in graph.outputs])
    return edit.finish()
