"""The notation of spaces: a pipeline text with holes.

    fold, clean, prune{sparsity=?layer{0 | 0.5 | 0.8}}, quantize{weights=?layer{s3 | s8} rounding=?{nearest | gptq}}

`?{a | b}` is one choice for the whole step, `?layer{a | b}` one for every layer that the step takes. What stands
between the bars is any piece of pipeline text: a value, options, a step, several steps, nothing; holes nest. A bar
inside of brackets does not part alternatives, and text in quotes has no holes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

from irc.diagnostics import IrcError, error

_TOKEN = re.compile(r"""
    (?P<string>"(?:\\.|[^"\\\n])*")
  | (?P<comment>\#[^\n]*)
  | (?P<hole>\?(?:layer)?\{)
  | (?P<opening>[({\[])
  | (?P<closing>[)}\]])
  | (?P<bar>\|)
  | (?P<separator>,|\n(?!(?:\s|\#[^\n]*)*(?:until|else)(?![\w.-])))
  | (?P<mark>\?)
  | (?P<text>[^"\#?(){}\[\]|,\n]+|.|\n)
""", re.VERBOSE)
_CLOSING = {"(": ")", "{": "}", "[": "]"}


@dataclass(frozen=True, slots=True)
class Literal:
    """Text as it stands; `start` is its place in the whole text."""

    text: str
    start: int


@dataclass(frozen=True, slots=True)
class Hole:
    """A choice between alternatives: one for all, or, `layered`, one for each layer. No two holes have one `start`."""

    start: int
    layered: bool
    alternatives: tuple[Template, ...]


Template: TypeAlias = "tuple[Literal | Hole, ...]"


def holes(template: Template) -> Iterator[Hole]:
    """Every hole of a template, those inside of others included, in the order of the text."""
    for piece in template:
        if isinstance(piece, Hole):
            yield piece
            for alternative in piece.alternatives:
                yield from holes(alternative)


def filled(template: Template, choice: Callable[[Hole], int]) -> Iterator[Literal]:
    """The text that is left when every hole is filled with the alternative of that number."""
    for piece in template:
        match piece:
            case Literal():
                yield piece
            case Hole():
                yield from filled(piece.alternatives[choice(piece)], choice)


def variants(template: Template) -> Iterator[dict[int, int]]:
    """Choices by `start` (0 where none is given) under which each alternative occurs at least once."""
    yield {}
    for piece in template:
        if isinstance(piece, Hole):
            for number, alternative in enumerate(piece.alternatives):
                yield from ({piece.start: number, **inner} for inner in variants(alternative))


def parse_template(text: str, file: str = "") -> tuple[Template, ...]:
    """The steps of a space, each a template. Raises E301 with the column."""
    try:
        return tuple(_Reader(text, file).steps())
    except RecursionError:
        raise error("E301", "the holes are nested too deeply", file=file) from None


def position(text: str, offset: int) -> tuple[int, int]:
    """Line and column of a place in a text, from 1."""
    return text.count("\n", 0, offset) + 1, offset - text.rfind("\n", 0, offset)


class _Reader:
    def __init__(self, text: str, file: str) -> None:
        self.text = text
        self.file = file
        self.tokens = [token for token in _TOKEN.finditer(text) if token.lastgroup != "comment"]
        self.next = 0

    def steps(self) -> Iterator[Template]:
        while self.next < len(self.tokens):
            step = self.template(("separator",))
            end = self.tokens[self.next].start() if self.next < len(self.tokens) else len(self.text)
            self.next += 1
            if any(isinstance(piece, Hole) or piece.text.strip() for piece in step):
                yield (*step, Literal("", end))  # what is missing at the end is missing there, not in the last hole

    def template(self, ends: tuple[str, ...]) -> Template:
        """Everything up to a token of a kind in `ends` that stands outside of all brackets, or to the end."""
        pieces, awaited = list[Literal | Hole](), list[str]()
        while self.next < len(self.tokens):
            token = self.tokens[self.next]
            if not awaited and token.lastgroup in ends:
                break
            self.next += 1
            self.track(token, awaited)
            pieces.append(self.hole(token) if token.lastgroup == "hole" else Literal(token[0], token.start()))
        return tuple(pieces)

    def track(self, token: re.Match[str], awaited: list[str]) -> None:
        """Keep account of the brackets that are open."""
        match token.lastgroup:
            case "opening":
                awaited.append(_CLOSING[token[0]])
            case "closing" if not awaited or awaited.pop() != token[0]:
                raise self.fail(token.start(), f"'{token[0]}' closes nothing")
            case "mark":
                raise self.fail(token.start(), "'?' stands where no hole is", "A hole is ?{a | b} or ?layer{a | b}.")

    def hole(self, opening: re.Match[str]) -> Hole:
        alternatives = [self.template(("bar", "closing"))]
        while self.next < len(self.tokens) and self.tokens[self.next].lastgroup == "bar":
            self.next += 1
            alternatives.append(self.template(("bar", "closing")))
        if self.next == len(self.tokens):
            raise self.fail(opening.start(), "the hole is not closed")
        if self.tokens[self.next][0] != "}":
            raise self.fail(self.tokens[self.next].start(), f"'{self.tokens[self.next][0]}' closes nothing")
        self.next += 1
        if len(alternatives) < 2:
            raise self.fail(opening.start(), "the hole has no alternatives", "Part them with bars: ?{a | b}.")
        return Hole(opening.start(), opening[0] != "?{", tuple(alternatives))

    def fail(self, offset: int, message: str, remedy: str = "") -> IrcError:
        line, column = position(self.text, offset)
        return error("E301", message, file=self.file, line=line, column=column, remedy=remedy)
