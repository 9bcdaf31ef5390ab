"""Names of the model as C identifiers: legal in C99 and C++14, distinct, never a name that the emitted code uses."""

from __future__ import annotations

import re

KEYWORDS = re.compile(r"""(?x)
    alignas|alignof|and|and_eq|asm|auto|bitand|bitor|bool|break|case|catch|char|char16_t|char32_t|class|compl|const|
    const_cast|constexpr|continue|decltype|default|delete|do|double|dynamic_cast|else|enum|explicit|export|extern|
    false|float|for|friend|goto|if|inline|int|long|mutable|namespace|new|noexcept|not|not_eq|nullptr|operator|or|
    or_eq|private|protected|public|register|reinterpret_cast|restrict|return|short|signed|sizeof|static|
    static_assert|static_cast|struct|switch|template|this|thread_local|throw|true|try|typedef|typeid|typename|
    typeof|union|unsigned|using|virtual|void|volatile|wchar_t|while|xor|xor_eq""")
# names of the usual headers, and anything that looks like a macro, a stdint type or a name of the support layer
HEADERS = re.compile(r"main|linux|unix|errno|assert|std(in|out|err)|[A-Z0-9_]+|u?int\w*_t|(irc|hls)(_\w*)?", re.ASCII)
LONGEST = 48  # C99 tells internal names apart by 63 characters; suffixes come on top


def identifier(name: str) -> str:
    """`name` with everything that C does not allow in an identifier replaced."""
    plain = re.sub(r"[\W_]+", "_", name, flags=re.ASCII).strip("_")[:LONGEST].strip("_")
    if not plain or plain[0].isdigit():
        plain = f"n_{plain}".strip("_")
    return f"{plain}_v" if KEYWORDS.fullmatch(plain) or HEADERS.fullmatch(plain) else plain


class Names:
    """Gives each thing of one program its own identifier."""

    def __init__(self) -> None:
        self._used: set[str] = set()

    def fresh(self, name: str, suffix: str = "") -> str:
        """An identifier nothing has yet. Names that differ in case alone are kept apart too: macros are upper case."""
        stem = identifier(name) + suffix
        found, count = stem, 1
        while found.upper() in self._used:
            count += 1
            found = f"{stem}_{count}"
        self._used.add(found.upper())
        return found


def comment(text: str) -> str:
    """`text` made harmless inside a C comment: no comment marks, trigraphs, line ends or non-ASCII characters."""
    return re.sub(r"[^\w .,:;/()\[\]=+-]", "_", text, flags=re.ASCII)
