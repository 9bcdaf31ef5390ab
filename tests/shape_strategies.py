"""How random models grow by what changes shapes, order and single elements."""

from __future__ import annotations

from math import prod

import numpy as np
from growing_models import SMALL, Growing, step
from hypothesis import strategies as st
from onnx import TensorProto
from onnx_models import sample

PLAIN = {"Relu": 7, "Sigmoid": 7, "Tanh": 7, "LeakyRelu": 7, "Elu": 7, "HardSigmoid": 7, "Softplus": 7, "Neg": 7,
         "Abs": 7, "Erf": 9, "Identity": 7, "Selu": 7, "Softsign": 7, "Sin": 7, "Cos": 7, "Atan": 7, "Asinh": 9,
         "Celu": 12, "HardSwish": 14, "Mish": 18, "Gelu": 20, "ThresholdedRelu": 10, "Shrink": 9, "Dropout": 7}


@step()
def activate(g: Growing) -> None:
    op = g.one_of(*(op for op, since in PLAIN.items() if since <= g.opset))
    g.node(op, g.shape)


@step()
def bend(g: Growing) -> None:
    """Functions that need a bounded or positive operand."""
    op = g.one_of("Exp", "Log", "Sqrt", "Reciprocal", *(("Sinh", "Cosh") if g.opset >= 9 else ()))
    g.node("Tanh" if op in ("Exp", "Sinh", "Cosh") else "Sigmoid", g.shape)
    if op in ("Log", "Sqrt", "Reciprocal"):
        g.node("Add", g.shape, g.stored(np.float32(0.5)))
    g.node(op, g.shape)


@step()
def soften(g: Growing) -> None:
    g.node(g.one_of("Softmax", "LogSoftmax"), g.shape, axis=g.within(-1, g.rank - 1))


@step()
def limit(g: Growing) -> None:
    if g.opset < 11:
        g.node("Clip", g.shape, min=-0.5, max=1.5)
    else:
        g.node("Clip", g.shape, g.stored(np.float32(-0.5)), g.one_of("", g.stored(np.float32(1.5))))


@step(3, 5)
def rectify(g: Growing) -> None:
    g.node("PRelu", g.shape, g.weight(g.shape[1], *(1,) * (g.rank - 2)))


@step()
def combine(g: Growing) -> None:
    """With an earlier value of the same shape, or with a constant that is broadcast."""
    op = g.one_of("Add", "Sub", "Mul", "Max", "Min", "Mean", "Sum", "Pow", "Div")
    narrow = tuple(n if g.chance() or (g.opset == 7 and op in ("Max", "Min", "Mean", "Sum")) else 1 for n in g.shape)
    if op == "Pow":
        g.node(op, g.shape, g.stored(np.full(narrow, 2, np.float32)))
    elif op == "Div":
        g.node(op, g.shape, g.stored(np.abs(sample(narrow, 5)) + np.float32(0.5)))
    else:
        same = [name for name, shape in g.shapes.items() if shape == g.shape]
        g.node(op, g.shape, g.one_of(*same) if g.chance() else g.weight(*narrow))


@step(since=9)
def choose(g: Growing) -> None:
    """Where a value is above a constant: it, else another one."""
    op = g.one_of("Greater", "Less")
    (truth,) = g.aside(op, [g.last, g.weight(*(n if g.chance() else 1 for n in g.shape))])
    if g.chance():
        (truth,) = g.aside("Not", [truth])
    same = [name for name, shape in g.shapes.items() if shape == g.shape]
    g.emit("Where", [truth, g.last, g.one_of(g.weight(*g.shape[1:]), *same)], g.shape)


@step()
def join(g: Growing) -> None:
    axis = g.axis()
    fitting = [name for name, shape in g.shapes.items() if len(shape) == g.rank
               and all(i == axis or a == b for i, (a, b) in enumerate(zip(shape, g.shape, strict=True)))]
    other = g.one_of(*fitting)
    g.node("Concat", g.with_axis(axis, g.shape[axis] + g.shapes[other][axis]), other, axis=axis)


@step()
def turn(g: Growing) -> None:
    perm = [0, *g.draw(st.permutations(range(1, g.rank)))]
    g.node("Transpose", tuple(g.shape[p] for p in perm), perm=perm)


