"""Curves as SVG, without a plotting library."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

from irc.explore.picture import Scale, scale

WIDTH, HEIGHT, LEFT, TOP, RIGHT, BOTTOM = 640, 380, 64, 48, 24, 56
COLOURS = ("#1d4ed8", "#b91c1c", "#15803d", "#a16207", "#7e22ce", "#0e7490")


@dataclass(frozen=True, slots=True)
class Point:
    x: float
    y: float


def drawn(title: str, across: str, up: str, curves: Mapping[str, Sequence[Point]]) -> str:
    """One line with dots for each curve, axes with ticks, a legend."""
    every = [p for points in curves.values() for p in points]
    x = scale([p.x for p in every], LEFT, WIDTH - RIGHT)
    y = scale([p.y for p in every], HEIGHT - BOTTOM, TOP)
    parts = [text(WIDTH / 2, 24, title, 15), *axes(x, y), text(WIDTH / 2, HEIGHT - 12, across),
             f'<g transform="rotate(-90 18 {HEIGHT / 2})">{text(18, HEIGHT / 2, up)}</g>']
    for (name, points), colour, row in zip(curves.items(), COLOURS, range(len(curves)), strict=False):
        at = HEIGHT - BOTTOM - 14 - 18 * row
        parts += [*line(points, x, y, colour), text(LEFT + 16, at, name, 12, "start", colour)]
    box = f"0 0 {WIDTH} {HEIGHT}"
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="{box}" font-family="system-ui, sans-serif">'
    ground = f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>'
    return "\n".join([head, f"<title>{escape(title)}</title>", ground, *parts, "</svg>", ""])


def text(x: float, y: float, content: str, size: int = 12, anchor: str = "middle", colour: str = "#0f172a") -> str:
    return (f'<text x="{x:g}" y="{y:g}" font-size="{size}" text-anchor="{anchor}" fill="{colour}">'
            f"{escape(content)}</text>")


def axes(x: Scale, y: Scale) -> Iterator[str]:
    for tick in x.ticks():
        yield f'<line x1="{x(tick):.1f}" y1="{y.start}" x2="{x(tick):.1f}" y2="{y.end}" stroke="#e2e8f0"/>'
        yield text(round(x(tick), 1), y.start + 18, f"{tick:g}")
    for tick in y.ticks():
        yield f'<line x1="{x.start}" y1="{y(tick):.1f}" x2="{x.end}" y2="{y(tick):.1f}" stroke="#e2e8f0"/>'
        yield text(x.start - 8, round(y(tick), 1) + 4, f"{tick:g}", anchor="end")


def line(points: Sequence[Point], x: Scale, y: Scale, colour: str) -> Iterator[str]:
    path = " ".join(f"{x(p.x):.1f},{y(p.y):.1f}" for p in points)
    yield f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>'
    yield from (f'<circle cx="{x(p.x):.1f}" cy="{y(p.y):.1f}" r="3.5" fill="{colour}"/>' for p in points)
