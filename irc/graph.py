"""The graph: frozen SSA values of one level, edited in batches."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from irc.diagnostics import did_you_mean, error
from irc.operation import Op
from irc.types import Array, Encoding, Float, Level, TensorType, Type

if TYPE_CHECKING:
    import networkx

MISSING = ""  # stands for an optional operand that is not given


@dataclass(frozen=True, slots=True)
class Node:
    """One operation: `results = op(operands)`; `origin` says where in the user's model it comes from."""

    results: tuple[str, ...]
    op: Op
    operands: tuple[str, ...]
    types: tuple[Type, ...]
    origin: str = ""

    @property
    def name(self) -> str:
        """The node is called by its first result."""
        return self.results[0]

    @property
    def type(self) -> Type:
        return self.types[0]


@dataclass(frozen=True, slots=True)
class Constant:
    """A named constant; `data` is read-only, of the storage dtype of its format."""

    name: str
    type: TensorType
    data: Array = field(compare=False)

    def __post_init__(self) -> None:
        if not self._is_kept(self.data):
            data = np.array(np.reshape(self.data, self.type.shape), self.type.format.dtype, order="C")
            data.setflags(write=False)
            object.__setattr__(self, "data", data)

    def _is_kept(self, data: Array) -> bool:
        """Whether nobody can change the data any more, as in the data of another constant: they need no copy."""
        return (isinstance(data, np.ndarray) and data.base is None and not data.flags.writeable
                and data.dtype == self.type.format.dtype and data.shape == self.type.shape)

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Constant)
            and (self.name, self.type) == (other.name, other.type)
            and (self.data is other.data or self.data.tobytes() == other.data.tobytes())
        )

    def __hash__(self) -> int:
        return hash((self.name, self.type))


@dataclass(frozen=True, slots=True)
class Port:
    """A graph input or output. For an output, `value` names what it shows.

    At integer and dataflow level `encoding` says what the integers mean. At dataflow level `tensor` is the shape the
    user sees and `order` the permutation of its axes in which the stream sends the elements.
    """

    name: str
    type: Type
    value: str = ""
    encoding: Encoding | None = None
    tensor: TensorType | None = None
    order: tuple[int, ...] = ()


