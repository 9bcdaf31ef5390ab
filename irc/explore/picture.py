"""A front as SVG: score against stored bytes, every trial a dot, the front numbered as in the table."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

import numpy as np

from irc.explore.trial import Trial
from irc.metric import Metric

WIDTH, HEIGHT, LEFT, TOP, RIGHT, BOTTOM = 720, 440, 72, 48, 24, 56
INK, BLUE, GREY, LINES = "#0f172a", "#1d4ed8", "#cbd5e1", "#e2e8f0"
TICKS = 8


@dataclass(frozen=True, slots=True)
class Scale:
    """Maps an interval of numbers to an interval of pixels."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)

    def ticks(self) -> list[float]:
        """Round numbers between the ends."""
        rough = (self.high - self.low) / TICKS
        power = 10.0 ** np.floor(np.log10(rough))
        step = power * next((n for n in (1, 2, 5) if n * power >= rough), 10)
        whole = np.arange(np.ceil(self.low / step), np.floor(self.high / step) + 1)
        return [float(t) + 0.0 for t in whole * step]  # zero has no sign


def scale(values: Sequence[float], start: float, end: float) -> Scale:
    """A scale with some room around the values."""
    low, high = min(values, default=0.0), max(values, default=1.0)
    room = 0.05 * (high - low) or max(0.05 * abs(high), 1e-6)
    return Scale(low - room, high + room, start, end)


def drawn(trials: Sequence[Trial], best: Sequence[Trial], metric: Metric) -> str:
    """The picture of an exploration. A dot says its pipeline when it is pointed at."""
    good = [trial for trial in trials if trial.objectives is not None]
    x = scale([trial.sizes.bits / 8 for trial in good], LEFT, WIDTH - RIGHT)
    y = scale([trial.score for trial in good], HEIGHT - BOTTOM, TOP)
    unit = f", {metric.unit}" if metric.unit else ""
    parts = [*_axes(x, y), _text(WIDTH / 2, HEIGHT - 12, "stored bytes"),
             f'<g transform="rotate(-90 18 {HEIGHT / 2:g})">{_text(18, HEIGHT / 2, metric.name + unit)}</g>',
             _text(WIDTH / 2, 26, f"{len(best)} of {len(good)} trials are on the front", 15),
             *(_dot(x, y, trial, 3, GREY) for trial in good if trial not in best), *_front(x, y, best)]
    head = (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
            'font-family="system-ui, sans-serif">')
    ground = f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>'
    return "\n".join([head, "<title>Pareto front</title>", ground, *parts, "</svg>", ""])


def _front(x: Scale, y: Scale, best: Sequence[Trial]) -> Iterator[str]:
    """The front, and a line along it: what no point beats in the two objectives that are drawn."""
    losses = np.array([trial.loss for trial in best])
    line = [trial for i, trial in enumerate(best) if i == 0 or trial.loss < losses[:i].min()]
    path = " ".join(f"{x(trial.sizes.bits / 8):.1f},{y(trial.score):.1f}" for trial in line)
    yield f'<polyline points="{path}" fill="none" stroke="{BLUE}" stroke-width="1.5"/>'
    for number, trial in enumerate(best, 1):
        yield _dot(x, y, trial, 4.5, BLUE)
        yield _text(round(x(trial.sizes.bits / 8), 1), round(y(trial.score), 1) - 9, str(number), 11)


def _dot(x: Scale, y: Scale, trial: Trial, radius: float, colour: str) -> str:
    place = f'cx="{x(trial.sizes.bits / 8):.1f}" cy="{y(trial.score):.1f}"'
    return f'<circle {place} r="{radius:g}" fill="{colour}"><title>{escape(trial.pipeline)}</title></circle>'


def _axes(x: Scale, y: Scale) -> Iterator[str]:
    for tick in x.ticks():
        yield f'<line x1="{x(tick):.1f}" y1="{y.start:g}" x2="{x(tick):.1f}" y2="{y.end:g}" stroke="{LINES}"/>'
        yield _text(round(x(tick), 1), y.start + 18, f"{tick:,g}")
    for tick in y.ticks():
        yield f'<line x1="{x.start:g}" y1="{y(tick):.1f}" x2="{x.end:g}" y2="{y(tick):.1f}" stroke="{LINES}"/>'
        yield _text(x.start - 8, round(y(tick), 1) + 4, f"{tick:g}", anchor="end")


def _text(x: float, y: float, content: str, size: int = 12, anchor: str = "middle") -> str:
    return f'<text x="{x:g}" y="{y:g}" font-size="{size}" text-anchor="{anchor}" fill="{INK}">{escape(content)}</text>'
