"""Names of the model as Python identifiers: distinct, and none that the emitted program uses itself."""

from __future__ import annotations

import builtins
import keyword
import re
from collections.abc import Iterable


class Names:
    """Gives every channel its own identifier."""

    def __init__(self, reserved: Iterable[str]) -> None:
        self._used = {*keyword.kwlist, *keyword.softkwlist, *dir(builtins), *reserved}

    def fresh(self, name: str) -> str:
        """An identifier nothing has yet, as near to `name` as Python allows."""
        plain = re.sub(r"\W+", "_", name, flags=re.ASCII).strip("_")
        stem = plain if plain and not plain[0].isdigit() else f"n_{plain}".rstrip("_")
        found, count = stem, 1
        while found in self._used:
            count += 1
            found = f"{stem}_{count}"
        self._used.add(found)
        return found


def plain(text: str) -> str:
    """`text` made harmless inside a docstring or a comment."""
    return re.sub(r'[^ -~]|["\\]', "_", text)
