"""`requantize`: the hardware form of every requantization, proven equal.

Method: the map from accumulator to output is a step function, given by its exact thresholds. The pass looks for the
smallest shift at which a multiplier and an offset reproduce every threshold that the proven range of the accumulator
can reach (`steps`), or keeps the thresholds themselves (Umuroglu et al. 2017, "FINN", section 4.2.2). The bias joins
the offset. Before::

    h_sum: s19[1, 6, 24, 24] = add(h, h_offset)
    r_q: u8[1, 6, 24, 24] = requantize(h_sum, r_numerator, r_denominator, to=u8, zero=0)

and after::

    r_q: u8[1, 6, 24, 24] = multiply_shift(h, r_multiplier, r_bias, to=u8, shift=19)

`method=auto` compares the adder bits of one element: a compare with each threshold costs an adder of the accumulator's
width, a multiplication one for each bit of the multiplier (each nonzero digit, for shift networks) and one for the
offset. So outputs of up to about three bits become thresholds. When no multiplier exists, because exact ties are
reachable (power-of-two ratios), thresholds are used whatever `method` says.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, cast

import numpy as np

from irc.graph import Edit, Graph, Node
from irc.ops.elementwise import Add, Mul
from irc.ops.linear import Conv, MatMul
from irc.ops.quantization import MultiplyShift, Requantize, Threshold
from irc.pipeline.step import Context, Exact, Pass, option
from irc.types import Array, IntArray, Integer, Level, PowerOfTwo, TensorType, signed_digit_mask, smallest_integer
from passes.layers import along_axis
from passes.lower.ranges import Interval, ranges
from passes.lower.steps import Line, Multipliers, Search, Steps, exact_steps, likely, multipliers


@dataclass(frozen=True, slots=True)
class SelectRequantizers(Pass):
    """Replace each requantization by a multiplication and shift, or by thresholds, proven equal."""

    keeps: ClassVar[Exact] = Exact()
    requires: ClassVar[Level | None] = Level.INTEGER
    ensures: ClassVar[Level | None] = Level.INTEGER

    method: str = field(
        default="auto", metadata=option("hardware form; auto: the cheaper", choices=("auto", "multiply", "threshold"))
    )
    terms: int = field(
        default=0, metadata=option("prefer multipliers of at most this many nonzero digits; 0: any", low=0, high=16)
    )

    def run(self, graph: Graph, context: Context) -> Graph:
        edit, known = graph.edit(), None
        for node in graph.nodes:
            if isinstance(node.op, Requantize):
                known = known or ranges(graph)
                self._select(Chain.behind(graph, node), known, edit, context)
        return edit.finish()

    def _select(self, chain: Chain, known: Mapping[str, Interval], edit: Edit, context: Context) -> None:
        if context.trial:
            edit.replace(chain.node, multiplication(chain, likely(chain.lines, chain.op.zero), edit))
        else:
            made, how = self._proven(chain, chain.steps(known[chain.source]), edit)
            context.note("requantizer", how, node=chain.node.name)
            edit.replace(chain.node, made)
        for absorbed in chain.absorbed:
            edit.replace(absorbed)

    def _proven(self, chain: Chain, steps: list[Steps], edit: Edit) -> tuple[Node, str]:
        """The cheaper form that is equal, and what it is."""
        found = None if self.method == "threshold" else self._multipliers(chain, steps)
        levels = max(len(s.thresholds) for s in steps)
        if found is None or (self.method == "auto" and levels <= self._adders(chain, found)):
            return thresholds(chain, steps, edit), f"threshold, {levels} steps"
        return multiplication(chain, found, edit), f"multiply_shift, shift {found.shift}, {found.digits} digits"

    def _multipliers(self, chain: Chain, steps: list[Steps]) -> Multipliers | None:
        searches = [Search.of(s, line.slope) for s, line in zip(steps, chain.lines, strict=True)]
        largest = max(max(abs(s.low), abs(s.high)) for s in steps)
        return multipliers(searches, largest, self.terms if self.terms or chain.shifting else None)

    def _adders(self, chain: Chain, found: Multipliers) -> int:
        """Adders of one multiplication and the offset."""
        bits = int(found.multiplier.max()).bit_length()
        return 1 + (found.digits if self.terms or chain.shifting else bits)


@dataclass(frozen=True, slots=True)
class Chain:
    """A requantize with what it absorbs: output = requantize(gain * source + constant), a line for each channel."""

    graph: Graph
    node: Node
    source: str
    absorbed: tuple[Node, ...]
    lines: tuple[Line, ...]

    @property
    def op(self) -> Requantize:
        return cast(Requantize, self.node.op)

    @property
    def type(self) -> TensorType:
        return cast(TensorType, self.node.type)

    @property
    def shifting(self) -> bool:
        """Whether the accumulator comes from power-of-two weights, so that multiplications should be shifts too."""
        maker = self.graph.producers.get(self.source)
        if maker is None or not isinstance(maker.op, Conv | MatMul):
            return False
        return isinstance(self.graph.tensor(maker.operands[1]).format, PowerOfTwo)

    @classmethod
    def behind(cls, graph: Graph, node: Node) -> Chain:
        """Follow additions and multiplications of constants upwards, as long as nothing else reads them."""
        op = cast(Requantize, node.op)
        source, gain, constant = node.operands[0], np.ones(1, np.int64), np.zeros(1, np.int64)
        absorbed: list[Node] = []
        while (step := _absorbable(graph, source, op.axis)) is not None:
            maker, source, values = step
            absorbed.append(maker)
            constant = constant + gain * values if isinstance(maker.op, Add) else constant
            gain = gain * values if isinstance(maker.op, Mul) else gain
        top, bottom = (graph.constants[o].data.reshape(-1) for o in node.operands[1:3])
        rows = np.broadcast_arrays(gain, constant, top, bottom)
        lines = tuple(Line(*map(int, row)) for row in zip(*rows, strict=True))
        return cls(graph, node, source, tuple(absorbed), lines)

    def steps(self, interval: Interval) -> list[Steps]:
        """The exact step function of each channel over its reachable accumulators."""
        axis, count = self.op.axis, len(self.lines)
        if count == 1:
            low, high = interval.low.min(keepdims=True).reshape(1), interval.high.max(keepdims=True).reshape(1)
        else:
            low, high = interval.channels(axis, count)
        ends = zip(low.tolist(), high.tolist(), self.lines, strict=True)
        return [exact_steps((a, b), line, self.op.zero, self.op.to) for a, b, line in ends]


def _absorbable(graph: Graph, value: str, axis: int) -> tuple[Node, str, IntArray] | None:
    """The addition or positive multiplication of a constant along `axis` that alone feeds `value`'s single reader."""
    maker = graph.producers.get(value)
    if maker is None or not isinstance(maker.op, Add | Mul) or len(graph.users[value]) != 1 or graph.is_output(value):
        return None
    fixed = [o for o in maker.operands if o in graph.constants]
    others = [o for o in maker.operands if o not in graph.constants]
    if len(fixed) != 1:
        return None
    data, shape = graph.constants[fixed[0]].data, graph.tensor(value).shape
    positive = isinstance(maker.op, Add) or bool((data > 0).all())
    if not positive or graph.tensor(others[0]).shape != shape or not along_axis(data.shape, shape, axis):
        return None
    return maker, others[0], data.reshape(-1)


