"""Scan and Loop, unrolled: how often they run must be known when the model is read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import numpy as np
from onnx import GraphProto

from irc.diagnostics import error
from irc.frontend.call import Call
from irc.frontend.names import label
from irc.frontend.operators.subgraph import read_nodes, renamed
from irc.frontend.table import operator
from irc.ops.bits import WIDEST
from irc.ops.comparison import TRUTH
from irc.ops.shape import Concat, Reshape, Slice

_NONE = cast("tuple[int, ...]", ())
LARGEST_UNROLLED = 20_000  # nodes
_UNROLL = "Export the loop with a fixed, smaller number of steps."


@operator("Scan", since=9)
def scan(call: Call) -> tuple[str, ...]:
    """The body once for each slice of the scanned inputs."""
    body, scanned = call.graph("body"), call.attribute("num_scan_inputs", 0)
    kept = call.count - scanned
    if not 0 < scanned <= call.count or len(body.input) != call.count or len(body.output) < kept:
        raise error("E106", "the body does not take the inputs of the node")
    inputs = [call.operand(i) for i in range(kept, call.count)]
    axes = [call.axis(axis, len(call.type(value).shape))
            for axis, value in zip(call.attribute("scan_input_axes", (0,) * scanned), inputs, strict=True)]
    lengths = {call.type(value).shape[axis] for axis, value in zip(axes, inputs, strict=True)}
    if len(lengths) != 1:
        raise error("E106", f"the scanned inputs have different lengths: {sorted(lengths)}")
    return _scanned(call, body, list(zip(inputs, axes, strict=True)), lengths.pop())


def _scanned(call: Call, body: GraphProto, inputs: Sequence[tuple[str, int]], length: int) -> tuple[str, ...]:
    kept = call.count - len(inputs)
    made = len(body.output) - kept
    backwards = call.attribute("scan_input_directions", (0,) * len(inputs))
    turned = call.attribute("scan_output_directions", (0,) * made)
    out_axes = call.attribute("scan_output_axes", (0,) * made)
    states, rows = [call.operand(i) for i in range(kept)], list[list[str]]()
    _check_size(call, body, length)
    for step in range(length):
        slices = [_slice(call, value, axis, length - 1 - step if back else step)
                  for (value, axis), back in zip(inputs, backwards, strict=True)]
        found = _run_body(call, body, [*states, *slices], step)
        states = found[:kept]
        rows.append(found[kept:])
    columns = [list(column) for column in zip(*rows, strict=True)]
    return (*states, *(_joined(call, column[::-1] if back else column, axis)
                       for column, axis, back in zip(columns, out_axes, turned, strict=True)))


@operator("Loop", since=7)
def loop(call: Call) -> tuple[str, ...]:
    """The body as often as the trip count says, or until the condition that it computes is known to be false."""
    body, (trips, go_on) = call.graph("body"), (call.constant(i, _UNROLL, "the loop is unrolled") for i in (0, 1))
    count = LARGEST_UNROLLED if trips is None else int(trips.reshape(-1)[0])
    states, rows = [call.operand(i) for i in range(2, call.count)], list[list[str]]()
    if len(body.input) != 2 + len(states) or len(body.output) < 1 + len(states):
        raise error("E106", "the body does not take the inputs of the node")
    truth = call.make(np.ones((), np.int64), TRUTH, "condition")
    running = go_on is None or bool(go_on.all())
    for step in range(count):
        if not running:
            break
        _check_size(call, body, step + 1)
        number = call.make(np.int64(step), WIDEST, "step")
        condition, *found = _run_body(call, body, [number, truth, *states], step)
        running = _known(call, condition)
        states, row = found[: len(states)], found[len(states) :]
        rows.append(row)
    if not rows and len(body.output) > 1 + len(states):
        raise call.refusal("a loop that never runs has an empty result")
    return (*states, *(_joined(call, list(column), 0) for column in zip(*rows, strict=True)))


def _known(call: Call, condition: str) -> bool:
    data = call.builder.data(condition)
    if data is None:
        raise call.refusal("the condition of the loop depends on the input data, but the loop is unrolled", _UNROLL)
    return bool(data.all())


def _check_size(call: Call, body: GraphProto, steps: int) -> None:
    if steps * len(body.node) > LARGEST_UNROLLED:
        raise call.refusal(f"{steps} steps of {len(body.node)} nodes are too many to unroll", _UNROLL)


def _run_body(call: Call, body: GraphProto, values: Sequence[str], step: int) -> list[str]:
    """The nodes of the body with these inputs; its outputs."""
    builder, prefix = call.builder, f"{label(call.node)}/{step}/"
    builder.add_weights(body.initializer)
    names = {port.name: f"{prefix}{port.name}" for port in body.input}
    builder.values.update((names[port.name], value) for port, value in zip(body.input, values, strict=True))
    read_nodes(call, (renamed(call, node, names, prefix) for node in body.node), call.opset)
    outputs = [names.get(port.name, port.name) for port in body.output]
    unknown = next((name for name in outputs if not builder.knows(name)), None)
    if unknown is not None:
        raise error("E105", f"'{unknown}' is used in a subgraph but never defined")
    return [builder.value(name) for name in outputs]


def _slice(call: Call, value: str, axis: int, index: int) -> str:
    """One index of an axis, without the axis."""
    shape = call.type(value).shape
    starts = tuple(index if i == axis else 0 for i in range(len(shape)))
    sizes = tuple(1 if i == axis else n for i, n in enumerate(shape))
    part = call.emit(Slice(starts, sizes, (1,) * len(shape)), value, part="step")
    return call.emit(Reshape((*shape[:axis], *shape[axis + 1 :])), part, part="step")


def _joined(call: Call, values: Sequence[str], axis: int) -> str:
    """Results of all steps along a new axis."""
    shape = call.type(values[0]).shape
    at = call.axis(axis, len(shape) + 1)
    parts = [call.emit(Reshape((*shape[:at], 1, *shape[at:])), value, part="row") for value in values]
    return parts[0] if len(parts) == 1 else call.emit(Concat(at), *parts)