@step()
def cut(g: Growing) -> None:
    axis = g.axis()
    start = g.within(0, g.shape[axis] - 1)
    end, stride = g.within(start + 1, g.shape[axis]), g.draw(SMALL) if g.opset >= 10 else 1
    shape = g.with_axis(axis, len(range(start, end, stride)))
    if g.opset < 10:
        g.node("Slice", shape, starts=[start], ends=[end], axes=[axis])
    else:
        g.node("Slice", shape, *(g.integers(v) for v in (start, end, axis, stride)))


@step()
def divide(g: Growing) -> None:
    """One part of a split."""
    axis = g.axis()
    first = g.within(1, max(1, g.shape[axis] - 1))
    sizes = [first, g.shape[axis] - first] if g.shape[axis] > 1 else [first]
    g.parts("Split", 13, {"split": sizes}, [g.with_axis(axis, size) for size in sizes], axis=axis)


@step()
def surround(g: Growing) -> None:
    pads = [0, *(g.within(0, 2) for _ in g.shape[1:])] * 2
    modes = ["constant", "edge", *(["reflect"] if all(p < n for p, n in zip(pads, g.shape, strict=False)) else [])]
    grown = tuple(n + 2 * p for n, p in zip(g.shape, pads, strict=False))
    g.listed("Pad", grown, 11, {"pads": pads}, mode=g.one_of(*modes))


@step()
def reduce(g: Growing) -> None:
    axis, kept = g.axis(), g.within(0, 1) if g.rank > 2 else 1
    op = g.one_of("ReduceMean", "ReduceMax", "ReduceMin", "ReduceL2", "ReduceL1", "ReduceSum", "ReduceSumSquare",
                  "ReduceLogSumExp")
    shape = g.with_axis(axis, 1) if kept else (*g.shape[:axis], *g.shape[axis + 1 :])
    g.listed(op, shape, 13 if op == "ReduceSum" else 18, {"axes": [axis]}, keepdims=kept)


@step()
def flatten(g: Growing) -> None:
    g.node("Flatten", (1, prod(g.shape[1:])))


