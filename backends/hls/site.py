"""Where an actor stands in the program: its function name, the arrays it reads and writes, its ROMs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from backends.hls.statements import Lines
from backends.hls.storage import Buffer, Rom, converted
from irc.graph import Node
from irc.ops.window import Window
from irc.types import StreamType


@dataclass(frozen=True, slots=True)
class Feed:
    """An input of an actor: the array it reads and, when a window was fused into the actor, that window.

    `stream` is what the actor sees, so behind a fused window it is the window's result."""

    buffer: Buffer
    stream: StreamType
    window: Window | None = None


@dataclass(frozen=True, slots=True)
class Site:
    """An actor to emit. `roms` holds the tables of its constant operands by the constants' names."""

    node: Node
    name: str
    feeds: tuple[Feed, ...]
    outputs: tuple[Buffer, ...]
    roms: Mapping[str, Rom]

    @property
    def feed(self) -> Feed:
        return self.feeds[0]

    @property
    def stream(self) -> StreamType:
        """Type of the first result."""
        found = self.node.type
        assert isinstance(found, StreamType), "actors make streams"
        return found

    def store(self, at: str, text: str, source: str) -> str:
        """The statement that stores `text`, of type `source`, as element `at` of the first result."""
        return f"y[{at}] = {converted(text, source, self.outputs[0].type)};"

    def inputs(self) -> list[str]:
        """Names of the input parameters: `x`, or `x_0`, `x_1`, ..."""
        return parameter_names("x", len(self.feeds))

    def results(self) -> list[str]:
        return parameter_names("y", len(self.outputs))


@dataclass(frozen=True, slots=True)
class Code:
    """What an emitter gives: the body of the actor's function, and the functions it calls."""

    body: Lines
    before: Lines = field(default_factory=list)


def parameter_names(stem: str, count: int) -> list[str]:
    return [stem] if count == 1 else [f"{stem}_{k}" for k in range(count)]
