"""What an error in an embedding table costs: the rows of a table are inputs of the layers that read them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from irc.graph import Graph, Node
from irc.ops.shape import Reshape, Transpose
from irc.types import Array, IntArray
from passes.reconstruction.products import Convolution, Product, products


def table_gram(graph: Graph, gather: Node) -> Array | None:
    """The Hessian of the squared output errors of a table's readers, [columns, columns]; None without such readers.

    Errors of one row are taken as independent of those of its neighbours, so their columns are summed apart.
    """
    columns = graph.tensor(gather.operands[0]).shape[-1]
    found = [gram for gram in _grams(graph, gather, columns) if gram is not None]
    return sum(found[1:], found[0]) if found else None


def _grams(graph: Graph, gather: Node, columns: int) -> Iterator[Array | None]:
    """One for each layer that reads rows of the table, moved around or not: element e of a value is column
    `places[e] % columns` of row `places[e] // columns` of those looked up."""
    known = {product.node.name: product for product in products(graph)}
    kind = graph.tensor(gather.name)
    places = {gather.name: np.arange(kind.size).reshape(kind.shape)}
    for node in graph.nodes:
        if isinstance(node.op, Reshape | Transpose) and node.operands[0] in places:
            places[node.name] = node.op.evaluate(places[node.operands[0]][None])[0]
        elif node.name in known and node.operands[0] in places:
            yield _gram(graph, known[node.name], places[node.operands[0]], columns)


def _gram(graph: Graph, product: Product, places: IntArray, columns: int) -> Array | None:
    weights = graph.constants[product.weights[0]].data.astype(np.float64)
    if isinstance(product, Convolution):  # a column of the table must be a channel
        channels = np.moveaxis(places, 1, -1).reshape(-1, places.shape[1])
        parts = np.moveaxis(weights, 1, -1)
    else:
        channels, parts = places.reshape(-1, places.shape[-1]), product.matrix([weights])[0]
    order = np.argsort(channels[0], kind="stable")
    whole = parts.shape[-1] == channels.shape[1] and channels.shape[1] % columns == 0
    if not whole or (channels[:, order] % columns != np.arange(channels.shape[1]) % columns).any():
        return None
    rows = parts[..., order].reshape(-1, columns)
    return np.asarray(rows.T @ rows)
