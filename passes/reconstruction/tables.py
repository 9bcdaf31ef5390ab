"""What an error in an embedding table costs: the rows of a table are inputs of the layers that read them."""

from __future__ import annotations

from collections.abc import Iterator

import networkx
import numpy as np

from irc.graph import Graph, Node
from irc.ops.shape import Reshape, Transpose
from irc.types import Array
from passes.reconstruction.products import Convolution, Product, products


def table_gram(graph: Graph, gather: Node) -> Array | None:
    """The Hessian of the squared output errors of a table's readers, [columns, columns]; None without such readers.

    Errors of one row are taken as independent of those of its neighbours, so taps of a convolution are summed.
    """
    columns = graph.tensor(gather.operands[0]).shape[-1]
    found = [gram for gram in _grams(graph, gather, columns) if gram is not None]
    return sum(found[1:], found[0]) if found else None


def _grams(graph: Graph, gather: Node, columns: int) -> Iterator[Array | None]:
    known = {product.node.name: product for product in products(graph)}
    carried = networkx.DiGraph()
    carried.add_node(gather.name)
    for node in graph.nodes:
        if isinstance(node.op, Reshape | Transpose) and node.operands[0] in carried:
            carried.add_edge(node.operands[0], node.name)
    for value in carried:
        for user in graph.users[value]:
            if user.name in known and user.operands[0] == value:
                yield _gram(graph, known[user.name], columns)


def _gram(graph: Graph, product: Product, columns: int) -> Array | None:
    """Sums over everything but the column, where the layer's input has the table's columns as its last or its
    channel axis."""
    weights = graph.constants[product.weights[0]].data.astype(np.float64)
    parts = np.moveaxis(weights, 1, -1) if isinstance(product, Convolution) else product.matrix([weights])[0]
    if parts.shape[-1] % columns:
        return None
    rows = parts.reshape(-1, columns)
    return np.asarray(rows.T @ rows)
