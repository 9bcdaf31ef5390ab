"""The reference interpreter: one for all levels, because every op carries its own NumPy meaning.

It checks what the types promise: an integer that leaves its declared format is an error with the node's name, never a
silent wrap.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

import irc.ops  # noqa: F401 (fills the op table)
from irc.diagnostics import error
from irc.graph import MISSING, Graph, Node
from irc.types import Array, Float, StreamType, TensorType, Type

CHUNK = 128  # samples evaluated together: enough for BLAS, little memory
MEMORY = 1 << 28  # bytes of all values of the samples evaluated together


def evaluate(graph: Graph, feeds: Mapping[str, Array], *, keep: bool = False, chunk: int = CHUNK) -> dict[str, Array]:
    """Run `graph` on a batch of samples.

    `feeds` maps each input port to an array [samples, *type.shape]. Returns output ports by name, and every other
    value too when `keep` is set; arrays are [samples, *shape], float64 or int64.
    """
    count = max((len(feeds[p.name]) for p in graph.inputs), default=1)
    chunk = samples_at_once(graph, chunk)
    parts = [_run(graph, {k: v[at : at + chunk] for k, v in feeds.items()}, keep) for at in range(0, count, chunk)]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def samples_at_once(graph: Graph, wanted: int) -> int:
    """How many samples, `wanted` at most, have all their values in MEMORY; at least one."""
    types = [*(port.type for port in graph.inputs), *(type for node in graph.nodes for type in node.types)]
    size = sum(t.size if isinstance(t, TensorType) else t.positions * t.elements for t in types)
    return max(1, min(wanted, MEMORY // (8 * max(size, 1))))


def _run(graph: Graph, feeds: Mapping[str, Array], keep: bool) -> dict[str, Array]:
    count = max((len(v) for v in feeds.values()), default=1)
    values = {c.name: computed(c.data)[None] for c in graph.constants.values()}
    values |= {p.name: computed(feeds[p.name]) for p in graph.inputs}
    last = {o: i for i, node in enumerate(graph.nodes) for o in node.operands} if not keep else {}
    shown = {p.value for p in graph.outputs}
    for i, node in enumerate(graph.nodes):
        values.update(zip(node.results, run_node(node, values), strict=True))
        for operand in set(node.operands):
            if last.get(operand) == i and operand not in shown:
                values.pop(operand, None)
    wanted = {p.name: values[p.value] for p in graph.outputs}
    if keep:
        wanted |= {name: v for name, v in values.items() if name not in graph.constants and name not in wanted}
    return {name: np.broadcast_to(v, (count, *v.shape[1:])) for name, v in wanted.items()}


def computed(data: Array) -> Array:
    """The dtype the interpreter computes in: float64 for reals, int64 for integers and booleans."""
    return data.astype(np.float64 if data.dtype.kind == "f" else np.int64, copy=False)


def run_node(node: Node, values: Mapping[str, Array]) -> tuple[Array, ...]:
    """Evaluate one node on its operands' values and check the results against the declared types."""
    operands = [values[o] if o != MISSING else None for o in node.operands]
    try:
        found = node.op.evaluate(*operands)
    except OverflowError as problem:
        raise error("E202", str(problem), node=node.name, operator=node.op.name) from None
    results = found if isinstance(found, tuple) else (found,)
    for value, declared in zip(results, node.types, strict=True):
        _check(node, value, declared)
    return results


def _check(node: Node, value: Array, declared: Type) -> None:
    name, op = node.name, node.op.name
    shape = declared.shape if isinstance(declared, TensorType) else (declared.positions, declared.elements)
    if value.shape[1:] != shape:
        found = f"the value has shape {list(value.shape[1:])}, declared is {declared}"
        raise error("E202", found, node=name, operator=op)
    form = declared.format
    if not isinstance(form, Float) and (isinstance(declared, StreamType) or value.size) and not form.holds(value):
        found = f"a value in [{value.min()}, {value.max()}] leaves its format {form}"
        raise error("E202", found, node=name, operator=op)
