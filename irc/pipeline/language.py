"""The pipeline language: what `--passes` takes.

    fold, prune{sparsity=0.9 block=16} @ op(Conv) & !name("head*"), quantize{weights=s5 activations=u8}, @more.passes

A word is a pass or a named pipeline; options are the pass's dataclass fields; `@ selector` narrows a step to some
nodes; `@file` includes a file; `try(steps) until accuracy>=-0.5 else step` holds steps to a score. Every error names
the column.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import Field, dataclass, fields
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from irc.diagnostics import IrcError, did_you_mean, error
from irc.metric import Bound, find_metric
from irc.operation import find_operation
from irc.pipeline import plugins, selector
from irc.pipeline.plan import Guarded, Item, Step, narrowed
from irc.pipeline.selector import Both, Either, Everything, Negation, Selector, Weighted
from irc.pipeline.step import Pass
from irc.text.syntax import at, load_parser, parse
from irc.text.values import Plain, describe, field_types, is_required, plain, print_value, show, typed, unquoted

if TYPE_CHECKING:
    from lark import Token, Tree

SELECTORS = ("first", "last", "weighted", "op", "name")


def parse_pipeline(text: str, file: str = "") -> tuple[Item, ...]:
    """The steps and guards of a text. Raises E301 to E304, E307 with line and column; includes are relative to
    `file`."""
    try:
        return tuple(_Reader(text, file, (str(Path(file).resolve()),) if file else ()).steps())
    except RecursionError:
        raise error("E301", "the pipeline is nested too deeply", file=file) from None


@dataclass(frozen=True, slots=True)
class Option:
    """One option of a pass, in words: what it takes, and its default as the pipeline language writes it."""

    name: str
    takes: str
    default: str
    help: str


def options_of(cls: type[Pass]) -> tuple[Option, ...]:
    """The options of a pass, for help texts."""
    return tuple(_option(f, field_types(cls)[f.name]) for f in fields(cast(Any, cls)))


def _option(entry: Field[Any], wanted: Any) -> Option:
    low, high, choices = (entry.metadata.get(key) for key in ("low", "high", "choices"))
    limits = [f"{word} {limit:g}" for word, limit in (("from", low), ("to", high)) if limit is not None]
    takes = ", ".join(choices) if choices else " ".join((describe(wanted), *limits))
    default = "" if is_required(entry) else print_value(entry.default).strip('"')
    return Option(entry.name, takes, default, str(entry.metadata.get("help", "")))


class _Reader:
    """Reads one text; `within` names the files and pipelines that it stands in, so that none includes itself."""

    def __init__(self, text: str, file: str, within: tuple[str, ...]) -> None:
        self.text = text
        self.file = file
        self.within = within

    def steps(self) -> Iterator[Item]:
        tree = parse(load_parser("irc.pipeline", "pipeline.lark"), self.text, "E301", self.file)
        yield from self.items(tree.children)

    def items(self, trees: list[Any]) -> Iterator[Item]:
        for tree in trees:
            match tree.data:
                case "include":
                    yield from self.include(tree)
                case "guarded":
                    yield self.guarded(tree)
                case _:
                    yield from self.step(tree)

    def fail(self, code: str, where: Any, message: str, remedy: str = "") -> IrcError:
        place = getattr(where, "meta", where)
        return error(code, message, file=self.file, line=place.line, column=place.column, remedy=remedy)

    def include(self, item: Tree[Token]) -> Iterator[Item]:
        path = Path(self.file).parent / str(item.children[0])[1:]
        if str(path.resolve()) in self.within:
            raise self.fail("E301", item, f"'{path}' includes itself")
        try:
            text = path.read_text("utf-8")
        except (OSError, UnicodeDecodeError) as problem:
            raise self.fail("E101", item, f"'{path}' cannot be read: {problem}") from None
        yield from _Reader(text, str(path), (*self.within, str(path.resolve()))).steps()

    def step(self, item: Tree[Token]) -> Iterator[Item]:
        word, *rest = cast("list[Any]", item.children)
        options = next((tree for tree in rest if tree.data == "options"), None)
        chosen = next((self.selector(tree) for tree in rest if tree.data != "options"), Everything())
        if word in plugins.pipeline_names() and word not in plugins.pass_names():
            if options is not None:
                raise self.fail("E303", options, f"'{word}' is a named pipeline and takes no options")
            yield from self.named(word, chosen)
            return
        made = self.pass_(word, options.children if options is not None else [])
        yield Step(made, chosen, str(word), self.written(item))

    def written(self, item: Tree[Token]) -> str:
        return self.text[item.meta.start_pos : item.meta.end_pos]

    def guarded(self, item: Tree[Token]) -> Guarded:
        block, *rest = cast("list[Any]", item.children)
        at = next(i for i, tree in enumerate(rest) if tree.data == "bound")
        chosen = self.selector(rest[0]) if at else Everything()
        otherwise = [tree for part in rest[at + 1 :] for tree in (part.children if part.data == "block" else [part])]
        steps, others = (tuple(narrowed(i, chosen) for i in self.items(part)) for part in (block.children, otherwise))
        return Guarded(steps, self.bound(*rest[at].children), others, self.written(item))

    def bound(self, word: Token, comparison: Token, limit: Token) -> Bound:
        try:
            metric = find_metric(str(word))
        except IrcError as problem:
            raise at(problem, self.file, *_position(word)) from None
        if comparison != metric.comparison:
            better = "higher" if metric.higher else "lower"
            raise self.fail("E304", comparison, f"{metric.name} is better when it is {better}",
                            f"Write {metric.name}{metric.comparison}{limit}.")
        if not isfinite(float(limit)):
            raise self.fail("E304", limit, f"{limit} is too large for a limit")
        return Bound(metric, float(limit), str(limit)[0] in "+-")

    def named(self, word: Token, chosen: Selector) -> Iterator[Item]:
        if word in self.within:
            raise self.fail("E301", word, f"pipeline '{word}' includes itself")
        try:
            text = plugins.find_pipeline(str(word))
        except IrcError as problem:
            raise at(problem, self.file, *_position(word)) from None
        for step in _Reader(text, str(word), (*self.within, str(word))).steps():
            yield narrowed(step, chosen)

    def pass_(self, word: Token, options: list[Any]) -> Pass:
        try:
            cls = plugins.find_pass(str(word))
        except IrcError as problem:
            raise at(problem, self.file, *_position(word)) from None
        return self.built(cls, word, options)

    def built(self, cls: type[Pass], word: Token, options: list[Any]) -> Pass:
        values: dict[str, Any] = {}
        for option in options:
            key, value = self.option(cls, *option.children)
            if key in values:
                raise self.fail("E303", option, f"option '{key}' is given twice")
            values[key] = value
        missing = [f.name for f in fields(cast(Any, cls)) if is_required(f) and f.name not in values]
        if missing:
            raise self.fail("E304", word, f"pass {word} needs option {', '.join(missing)}")
        for option in options:
            self.effective(cls, option.children[0], values)
        try:
            return cls(**values)
        except ValueError as problem:
            raise self.fail("E304", word, str(problem)) from None

    def effective(self, cls: type[Pass], key: Token, values: Mapping[str, Any]) -> None:
        """Raise E304 for an option that the others leave without effect."""
        known = {f.name: f for f in fields(cast(Any, cls))}
        for other, allowed in known[str(key)].metadata.get("when", {}).items():
            value = values.get(other, known[other].default)
            if value not in allowed:
                raise self.fail("E304", key, f"option {key} has no effect with {other}={value}",
                                f"It belongs to {other}={_either(allowed)}.")

    def option(self, cls: type[Pass], key: Token, tree: Tree[Token]) -> tuple[str, Any]:
        known = {f.name: f for f in fields(cast(Any, cls))}
        if key not in known:
            raise self.fail("E303", key, f"there is no option '{key}'", did_you_mean(str(key), known))
        try:
            given = plain(tree)
            value = typed(given, field_types(cls)[key])
            _check_limits(given, value, known[key].metadata)
        except ValueError as problem:
            raise self.fail("E304", tree, f"option {key}: {problem}") from None
        return str(key), value

    def selector(self, tree: Tree[Token]) -> Selector:
        children = cast("list[Any]", tree.children)
        match tree.data:
            case "either":
                return Either(self.selector(children[0]), self.selector(children[1]))
            case "both":
                return Both(self.selector(children[0]), self.selector(children[1]))
            case "negation":
                return Negation(self.selector(children[0]))
            case "match":
                return self.match(children[0], children[1].children[0])
            case _:
                return self.keyword(children[0])

    def keyword(self, word: Token) -> Selector:
        if word not in ("first", "last", "weighted"):
            raise self.fail("E301", word, f"there is no selector '{word}'", did_you_mean(word, SELECTORS))
        return Weighted(cast(Any, str(word)))

    def match(self, word: Token, pattern: Token) -> Selector:
        try:
            text = unquoted(pattern) if pattern.type == "STRING" else str(pattern)
            if word == "op":
                return selector.Operation(_operation_name(text))
        except ValueError as problem:
            raise self.fail("E301", pattern, str(problem)) from None
        except IrcError as problem:
            raise at(problem, self.file, *_position(pattern)) from None
        if word != "name":
            raise self.fail("E301", word, f"there is no selector '{word}(...)'", did_you_mean(word, SELECTORS))
        return selector.Name(text)


def _either(words: Sequence[str]) -> str:
    """The words as an English list."""
    *most, last = words
    return f"{', '.join(most)} or {last}" if most else last


def _position(token: Token) -> tuple[int, int]:
    return token.line or 1, token.column or 1


def _operation_name(text: str) -> str:
    """The op that the user means: any case, `MaxPool` for max_pool. Raises E203."""
    import irc.ops  # noqa: F401 (fills the table)
    from irc.operation import OPERATIONS

    folded = {name.replace("_", ""): name for name in OPERATIONS}
    name = folded.get(text.lower().replace("_", ""), text)
    return find_operation(name).name


def _check_limits(given: Plain, value: Any, metadata: Mapping[str, Any]) -> None:
    """Raise ValueError unless a value obeys the `low`, `high` and `choices` of its option; lists entry by entry."""
    low, high, choices = metadata.get("low"), metadata.get("high"), metadata.get("choices", ())
    for item in value if isinstance(value, tuple) else (value,):
        number = isinstance(item, int | float) and not isinstance(item, bool)
        if number and not (low is None or item >= low):
            raise ValueError(f"{show(given)} is below {low:g}")
        if number and not (high is None or item <= high):
            raise ValueError(f"{show(given)} is above {high:g}")
        if choices and item is not None and str(item) not in choices:
            near = difflib.get_close_matches(str(item), choices, n=1)
            hint = f"; did you mean '{near[0]}'?" if near else ""
            raise ValueError(f"{show(given)} is not one of {', '.join(choices)}{hint}")
