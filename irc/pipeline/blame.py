"""Which layer costs most: the network before and after lossy passes, compared layer by layer on a few samples.

Both networks call a value by the same name, so a layer's own part in the damage can be told apart: its piece of the
new network (from the nearest values that both have, to its result) is computed on the old network's values, and what
comes out goes through the rest of the old network. The error of the output is then the cost of this layer alone. One
run of each network gives all values; a layer costs the nodes behind it.

Where names mean something else in the new network (an equalised one, channels removed), a layer has no cost.
"""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from irc.graph import Graph, Node, Port
from irc.interpreter import computed, evaluate, run_node
from irc.metric import mean_squared_error
from irc.ops.quantization import Quantize, along
from irc.pipeline.selector import LAYERS, Negation, exactly
from irc.samples import bind, sample_count, take
from irc.types import Array, Float, Level, TensorType

CARRYING = frozenset({"relu", "clip", "leaky_relu", "max_pool", "reduce_max", "reshape", "transpose"})
MEMORY, FEWEST, MOST = 1 << 28, 4, 64  # bytes of all values of a network, and samples
ABSURD = 4.0  # where a layer alone costs this many times all together, names mean something else in both networks


@dataclass(frozen=True, slots=True)
class Layer:
    """A node with weights; `value` is its result, behind the constant bias that is added to it."""

    node: Node
    value: str

    @property
    def name(self) -> str:
        return self.node.name


@dataclass(frozen=True, slots=True)
class LayerError:
    """How far a layer's output is from the float network's. In steps of its own quantizer (unit `lsb`), else relative
    to the root mean square (unit `relative`). `cost` is the squared error of the network's output, relative, when this
    layer alone is compressed; None where that cannot be told."""

    layer: str
    origin: str
    op: str
    unit: str
    mean: float
    largest: float
    cost: float | None

    @property
    def exclusion(self) -> str:
        """What spares this layer, written behind a step."""
        return f"@ {Negation(exactly(self.layer))}"


def costliest(errors: Iterable[LayerError]) -> LayerError | None:
    """The layer that costs most; None when none costs anything."""
    costing = [found for found in errors if found.cost]
    return max(costing, key=lambda found: found.cost or 0.0, default=None)


def weighted_layers(graph: Graph) -> tuple[Layer, ...]:
    """The nodes that multiply or look up constants of two or more dimensions, in order."""
    moving = dependent(graph)
    return tuple(Layer(node, _biased(graph, node, moving)) for node in graph.nodes
                 if node.op.name in LAYERS and node.name in moving and _has_weight(graph, node, moving))


def dependent(graph: Graph) -> frozenset[str]:
    """The values that depend on an input."""
    found = {port.name for port in graph.inputs}
    for node in graph.nodes:
        if not found.isdisjoint(node.operands):
            found.update(node.results)
    return frozenset(found)


def _has_weight(graph: Graph, node: Node, moving: frozenset[str]) -> bool:
    kinds = (graph.types[o] for o in node.operands if o and o not in moving)
    return any(isinstance(k, TensorType) and isinstance(k.format, Float) and len(k.shape) > 1 for k in kinds)


def _biased(graph: Graph, node: Node, moving: frozenset[str]) -> str:
    users = graph.users[node.name]
    alone = len(users) == 1 and users[0].op.name == "add" and not graph.is_output(node.name)
    return users[0].name if alone and len(moving.intersection(users[0].operands)) == 1 else node.name


