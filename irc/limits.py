"""What a model file may ask for at most, so that a hostile one is answered soon and in little memory."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from decimal import Decimal

from irc.diagnostics import IrcError, did_you_mean, error


@dataclass(frozen=True, slots=True)
class Limits:
    """The largest allowed; `irc compile --limit tensor=1e9` sets another."""

    file: int = 1 << 28  # bytes of the model file, which is read as a whole
    nodes: int = 50_000  # those of functions and loops counted as often as they are used
    depth: int = 2_000  # nodes on a path from an input to an output
    operands: int = 1_000  # of one node, and results
    tensor: int = 1 << 27  # elements of one tensor
    value: int = 1 << 23  # elements of one value that depends on the inputs
    activations: int = 1 << 27  # elements of all such values
    window: int = 1 << 26  # elements that a convolution multiplies, each copied for every window that it is in
    constants: int = 1 << 29  # bytes of all constants, computed ones included
    repeated: int = 1 << 24  # elements of constants that nodes share, counted once less than they are read
    work: int = 1 << 35  # multiplications for one sample
    rank: int = 32  # axes of one tensor
    name: int = 2_000  # characters of a name or a text attribute
    problems: int = 100  # reported at once

    def check(self, limit: str, found: int, what: str) -> None:
        """E109 when `what`, of which there are `found`, is more than `limit` allows."""
        if found > getattr(self, limit):
            raise self.exceeded(limit, found, what)

    def exceeded(self, limit: str, found: int, what: str) -> IrcError:
        allowed = getattr(self, limit)
        return error("E109", f"{what}: {_short(found)}, allowed are {_short(allowed)}",
                     remedy=f"If you trust the file: --limit {limit}={_short(found)}")


DEFAULTS = Limits()
NAMES = tuple(field.name for field in fields(Limits))


def limits(given: Mapping[str, int]) -> Limits:
    """The default limits but for those that are given; E001 for an unknown one."""
    for name, value in given.items():
        if name not in NAMES:
            raise error("E001", f"there is no limit '{name}'", remedy=did_you_mean(name, NAMES))
        if value < 1:
            raise error("E001", f"the limit '{name}' cannot be {value}", remedy="Limits are at least 1.")
    return replace(DEFAULTS, **given)


def _short(number: int) -> str:
    """A number that may be absurdly long."""
    return str(number) if number < 10**15 else f"{Decimal(number):.2e}".replace("+", "")
