"""A space: all pipelines that a template with holes stands for, on one network.

A point of it is a choice for every gene. Points become pipelines: the layers for which a step reads the same share one
copy of it, narrowed to them by name, and the copy of the most layers comes last and takes everything else as well.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, reduce
from pathlib import Path
from typing import cast

from irc.cost import layer_weights
from irc.diagnostics import IrcError, error
from irc.explore.template import Hole, Literal, Template, filled, holes, parse_template, position, variants
from irc.graph import Graph
from irc.pipeline.language import parse_pipeline
from irc.pipeline.plan import Item, narrowed, passes_of, print_plan
from irc.pipeline.plugins import find_space, space_names
from irc.pipeline.selector import LAYERS, Either, Negation, Selector, exactly
from irc.text.syntax import at

Choices = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Gene:
    """One choice to make: the number of an alternative of a hole, for one layer where the hole has a choice a layer."""

    hole: Hole
    layer: str = ""

    @property
    def alternatives(self) -> int:
        """How many there are."""
        return len(self.hole.alternatives)


@dataclass(frozen=True, slots=True)
class Varied:
    """A step with its holes, and, where these ask for a choice a layer, the layers that the step takes."""

    template: Template
    layers: tuple[str, ...]

    def genes(self) -> Iterator[Gene]:
        """The choices that the step leaves, in the order of the text."""
        for hole in holes(self.template):
            yield from (Gene(hole, layer) for layer in (self.layers if hole.layered else ("",)))


class Space:
    """All pipelines of a template. `genes` are the choices; `pipeline` makes a text from them."""

    def __init__(self, text: str, file: str, graph: Graph) -> None:
        self._reader = _StepReader(text, file)
        self._steps = tuple(_varied(step, self._reader, graph) for step in parse_template(text, file))
        self.genes = tuple(gene for step in self._steps for gene in step.genes())
        if not self.genes:
            raise error("E301", "the space has no hole, so there is nothing to choose", file=file,
                        remedy="Write alternatives where values or steps stand: quantize{weights=?{s4 | s8}}.")

    @property
    def size(self) -> int:
        """How many choices there are; some may stand for the same pipeline."""
        return math.prod(gene.alternatives for gene in self.genes)

    def pipeline(self, choices: Choices) -> str:
        """The pipeline that these choices, one a gene, stand for."""
        chosen = {(gene.hole.start, gene.layer): choice for gene, choice in zip(self.genes, choices, strict=True)}
        return print_plan(item for step in self._steps for item in self._items(step, chosen))

    def _items(self, step: Varied, chosen: Mapping[tuple[int, str], int]) -> Iterator[Item]:
        groups: dict[tuple[Literal, ...], list[str]] = {}
        for layer in step.layers or ("",):
            literals = tuple(filled(step.template, _chosen(chosen, layer)))
            groups.setdefault(literals, []).append(layer)
        most = max(groups, key=lambda literals: len(groups[literals]))
        for literals in groups:
            if literals is not most:
                yield from self._narrowed(literals, _names(groups[literals]))
        rest = [layer for literals in groups if literals is not most for layer in groups[literals]]
        yield from self._narrowed(most, Negation(_names(rest)) if rest else None)

    def _narrowed(self, literals: tuple[Literal, ...], chosen: Selector | None) -> Iterator[Item]:
        for item in self._reader.items(literals):
            yield item if chosen is None else narrowed(item, chosen)


def load_space(source: str, graph: Graph) -> Space:
    """The space of a text, of a name (`irc.spaces`), or of a file (`@file`). Raises E101, E301 to E304, E307."""
    word = source.strip()
    if word in space_names():
        return Space(find_space(word), word, graph)
    if not word.startswith("@") or len(word.splitlines()) != 1:
        return Space(source, "", graph)
    try:
        return Space(Path(word[1:]).read_text("utf-8"), word[1:], graph)
    except (OSError, UnicodeDecodeError) as problem:
        raise error("E101", f"the space cannot be read: {problem}", file=word[1:]) from None


class _StepReader:
    """Reads what is left of a step when its holes are filled; errors name the place in the text with the holes."""

    def __init__(self, text: str, file: str) -> None:
        self.text = text
        self.file = file
        self.items = cache(self._items)

    def _items(self, literals: tuple[Literal, ...]) -> tuple[Item, ...]:
        text = "".join(literal.text for literal in literals)
        if not text.strip():
            return ()
        try:
            return parse_pipeline(text, self.file)
        except IrcError as problem:
            raise self._placed(problem, text, literals) from None

    def _placed(self, problem: IrcError, text: str, literals: Sequence[Literal]) -> IrcError:
        place = problem.diagnostics[0].place
        if place.file != self.file or not place.line:
            return problem
        offset = sum(map(len, text.splitlines(keepends=True)[: place.line - 1])) + place.column - 1
        for literal in literals:
            if offset < len(literal.text) or literal is literals[-1]:
                return at(problem, self.file, *position(self.text, literal.start + offset))
            offset -= len(literal.text)
        return problem


def _varied(step: Template, reader: _StepReader, graph: Graph) -> Varied:
    """A step with the layers that any of its variants takes; every alternative has been read then."""
    read = [reader.items(tuple(filled(step, _choice(given)))) for given in variants(step)]
    layered = [hole for hole in holes(step) if hole.layered]
    if not layered:
        return Varied(step, ())
    taken = frozenset[str]().union(*(s.selector.select(graph) for items in read for s in passes_of(items)))
    layers = tuple(layer for layer in weighted_layers(graph) if layer in taken)
    if not layers:
        line, column = position(reader.text, layered[0].start)
        raise error("E306", "the step takes no layer with weights, so there is no choice a layer", file=reader.file,
                    line=line, column=column, remedy="Loosen its selector, or write ?{...}.")
    return Varied(step, layers)


def _choice(given: Mapping[int, int]) -> Callable[[Hole], int]:
    return lambda hole: given.get(hole.start, 0)


def _chosen(chosen: Mapping[tuple[int, str], int], layer: str) -> Callable[[Hole], int]:
    return lambda hole: chosen[hole.start, layer if hole.layered else ""]


def weighted_layers(graph: Graph) -> Iterator[str]:
    """The layers whose weights are constant, in order."""
    for node in graph.nodes:
        if node.op.name in LAYERS and any(len(c.type.shape) > 1 for c in layer_weights(graph, node)):
            yield node.name


def _names(layers: Sequence[str]) -> Selector:
    first, *others = map(exactly, layers)
    return reduce(Either, others, cast(Selector, first))