@dataclass(frozen=True)
class Blame:
    """Two networks at model level and the user's data; only as many samples are taken as memory allows."""

    before: Graph
    after: Graph
    data: Mapping[str, Array]

    @cached_property
    def layers(self) -> tuple[Layer, ...]:
        """The layers of the network before."""
        return weighted_layers(self.before)

    @cached_property
    def samples(self) -> int:
        """How many samples are looked at."""
        return sample_count(self._feeds)

    @cached_property
    def total(self) -> float:
        """The squared error of the first output, relative to its square."""
        return self._output_error(evaluate(self.after, self._feeds)[self.after.outputs[0].name])

    def costs(self) -> dict[str, float]:
        """The cost of each layer that has one, by name; none when one is absurd."""
        found = {layer.name: self._cost(layer) for layer in self.layers if layer.value in self._shared}
        return found if max(found.values(), default=0.0) <= ABSURD * self.total else {}

    def errors(self) -> tuple[LayerError, ...]:
        """The error of every layer whose output both networks have."""
        costs, places = self.costs(), [(layer, *self._place(layer)) for layer in self.layers
                                       if layer.value in self._shared]
        found = self._seen({value for _, value, _ in places} | {q.name for _, _, q in places if q})
        return tuple(self._error(layer, self._distance(found, value, q), q, costs.get(layer.name))
                     for layer, value, q in places)

    # the two networks side by side

    @cached_property
    def _feeds(self) -> dict[str, Array]:
        bound = bind(self.before, self.data)
        sizes = (kind.size for kind in self.before.types.values() if isinstance(kind, TensorType))
        return take(bound, min(MOST, max(FEWEST, MEMORY // (8 * sum(sizes)))))

    @cached_property
    def _values(self) -> dict[str, Array]:
        """Every value of the network before, constants included."""
        constants = {c.name: computed(c.data)[None] for c in self.before.constants.values()}
        return constants | evaluate(self.before, self._feeds, keep=True) | self._feeds

    @cached_property
    def _shared(self) -> frozenset[str]:
        """Values, other than constants, that both networks have with the same type."""
        levels = {self.before.level, self.after.level}
        if levels != {Level.MODEL} or self.before.inputs != self.after.inputs:
            return frozenset()
        names = dependent(self.before) & dependent(self.after)
        return frozenset(n for n in names if self.before.types[n] == self.after.types[n])

    @cached_property
    def _position(self) -> dict[str, int]:
        return {node.name: i for i, node in enumerate(self.after.nodes)}

    def _seen(self, names: Iterable[str]) -> dict[str, Array]:
        """Values of the network after."""
        ports = tuple(Port(name, self.after.types[name], name) for name in names)
        return evaluate(replace(self.after, outputs=ports), self._feeds) if ports else {}

    def _output_error(self, output: Array) -> float:
        return mean_squared_error(output, self._values[self.before.outputs[0].value])

    # the cost of a layer

    def _cost(self, layer: Layer) -> float:
        changed = self._alone(layer)
        if all(np.array_equal(found, self._values[name]) for name, found in changed.items()):
            return 0.0
        return self._output_error(self._onwards(changed))

    def _alone(self, layer: Layer) -> dict[str, Array]:
        """What the layer's piece of the new network makes of the old network's values."""
        piece = self._piece(layer)
        constants = self.after.constants
        known = {o: computed(constants[o].data)[None] if o in constants else self._values[o]
                 for node in piece for o in node.operands if o in constants or o in self._shared}
        for node in piece:
            known.update(zip(node.results, run_node(node, known), strict=True))
        return {result: known[result] for result in self.before.producers[layer.value].results if result in known}

    def _piece(self, layer: Layer) -> list[Node]:
        """The nodes of the new network between the values that both have and the layer's."""
        given = self._shared - {layer.value, layer.name}
        found, reached = dict[str, Node](), [layer.value]
        for value in reached:
            node = self.after.producers.get(value)
            if node is not None and node.name not in found:
                found[node.name] = node
                reached.extend(o for o in node.operands if o not in given)
        return sorted(found.values(), key=lambda node: self._position[node.name])

    def _onwards(self, changed: dict[str, Array]) -> Array:
        """The first output of the old network with the results of one node changed."""
        fresh = dict(changed)
        known = ChainMap(fresh, self._values)
        for node in self.before.nodes:
            if node.name not in changed and not fresh.keys().isdisjoint(node.operands):
                fresh.update(zip(node.results, run_node(node, known), strict=True))
        return known[self.before.outputs[0].value]

    # the error of a layer's output

    def _place(self, layer: Layer) -> tuple[str, Node | None]:
        """Where a layer's error is read: in front of its quantizer when it has one."""
        value = layer.value
        for value in self._carried(layer.value):
            quantizer = next((u for u in self.after.users[value] if isinstance(u.op, Quantize)), None)
            if quantizer is not None and value in self._shared and quantizer.operands[1] in self.after.constants:
                return value, quantizer
        return layer.value, None

    def _carried(self, value: str) -> Iterator[str]:
        """The value and what it becomes on its way to the next quantizer."""
        yield value
        users = self.after.users[value]
        while len(users) == 1 and users[0].op.name in CARRYING and not self.after.is_output(value):
            value = users[0].name
            yield value
            users = self.after.users[value]

    def _distance(self, found: Mapping[str, Array], value: str, quantizer: Node | None) -> Array:
        expected = self._values[value]
        if quantizer is None:
            size = float(np.sqrt(np.square(expected).mean()))
            return np.asarray(np.abs(found[value] - expected) / max(size, 1e-30))
        scale, zero = (self._parameter(quantizer, i) for i in (1, 2))
        return np.asarray(np.abs(found[quantizer.name] - zero - expected / scale))

    def _parameter(self, quantizer: Node, place: int) -> Array:
        assert isinstance(quantizer.op, Quantize)
        name = quantizer.operands[place] if place < len(quantizer.operands) else ""
        data = self.after.constants[name].data if name in self.after.constants else np.zeros(())
        return along(computed(data)[None], quantizer.op.axis, len(self.after.tensor(quantizer.name).shape))

    def _error(self, layer: Layer, apart: Array, quantizer: Node | None, cost: float | None) -> LayerError:
        return LayerError(layer.name, layer.node.origin, layer.node.op.name, "lsb" if quantizer else "relative",
                          float(apart.mean()), float(apart.max(initial=0)), cost)
