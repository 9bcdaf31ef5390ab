"""Diagnostics as values: a code, one sentence, a place, a remedy.

Everything a user can do wrong becomes a `Diagnostic` raised inside an `IrcError`; the command line prints each
as one line and exits with code 2. `CODES` is the whole catalogue.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass, field

CODES: dict[str, str] = {
    "E001": "the command line is not understood",
    "E101": "the file cannot be read",
    "E102": "the file is not a valid ONNX model",
    "E103": "the model is empty",
    "E104": "an operator, attribute or type is not supported",
    "E105": "a name is used but never defined, or defined twice",
    "E106": "shapes do not fit together",
    "E107": "a constant holds NaN or infinity",
    "E108": "a dimension is symbolic and not bound",
    "E109": "a limit is exceeded",
    "E201": "the IR text has a syntax error",
    "E202": "the IR is not well formed",
    "E203": "an operation is unknown",
    "E301": "the pipeline has a syntax error",
    "E302": "a pass is unknown",
    "E303": "a pass option is unknown",
    "E304": "a pass option has a bad value",
    "E305": "a pass broke its contract",
    "E306": "a pass cannot run on this graph",
    "E307": "a plug-in cannot be loaded",
    "E308": "a guard does not hold",
    "E401": "calibration or test data do not fit the model",
    "E402": "calibration data are missing",
    "E501": "a backend is unknown",
    "E502": "a backend cannot emit this graph",
    "E503": "the output cannot be written",
    "E504": "a build folder is not complete",
    "E505": "an exploration cannot be resumed",
    "E601": "a tool is not installed",
    "E602": "a tool failed",
    "E603": "the design deadlocks",
    "E604": "a cluster does not answer",
    "E605": "a worker was lost",
}


LONGEST_SHOWN = 20_000  # characters of one problem
MOST_COMPARED, LONGEST_COMPARED = 2_000, 200  # names, and characters of one: comparing them takes time


@dataclass(frozen=True, slots=True)
class Place:
    """Where a problem is: any part may be empty. Lines and columns count from 1."""

    file: str = ""
    line: int = 0
    column: int = 0
    node: str = ""
    operator: str = ""

    def __str__(self) -> str:
        position = ":".join(str(part) for part in (self.file, self.line, self.column) if part)
        node = f"node '{self.node}'" if self.node else ""
        operator = f"operator {self.operator}" if self.operator else ""
        return ", ".join(part for part in (position, node, operator) if part)


@dataclass(frozen=True, slots=True)
class Diagnostic:
    """One problem: `code` from `CODES`, one sentence, its place, and what the user can do about it."""

    code: str
    message: str
    place: Place = field(default_factory=Place)
    remedy: str = ""

    def __str__(self) -> str:
        place = f" [{self.place}]" if str(self.place) else ""
        remedy = f" Hint: {self.remedy}" if self.remedy else ""
        return visible(f"error[{self.code}]: {self.message}{place}{remedy}")

    def to_json(self) -> dict[str, object]:
        place = {k: getattr(self.place, k) for k in ("file", "line", "column", "node", "operator")}
        found = {k: v for k, v in place.items() if v}
        return {"code": self.code, "message": self.message, "remedy": self.remedy, **found}


class IrcError(Exception):
    """Bad input or a bad call. Carries one or more diagnostics; `str()` shows one a line."""

    def __init__(self, *diagnostics: Diagnostic) -> None:
        super().__init__("\n".join(str(d) for d in diagnostics))
        self.diagnostics = diagnostics


def error(
    code: str,
    message: str,
    *,
    file: str = "",
    line: int = 0,
    column: int = 0,
    node: str = "",
    operator: str = "",
    remedy: str = "",
) -> IrcError:
    """Build an `IrcError` with a single diagnostic. `code` must be in `CODES`."""
    assert code in CODES, f"undocumented diagnostic code {code}"
    return IrcError(Diagnostic(code, message, Place(file, line, column, node, operator), remedy))


def visible(text: str) -> str:
    """`text` that a terminal shows as it is: control characters are escaped, the middle of what is long left out."""
    if len(text) > LONGEST_SHOWN:
        text = f"{text[: LONGEST_SHOWN // 2]} ... {text[-LONGEST_SHOWN // 2 :]}"
    return "".join(c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode() for c in text)


def did_you_mean(name: str, candidates: Iterable[str]) -> str:
    """A remedy sentence naming the candidate nearest to `name`, or listing them all when none is near."""
    known = sorted(candidates)
    if len(known) > MOST_COMPARED or len(name) > LONGEST_COMPARED:
        return ""
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    if near:
        return f"Did you mean '{near[0]}'?"
    return f"Known: {', '.join(known)}." if known else ""