@dataclass(frozen=True)
class Graph:
    """A network at one level. Nodes stand in topological order; every name is defined once."""

    name: str
    level: Level
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    constants: Mapping[str, Constant]
    nodes: tuple[Node, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "constants", MappingProxyType(dict(self.constants)))

    def __reduce__(self) -> tuple[Any, ...]:  # a view cannot be pickled, and what is cached need not be
        return Graph, (self.name, self.level, self.inputs, self.outputs, dict(self.constants), self.nodes)

    @cached_property
    def types(self) -> Mapping[str, Type]:
        """Type of every value: inputs, constants, results."""
        found: dict[str, Type] = {p.name: p.type for p in self.inputs}
        found.update((c.name, c.type) for c in self.constants.values())
        for node in self.nodes:
            found.update(zip(node.results, node.types, strict=True))
        return found

    @cached_property
    def producers(self) -> Mapping[str, Node]:
        """The node that makes each non-input, non-constant value."""
        return {result: node for node in self.nodes for result in node.results}

    @cached_property
    def users(self) -> Mapping[str, tuple[Node, ...]]:
        """Nodes that read each value, in order; values shown only by outputs have none."""
        found: dict[str, list[Node]] = {name: [] for name in self.types}
        for node in self.nodes:
            for operand in dict.fromkeys(node.operands):
                if operand != MISSING:
                    found[operand].append(node)
        return {name: tuple(nodes) for name, nodes in found.items()}

    def tensor(self, name: str) -> TensorType:
        """The type of a value that is known to be a tensor."""
        found = self.types[name]
        assert isinstance(found, TensorType), f"{name} is a stream"
        return found

    def operand_types(self, node: Node) -> tuple[Type | None, ...]:
        return tuple(self.types[o] if o != MISSING else None for o in node.operands)

    def is_output(self, name: str) -> bool:
        return any(port.value == name for port in self.outputs)

    def to_networkx(self) -> networkx.MultiDiGraph:
        """A cheap view for graph algorithms: one vertex a node (keyed by name), input and output port
        (`in:<name>`, `out:<name>`), one edge a use, with the `value` on it. Constants are left out."""
        import networkx

        view = networkx.MultiDiGraph()
        makers = {p.name: f"in:{p.name}" for p in self.inputs}
        view.add_nodes_from(makers.values())
        for node in self.nodes:
            view.add_node(node.name, node=node)
            makers.update((result, node.name) for result in node.results)
        uses = [(o, node.name) for node in self.nodes for o in node.operands if o in makers]
        uses += [(p.value, f"out:{p.name}") for p in self.outputs if p.value in makers]
        view.add_edges_from((makers[value], user, {"value": value}) for value, user in uses)
        return view

    def edit(self) -> Edit:
        """Start a batch of changes; nothing happens to this graph."""
        return Edit(self)

    def map_constants(self, change: Callable[[Constant], Constant]) -> Graph:
        """This graph with every constant passed through `change`; itself when none changed."""
        changed = {name: change(c) for name, c in self.constants.items()}
        if all(changed[name] is c for name, c in self.constants.items()):
            return self
        return replace(self, constants=changed)

    def verify(self) -> None:
        """Raise E202 unless names are unique and defined before use, and types obey the type rules."""
        defined: set[str] = set()
        for name in (*(p.name for p in self.inputs), *self.constants):
            _define(name, defined)
        for node in self.nodes:
            self._verify_node(node, defined)
        for port in self.outputs:
            if port.value not in defined:
                raise error("E202", f"output '{port.name}' shows '{port.value}', which is not defined",
                            remedy=did_you_mean(port.value, defined))
            if port.type != self.types[port.value]:
                have = self.types[port.value]
                raise error("E202", f"output '{port.name}' is {port.type}, but '{port.value}' is {have}")
        for constant in self.constants.values():
            form = constant.type.format
            if not isinstance(form, Float) and not form.holds(constant.data):
                raise error("E202", f"constant '{constant.name}' has values outside its format {form}")

    def _verify_node(self, node: Node, defined: set[str]) -> None:
        name, op = node.name, node.op.name
        for operand in node.operands:
            if operand != MISSING and operand not in defined:
                raise error("E202", f"'{operand}' is used before it is defined",
                            remedy=did_you_mean(operand, defined), node=name, operator=op)
        if self.level not in node.op.levels:
            raise error("E202", f"op {node.op.name} does not exist at {self.level.value} level", node=name, operator=op)
        try:
            inferred = node.op.result_types(self.operand_types(node))
        except TypeError as problem:
            raise error("E202", str(problem), node=name, operator=op) from None
        if len(inferred) != len(node.types):
            raise error("E202", f"{len(inferred)} results are declared as {len(node.types)}", node=name, operator=op)
        for want, have in zip(inferred, node.types, strict=True):
            if not _admissible(have, want, self.level):
                raise error("E202", f"declared {have}, but the type rule gives {want}", node=name, operator=op)
        for result in node.results:
            _define(result, defined)


def _define(name: str, defined: set[str]) -> None:
    if name in defined:
        raise error("E202", f"'{name}' is defined twice")
    defined.add(name)


def _admissible(have: Type, want: Type, level: Level) -> bool:
    """Integer results may be declared narrower or wider than inferred (range analysis decides; the interpreter
    checks the values), FIFO depths are free."""
    if isinstance(have, TensorType) and isinstance(want, TensorType):
        free = level is Level.INTEGER and not isinstance(have.format, Float) and not isinstance(want.format, Float)
        return have.shape == want.shape and (free or have.format == want.format)
    if isinstance(have, TensorType) or isinstance(want, TensorType):
        return False
    return replace(have, depth=0, format=want.format) == replace(want, depth=0)