def multiplication(chain: Chain, found: Multipliers, edit: Edit) -> Node:
    """The multiply_shift node; its constants are scalars when all channels agree. Behind power-of-two weights the
    multiplier is a sum of powers of two as well, so that the hardware has no product at all."""
    names = (_parameter(edit, f"{chain.node.name}_multiplier", found.multiplier, chain.shifting),
             _parameter(edit, f"{chain.node.name}_bias", found.offset))
    op = MultiplyShift(chain.op.to, found.shift, chain.op.axis)
    return Node(chain.node.results, op, (chain.source, *names), chain.node.types, chain.node.origin)


def _parameter(edit: Edit, stem: str, data: Array, shifting: bool = False) -> str:
    values = data if len(data) > 1 else data.reshape(())
    form = power_format(data) if shifting else smallest_integer(int(data.min()), int(data.max()))
    return edit.constant(stem, TensorType(form, values.shape), values)


def power_format(data: Array) -> PowerOfTwo:
    """The smallest power-of-two format that holds the canonical signed digits of every element."""
    nonzero = signed_digit_mask(data)
    return PowerOfTwo(max(1, int(np.bitwise_count(nonzero).max())), int(nonzero.max()).bit_length() - 1)


def thresholds(chain: Chain, steps: list[Steps], edit: Edit) -> Node:
    """The threshold node. Channels with fewer steps get thresholds that are always or never reached."""
    first = min(s.first for s in steps)
    count = max(1, max(s.first + len(s.thresholds) for s in steps) - first)
    rows = np.stack([_padded(s, first, count) for s in steps])
    form: Integer = smallest_integer(int(rows.min()), int(rows.max()))
    name = edit.constant(f"{chain.node.name}_thresholds", TensorType(form, rows.shape), rows)
    op = Threshold(chain.op.to, first, chain.op.axis)
    return Node(chain.node.results, op, (chain.source, name), chain.node.types, chain.node.origin)


def _padded(steps: Steps, first: int, count: int) -> IntArray:
    before = steps.first - first
    return np.pad(steps.thresholds, (before, count - before - len(steps.thresholds)),
                  constant_values=(steps.low, steps.high + 1))
