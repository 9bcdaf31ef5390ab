"""A random ONNX model under construction: values with their shapes, nodes in the form of the drawn operator set."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from hypothesis import strategies as st
from onnx import ModelProto, NodeProto, helper
from onnx_models import build, ints, sample

Draw = Callable[[st.SearchStrategy[Any]], Any]
Shape = tuple[int, ...]
SMALL = st.integers(1, 3)


@dataclass(slots=True)
class Growing:
    """Values with their shapes; the last one is what the next node reads. The first axis of each is the batch, 1."""

    draw: Draw
    shapes: dict[str, Shape]
    opset: int = 17
    nodes: list[NodeProto] = field(default_factory=list)
    weights: dict[str, np.ndarray] = field(default_factory=dict)

    @property
    def last(self) -> str:
        return next(reversed(self.shapes))

    @property
    def shape(self) -> Shape:
        return self.shapes[self.last]

    @property
    def rank(self) -> int:
        return len(self.shape)

    def one_of(self, *choices: Any) -> Any:
        return self.draw(st.sampled_from(choices))

    def within(self, low: int, high: int) -> int:
        return int(self.draw(st.integers(low, high)))

    def chance(self) -> bool:
        return bool(self.draw(st.booleans()))

    def axis(self, first: int = 1) -> int:
        return self.within(first, self.rank - 1)

    def with_axis(self, axis: int, size: int) -> Shape:
        """The last shape with another size of one axis."""
        return (*self.shape[:axis], size, *self.shape[axis + 1 :])

    def weight(self, *shape: int) -> str:
        return self.stored(sample(shape, len(self.weights)))

    def stored(self, data: np.ndarray) -> str:
        name = f"w{len(self.weights)}"
        self.weights[name] = data
        return name

    def integers(self, *values: int) -> str:
        return self.stored(ints(*values))

    def node(self, op: str, shape: Shape, *more: str, **attributes: Any) -> str:
        """A node that reads the last value, and more; what it makes is the last one then."""
        return self.emit(op, [self.last, *more], shape, **attributes)

    def emit(self, op: str, operands: Sequence[str], shape: Shape, index: int = 0, **attributes: Any) -> str:
        """A node of any operands, whose result at `index` goes on; those before it have no name."""
        name = f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, list(operands), [*[""] * index, name], **attributes))
        self.shapes[name] = shape
        return name

    def aside(self, op: str, operands: Sequence[str], results: int = 1, **attributes: Any) -> list[str]:
        """A node whose results are no values to go on from: integers, truth values, halves."""
        names = [f"a{len(self.nodes)}_{i}" for i in range(results)]
        self.nodes.append(helper.make_node(op, list(operands), names, **attributes))
        return names

    def listed(self, op: str, shape: Shape, since: int, lists: Mapping[str, Sequence[int]], **attributes: Any) -> str:
        """A node with lists that are attributes before operator set `since`, operands from then on."""
        return self.node(op, shape, *self._operands(since, lists), **attributes, **self._attributes(since, lists))

    def parts(self, op: str, since: int, lists: Mapping[str, Sequence[int]], shapes: Sequence[Shape],
              **attributes: Any) -> str:
        """The same for a node of several results, one of which, drawn, goes on."""
        names = self.aside(op, [self.last, *self._operands(since, lists)], len(shapes), **attributes,
                           **self._attributes(since, lists))
        chosen = self.within(0, len(shapes) - 1)
        self.shapes[names[chosen]] = shapes[chosen]
        return names[chosen]

    def _operands(self, since: int, lists: Mapping[str, Sequence[int]]) -> list[str]:
        return [self.integers(*values) for values in lists.values()] if self.opset >= since else []

    def _attributes(self, since: int, lists: Mapping[str, Sequence[int]]) -> dict[str, list[int]]:
        return {name: list(values) for name, values in lists.items()} if self.opset < since else {}

    def model(self) -> ModelProto:
        return build(self.nodes, {"x": self.shapes["x"]}, self.weights, outputs=[self.last], opset=self.opset)


Grow = Callable[[Growing], None]


@dataclass(frozen=True, slots=True)
class Step:
    """A way to go on: from values of some ranks, in some operator sets."""

    grow: Grow
    ranks: range
    since: int

    def fits(self, g: Growing) -> bool:
        return g.rank in self.ranks and g.opset >= self.since


STEPS: list[Step] = []


def step(low: int = 2, high: int = 5, since: int = 7) -> Callable[[Grow], Grow]:
    """Enter a function that lets a model grow, for values of `low` to `high` axes."""

    def enter(grow: Grow) -> Grow:
        STEPS.append(Step(grow, range(low, high + 1), since))
        return grow

    return enter
