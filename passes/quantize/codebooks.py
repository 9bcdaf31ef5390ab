"""Codebooks of shared weights become integers; the indices stay. Before::

    w_shared: f32[2, 4] = gather(w_codebook, w_index)
    y: f32[1, 4] = matmul(x, w_shared)

and after `quantize{weights=s8}`::

    const w_codebook_q: s8[4] = [-85, -21, 0, 127]
    w_codebook_shared: s8[2, 4] = gather(w_codebook_q, w_index)
    w_dq: f32[2, 4] = dequantize(w_codebook_shared, w_codebook_scale)
    y: f32[1, 4] = matmul(x, w_dq)

A codebook has one scale, of least squared error for the weights that are in it, however many layers read it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TypeAlias

import numpy as np

from irc.codebook import lookup_of
from irc.graph import Edit, Graph, Node
from irc.types import Array, Float, TensorType
from passes.rounding.alphabet import Alphabet
from passes.rounding.scales import round_to
from passes.stored import enter_dequantized

ScaleOf: TypeAlias = Callable[[Array], Array]
"""The scales of weights [rows, elements], one a row."""


def with_integer_codebooks(graph: Graph, letters: Alphabet, scale_of: ScaleOf,
                           selected: Callable[[Node], bool]) -> Graph:
    """`graph` with integers in the codebooks that selected nodes read."""
    edit, found = graph.edit(), dict[str, dict[str, Node]]()
    for name in (o for node in graph.nodes if selected(node) for o in node.operands):
        lookup = lookup_of(graph, name)
        if lookup is not None and isinstance(graph.tensor(name).format, Float):
            found.setdefault(lookup.operands[0], {})[name] = lookup
    for name, lookups in found.items():
        values = graph.constants[name].data.astype(np.float64)
        picked = [values[graph.constants[lookup.operands[1]].data].ravel() for lookup in lookups.values()]
        scale = scale_of(np.concatenate(picked)[None])
        q = round_to(values[None], scale, letters)[0]
        table = edit.constant(f"{name}_q", TensorType(letters.form, q.shape), q)
        for lookup in lookups.values():
            _reread(edit, lookup, TensorType(letters.form, graph.tensor(lookup.name).shape), table, scale)
    return edit.finish()


def _reread(edit: Edit, lookup: Node, kind: TensorType, table: str, scale: Array) -> None:
    """Look up in the table of integers, and dequantize what is found."""
    whole = replace(lookup, results=(edit.fresh(f"{lookup.name}_q"),), operands=(table, lookup.operands[1]),
                    types=(kind,))
    edit.insert_after(table, whole)
    edit.redirect(lookup.name, enter_dequantized(edit, lookup.name, (whole.name, kind), scale, 0).name)