@step()
def fold_axes(g: Growing) -> None:
    """Reshape: one axis split off or two merged, the sizes given in part."""
    if g.rank > 2 and g.chance():
        g.node("Reshape", (1, prod(g.shape[1:3]), *g.shape[3:]), g.integers(1, -1, *g.shape[3:]))
    elif g.rank < 5 and g.shape[1] % 2 == 0:
        g.node("Reshape", (1, 2, g.shape[1] // 2, *g.shape[2:]), g.integers(0, 2, -1, *g.shape[2:]))


@step(2, 4)
def lift(g: Growing) -> None:
    axis = g.within(1, g.rank)
    g.listed("Unsqueeze", (*g.shape[:axis], 1, *g.shape[axis:]), 13, {"axes": [axis]})


@step(3, 5)
def drop(g: Growing) -> None:
    axis = g.axis()
    if g.shape[axis] == 1:
        g.listed("Squeeze", (*g.shape[:axis], *g.shape[axis + 1 :]), 13, {"axes": [axis]})


@step()
def pick(g: Growing) -> None:
    axis = g.axis()
    places = [g.within(0, g.shape[axis] - 1) for _ in range(g.draw(SMALL))]
    g.node("Gather", g.with_axis(axis, len(places)), g.integers(*places), axis=axis)


@step(since=11)
def pick_elements(g: Growing) -> None:
    axis = g.axis()
    shape = g.with_axis(axis, g.draw(SMALL))
    places = np.random.default_rng(len(g.nodes)).integers(0, g.shape[axis], shape)
    g.node("GatherElements", shape, g.stored(places), axis=axis)


@step(since=11)
def put_elements(g: Growing) -> None:
    axis = g.axis()
    shape = g.with_axis(axis, 1)
    places = np.random.default_rng(len(g.nodes)).integers(0, g.shape[axis], shape)
    g.node("ScatterElements", g.shape, g.stored(places), g.weight(*shape), axis=axis)


@step(since=12)
def pick_rows(g: Growing) -> None:
    places = np.array([[0, g.within(0, g.shape[1] - 1)] for _ in range(g.draw(SMALL))], np.int64)
    if g.rank > 2:
        g.node("GatherND", (1, len(places), *g.shape[2:]), g.stored(places[None]))


@step(since=11)
def put_rows(g: Growing) -> None:
    at = g.within(0, g.shape[1] - 1)
    g.node("ScatterND", g.shape, g.stored(np.array([[0, at]])), g.weight(1, *g.shape[2:]))


@step(since=8)
def widen(g: Growing) -> None:
    axis = g.axis()
    if g.shape[axis] == 1:
        size = g.draw(SMALL)
        g.node("Expand", g.with_axis(axis, size), g.integers(*(size if i == axis else 1 for i in range(g.rank))))


@step()
def repeat(g: Growing) -> None:
    times = [1, *(g.within(1, 2) for _ in g.shape[1:])]
    g.node("Tile", tuple(n * t for n, t in zip(g.shape, times, strict=True)), g.integers(*times))


@step(since=14)
def mask(g: Growing) -> None:
    if g.rank > 2:
        g.node("Trilu", g.shape, g.stored(np.array(g.within(-2, 2))), upper=g.within(0, 1))


@step(since=11)
def accumulate(g: Growing) -> None:
    g.node("CumSum", g.shape, g.stored(np.array(g.axis())), exclusive=g.within(0, 1), reverse=g.within(0, 1))


@step()
def largest(g: Growing) -> None:
    """Values of TopK; their places may differ where values are equal in float32."""
    axis = g.axis()
    k = g.within(1, g.shape[axis])
    more = {"largest": g.within(0, 1)} if g.opset >= 11 else {}
    operands, old = (g.last, g.integers(k)) if g.opset >= 10 else (g.last,), {"k": k} if g.opset < 10 else {}
    values, _ = g.aside("TopK", operands, 2, axis=axis, **old, **more)
    g.shapes[values] = g.with_axis(axis, k)


@step(since=9)
def encode(g: Growing) -> None:
    """Rows that mark the largest inputs, as factors."""
    if g.shapes["x"] == g.shape:
        (place,) = g.aside("ArgMax", ["x"], axis=-1, keepdims=0)
        depth, values = g.integers(g.shape[-1]), g.stored(np.array([0.5, 2], np.float32))
        (hot,) = g.aside("OneHot", [place, depth, values], axis=-1)
        g.node("Mul", g.shape, hot)


@step(since=12)
def contract(g: Growing) -> None:
    letters = "abcde"[: g.rank]
    match g.within(0, 2):
        case 0:
            size = g.draw(SMALL)
            g.node("Einsum", (*g.shape[:-1], size), g.weight(g.shape[-1], size),
                   equation=f"{letters},{letters[-1]}z->{letters[:-1]}z")
        case 1:
            g.node("Einsum", g.shape[:-1] if g.rank > 2 else g.shape, *(() if g.rank == 2 else (g.last,)),
                   equation=f"{letters}->{letters}" if g.rank == 2 else f"{letters},{letters}->{letters[:-1]}")
        case _:
            g.node("Einsum", (1, *g.shape[:0:-1]), equation=f"{letters}->a{letters[:0:-1]}")


@step(4, 4)
def shuffle(g: Growing) -> None:
    _, channels, rows, columns = g.shape
    if channels % 4 == 0:
        more = {"mode": g.one_of("DCR", "CRD")} if g.opset >= 11 else {}
        g.node("DepthToSpace", (1, channels // 4, 2 * rows, 2 * columns), blocksize=2, **more)
    elif rows % 2 == 0 and columns % 2 == 0:
        g.node("SpaceToDepth", (1, 4 * channels, rows // 2, columns // 2), blocksize=2)


@step(4, 4)
def resize(g: Growing) -> None:
    """By whole factors, or in newer operator sets to any size."""
    mode = g.one_of("nearest", "linear")
    if g.opset < 11:
        op = "Upsample" if g.opset < 10 else "Resize"
        factors = np.array([1, 1, *(g.within(1, 2) for _ in range(2))], np.float32)
        shape = tuple(int(n * f) for n, f in zip(g.shape, factors, strict=True))
        if g.opset < 9:
            g.node(op, shape, mode=mode, scales=factors.tolist())
        else:
            g.node(op, shape, g.stored(factors), mode=mode)
        return
    how = g.one_of("asymmetric", "half_pixel", "align_corners", "pytorch_half_pixel")
    shape = (*g.shape[:2], *(g.within(1, 2 * n) for n in g.shape[2:]))
    more = {"nearest_mode": g.one_of("floor", "round_prefer_floor", "ceil")} if mode == "nearest" else {}
    left_out = "" if g.opset >= 13 else g.stored(np.zeros(0, np.float32))
    g.node("Resize", shape, left_out, left_out, g.integers(*shape), mode=mode, coordinate_transformation_mode=how,
           **more)


@step(since=9)
def cast(g: Growing) -> None:
    """A truth value as a number."""
    (truth,) = g.aside("Greater", [g.last, g.weight(*(1,) * g.rank)])
    g.emit("Cast", [truth], g.shape, to=TensorProto.FLOAT)
