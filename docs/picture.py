"""Draws irc.svg, the picture of the README; `python docs/picture.py` after a change."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from xml.sax.saxutils import escape

BLUE, GREEN, GREY, INK = "#dbeafe", "#dcfce7", "#f1f5f9", "#0f172a"
LEVELS = (
    ("model", "reals, quantize, dequantize", "fold clean prune quantize shift"),
    ("integer", "exact integers, no scales", "requantize narrow"),
    ("dataflow", "streams between actors", "parallelize size_fifos"),
)
TARGETS = (("sim", "one Python file"), ("hls", "C99, C++"), ("verilog", "AXI4-Stream"))
LADDER = ("float", "quantized", "integer", "C program", "simulator", "RTL (Verilator)")


def text(x: int, y: int, content: str, size: int = 13, weight: str = "normal", anchor: str = "middle",
         colour: str = INK) -> str:
    style = f'font-size="{size}" font-weight="{weight}" text-anchor="{anchor}" fill="{colour}"'
    return f'<text x="{x}" y="{y}" {style}>{escape(content)}</text>'


def box(x: int, y: int, width: int, height: int, fill: str, title: str, line: str) -> Iterator[str]:
    yield f'<rect x="{x}" y="{y}" width="{width}" height="{height}" rx="8" fill="{fill}" stroke="{INK}"/>'
    yield text(x + width // 2, y + 24, title, 15, "bold")
    yield text(x + width // 2, y + 44, line, 12)


def arrow(x: int, y: int, to_x: int, to_y: int) -> str:
    return f'<line x1="{x}" y1="{y}" x2="{to_x}" y2="{to_y}" stroke="{INK}" stroke-width="1.5" marker-end="url(#tip)"/>'


def levels() -> Iterator[str]:
    """ONNX on the left, then the three levels with the passes that work there."""
    yield from box(16, 84, 96, 60, GREY, "ONNX", "opset 7+")
    yield arrow(112, 114, 144, 114)
    for i, (name, values, passes) in enumerate(LEVELS):
        x = 146 + i * 218
        yield from box(x, 84, 184, 60, BLUE, name, values)
        yield text(x + 92, 68, passes, 11, colour="#1d4ed8")
        if i < 2:
            yield arrow(x + 184, 114, x + 216, 114)


def targets() -> Iterator[str]:
    for i, (name, what) in enumerate(TARGETS):
        y = 14 + i * 70
        yield arrow(766, 114, 799, y + 29)
        yield from box(802, y, 140, 58, GREEN, name, what)


def ladder() -> Iterator[str]:
    """What `irc verify` compares: neighbours from left to right."""
    yield text(16, 258, "irc verify", 15, "bold", "start")
    for i, rung in enumerate(LADDER):
        x = 146 + i * 134
        yield f'<rect x="{x}" y="240" width="116" height="30" rx="15" fill="white" stroke="{INK}"/>'
        yield text(x + 58, 260, rung, 12)
        if i:
            yield text(x - 9, 260, "≈" if i == 1 else "=", 15, "bold")
    note = "bit for bit from the quantized model on; simulator and RTL also in the cycle of every handshake"
    yield text(146, 294, note, 12, anchor="start", colour="#475569")


def picture() -> str:
    tip = ('<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
           f'<path d="M0 0L8 4L0 8z" fill="{INK}"/></marker></defs>')
    parts = [tip, '<rect width="960" height="310" rx="12" fill="white"/>', *levels(), *targets(), *ladder()]
    head = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 960 310" font-family="system-ui, sans-serif">'
    return "\n".join([head, "<title>From ONNX through three levels to three targets, all compared</title>", *parts,
                      "</svg>", ""])


if __name__ == "__main__":
    Path(__file__).with_name("irc.svg").write_text(picture(), "utf-8", newline="\n")
