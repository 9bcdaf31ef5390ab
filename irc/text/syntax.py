"""What the two languages share: loading a grammar, and syntax errors that say what was expected where."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from irc.diagnostics import IrcError, error

if TYPE_CHECKING:
    from lark import Lark, Token, Tree, UnexpectedInput

TERMINALS = {
    "NAME": "a name",
    "WORD": "a name",
    "STRING": "a quoted string",
    "NUMBER": "a number",
    "INCLUDE": "'@file'",
    "PORT_KEY": "an option (scale, zero, axis, tensor, order)",
    "STREAM_KEY": "an option (lanes, repeat, depth)",
    "_NL": "the end of the line",
    "_SEP": "','",
    "_TRY": "'try'",
    "_UNTIL": "'until'",
    "_ELSE": "'else'",
    "COMPARISON": "'>=' or '<='",
    "LIMIT": "a number",
    "$END": "the end",
}


@cache
def load_parser(package: str, grammar: str) -> Lark:
    """The LALR parser of a grammar file that lies in `package`; built once."""
    from lark import Lark

    source = files(package).joinpath(grammar).read_text("utf-8")
    return Lark(source, start=["start", "value"], parser="lalr", propagate_positions=True, maybe_placeholders=False)


def parse(parser: Lark, text: str, code: str, file: str, start: str = "start") -> Tree[Token]:
    """The syntax tree of `text`, or diagnostic `code` at the exact place. `start` may be "value" instead."""
    from lark import UnexpectedCharacters, UnexpectedInput

    try:
        return parser.parse(text, start)
    except UnexpectedInput as problem:
        line, column = _position(text, problem)
        found = f"'{problem.char}'" if isinstance(problem, UnexpectedCharacters) else _found(problem)
        raise error(code, f"{found} stands where {_expected(parser, problem)} should be",
                    file=file, line=line, column=column) from None


def _position(text: str, problem: UnexpectedInput) -> tuple[int, int]:
    """Line and column of a syntax error. At the end of the text lark points to the last token; we, behind it."""
    if getattr(getattr(problem, "token", None), "type", "") == "$END":
        return text.count("\n") + 1, len(text) - text.rfind("\n")
    return problem.line, problem.column


def _found(problem: object) -> str:
    token = getattr(problem, "token", None)
    if token is None or token.type == "$END":
        return "the end of the text"
    shown = str(token).strip()
    return f"'{shown}'" if shown and "\n" not in shown else "the end of the line"


def _expected(parser: Lark, problem: UnexpectedInput) -> str:
    """What the parser would have taken. LALR look-ahead sets are too wide, so each terminal is tried."""
    state: Any = problem.interactive_parser
    names = state.accepts() if state is not None else set()
    literals = {t.name: f"'{t.pattern.value}'" for t in parser.terminals if t.pattern.type == "str"}
    words = sorted({TERMINALS.get(name) or literals.get(name, name.lower()) for name in names})
    return " or ".join(filter(None, (", ".join(words[:-1]), *words[-1:])))


def at(problem: IrcError, file: str, line: int, column: int) -> IrcError:
    """The same problem with its first diagnostic placed in a file."""
    from dataclasses import replace

    first, *rest = problem.diagnostics
    place = replace(first.place, file=file, line=line, column=column)
    return IrcError(replace(first, place=place), *rest)