class Edit:
    """A batch of changes to a graph, applied by `finish()` in one linear pass."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self._replaced: dict[str, tuple[Node, ...]] = {}
        self._after: dict[str, list[Node]] = {}
        self._first: list[Node] = []
        self._redirect: dict[str, str] = {}
        self._keep: dict[str, frozenset[str]] = {}
        self._constants: dict[str, Constant] = dict(graph.constants)
        self._taken = set(graph.types)
        self._counts: dict[str, int] = {}  # how often a stem was asked for
        self._inputs = graph.inputs
        self._outputs = graph.outputs

    def fresh(self, stem: str) -> str:
        """A name nothing has yet: `stem`, or `stem_1`, `stem_2`, ..."""
        name, count = stem, self._counts.get(stem, 0)
        while name in self._taken:
            count += 1
            name = f"{stem}_{count}"
        self._taken.add(name)
        self._counts[stem] = count
        return name

    def constant(self, stem: str, type: TensorType, data: Any) -> str:
        """Add a constant under a fresh name made from `stem`; returns the name."""
        name = self.fresh(stem)
        self._constants[name] = Constant(name, type, np.asarray(data))
        return name

    def set_constant(self, name: str, type: TensorType, data: Any) -> None:
        """Give an existing constant a new type and value."""
        self._constants[name] = Constant(name, type, np.asarray(data))

    def node(self, stem: str, op: Op, operands: Sequence[str], types: Sequence[Type | None], origin: str = "",
             results: Sequence[Type] = ()) -> Node:
        """Build a one- or many-result node with fresh names. `types` are the operand types; `results` overrides the
        inferred result types (integer level: a narrower format). The node is not in the graph yet."""
        found = tuple(results) or op.result_types(tuple(types))
        names = [self.fresh(stem if i == 0 else f"{stem}_out{i}") for i in range(len(found))]
        return Node(tuple(names), op, tuple(operands), found, origin)

    def replace(self, node: Node, *nodes: Node) -> None:
        """Put `nodes` (maybe none) where `node` stands. Redirect its results when they are no longer made."""
        self._replaced[node.name] = nodes

    def insert_after(self, name: str, *nodes: Node) -> None:
        """Put nodes right behind the node that makes value `name` (at the very start for inputs and constants)."""
        maker = self.graph.producers.get(name)
        if maker is None:
            self._first.extend(nodes)
        else:
            self._after.setdefault(maker.name, []).extend(nodes)

    def redirect(self, old: str, new: str, keep: Iterable[str] = ()) -> None:
        """Let every use of value `old`, graph outputs included, read `new` instead.

        Uses inside nodes that this edit put in are redirected too, except in the node that makes `new` and in the
        nodes named in `keep`."""
        self._redirect[old] = new
        self._keep[old] = frozenset(keep)

    def set_inputs(self, inputs: Iterable[Port]) -> None:
        self._inputs = tuple(inputs)

    def set_outputs(self, outputs: Iterable[Port]) -> None:
        self._outputs = tuple(outputs)

    def _target(self, name: str) -> str:
        path = []
        while name in self._redirect:
            path.append(name)
            name = self._redirect[name]
        for passed in path[:-1]:
            self._redirect[passed] = name
        return name

    def _stream(self) -> Iterator[Node]:
        yield from self._first
        for node in self.graph.nodes:
            yield from self._replaced.get(node.name, (node,))
            yield from self._after.get(node.name, ())

    def _rewire(self, node: Node) -> Node:
        made = {*node.results}
        operands = tuple(
            o if self._redirect.get(o) in made or node.name in self._keep.get(o, ()) else self._target(o)
            for o in node.operands
        )
        return node if operands == node.operands else replace(node, operands=operands)

    def finish(self, level: Level | None = None) -> Graph:
        """The edited graph, in topological order; the very same graph when nothing was changed."""
        graph = self.graph
        nodes = [self._rewire(node) for node in self._stream()]
        outputs = tuple(replace(p, value=self._target(p.value)) for p in self._outputs)
        changed = Graph(graph.name, level or graph.level, self._inputs, outputs, self._constants, tuple(nodes))
        outputs = tuple(replace(p, type=changed.types.get(p.value, p.type)) for p in outputs)
        changed = replace(changed, outputs=outputs, nodes=_ordered(changed))
        return graph if changed == graph else changed


def _ordered(graph: Graph) -> tuple[Node, ...]:
    """Nodes in topological order: as they stand when that is one already, else sorted, stable by position."""
    makers = graph.producers
    seen: set[str] = set()
    for node in graph.nodes:
        if any(o in makers and o not in seen for o in node.operands):
            return _sorted(graph)
        seen.update(node.results)
    return graph.nodes


def _sorted(graph: Graph) -> tuple[Node, ...]:
    import networkx

    position = {node.name: i for i, node in enumerate(graph.nodes)}
    view = graph.to_networkx().subgraph(position)
    try:
        order = list(networkx.lexicographical_topological_sort(view, key=position.__getitem__))
    except networkx.NetworkXUnfeasible:
        cycle = " -> ".join(edge[0] for edge in networkx.find_cycle(view))
        raise error("E202", f"the graph has a cycle: {cycle}") from None
    by_name = {node.name: node for node in graph.nodes}
    return tuple(by_name[name] for name in order)
