"""Names of the model as Verilog identifiers."""

from __future__ import annotations

import re
from collections.abc import Iterable

# IEEE 1364-2005, annex B, and the SystemVerilog words that tools reject even in Verilog files
_WORDS = """
always and assign automatic begin buf bufif0 bufif1 case casex casez cell cmos config deassign default defparam design
disable edge else end endcase endconfig endfunction endgenerate endmodule endprimitive endspecify endtable endtask
event for force forever fork function generate genvar highz0 highz1 if ifnone incdir include initial inout input
instance integer join large liblist library localparam macromodule medium module nand negedge nmos nor noshowcancelled
not notif0 notif1 or output parameter pmos posedge primitive pull0 pull1 pulldown pullup pulsestyle_onevent
pulsestyle_ondetect rcmos real realtime reg release repeat rnmos rpmos rtran rtranif0 rtranif1 scalared showcancelled
signed small specify specparam strong0 strong1 supply0 supply1 table task time tran tranif0 tranif1 tri tri0 tri1
triand trior trireg unsigned use vectored wait wand weak0 weak1 while wire wor xnor xor logic bit byte int shortint
longint string class interface package program property sequence assert assume cover final unique priority return
break continue do new this super static const enum struct union typedef var void ref import export extends virtual
local protected rand constraint covergroup inside dist with expect before
"""
KEYWORDS = frozenset(_WORDS.split())


def identifier(name: str) -> str:
    """`name` with everything but letters, digits and underscores replaced; no keyword, no leading digit."""
    text = re.sub(r"[^A-Za-z0-9_]", "_", name)[:60]
    if not text or text[0].isdigit() or text in KEYWORDS or text.startswith("_"):
        text = f"n_{text}"
    return text


def identifiers(names: Iterable[str], taken: Iterable[str] = ()) -> dict[str, str]:
    """A distinct identifier for each name, and for none of the `taken` ones; case alone does not distinguish."""
    used = {t.lower() for t in taken}
    found = {}
    for name in names:
        stem, count = identifier(name), 0
        text = stem
        while text.lower() in used:
            count += 1
            text = f"{stem}_{count}"
        used.add(text.lower())
        found[name] = text
    return found


def comment(text: str) -> str:
    """`text` made safe for the end of a `//` comment."""
    return "".join(c if c.isprintable() and ord(c) < 127 else "?" for c in text).rstrip("\\")[:200]
