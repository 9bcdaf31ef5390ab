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

import numpy as np

from irc.graph import Graph, Node
from irc.types import Array, Float, Integer, TensorType
from passes.layers import layers
from passes.quantize.scales import is_bipolar, round_to
from passes.stored import enter_dequantized, lookup_of

ScaleOf = Callable[[Array], Array]
"""The scales of weights [rows, elements], one a row."""


def with_integer_codebooks(graph: Graph, form: Integer, scale_of: ScaleOf, selected: Callable[[Node], bool]) -> Graph:
    """`graph` with integers in the codebooks of selected layers."""
    edit, found = graph.edit(), dict[str, list[Node]]()
    for layer in layers(graph):
        lookup = lookup_of(graph, layer.weight) if selected(layer.node) else None
        if lookup is not None and isinstance(graph.tensor(lookup.name).format, Float):
            picked = found.setdefault(lookup.operands[0], [])
            picked += [] if lookup in picked else [lookup]
    stored = Integer(True, 2) if is_bipolar(form) else form
    for name, lookups in found.items():
        values = graph.constants[name].data.astype(np.float64)
        scale = scale_of(np.concatenate([values[graph.constants[n.operands[1]].data].ravel() for n in lookups])[None])
        q = round_to(values[None], scale, form)[0]
        table = edit.constant(f"{name}_q", TensorType(stored, q.shape), q)
        for lookup in lookups:
            kind = TensorType(stored, graph.tensor(lookup.name).shape)
            whole = replace(lookup, results=(edit.fresh(f"{lookup.name}_q"),), operands=(table, lookup.operands[1]),
                            types=(kind,))
            edit.insert_after(table, whole)
            real = enter_dequantized(edit, lookup.name, (whole.name, kind), scale, 0)
            edit.redirect(lookup.name, real.name)
    return edit.finish()
