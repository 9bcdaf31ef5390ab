"""Datapaths: small DAGs of integer expressions with known ranges.

The arithmetic of an actor is written once, here; NumPy evaluates it, C and Verilog print it. Every expression knows the
interval of values it can take, hence the bits it needs. Constant multiplications become shared shift-and-add trees
(canonical signed digits); products with sums of powers of two become shifts.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import reduce

import numpy as np

from irc.types import Array, Integer, PowerOfTwo, smallest_integer


class Kind(Enum):
    """What an expression computes from its operands."""

    VARIABLE = "variable"  # a named input
    CONSTANT = "constant"
    ADD = "add"
    SUBTRACT = "subtract"
    MULTIPLY = "multiply"
    SHIFT_LEFT = "shift_left"  # by the constant `value`
    SHIFT_RIGHT = "shift_right"  # by the constant `value`, rounding to minus infinity
    SHIFT_LEFT_BY = "shift_left_by"  # first operand by the second (unsigned)
    BITS = "bits"  # unsigned field of the operand: `width` bits from bit `value`
    MAXIMUM = "maximum"
    MINIMUM = "minimum"
    AT_LEAST = "at_least"  # 1 when first >= second, else 0
    SELECT = "select"  # second when first is 1, else third


@dataclass(frozen=True, slots=True, eq=False)
class Expression:
    """One node of a datapath; compared by identity, so sharing an object shares the hardware."""

    kind: Kind
    operands: tuple[Expression, ...]
    low: int
    high: int
    value: int = 0
    name: str = ""
    width: int = 0

    @property
    def format(self) -> Integer:
        """The narrowest format of every value this can take."""
        return smallest_integer(self.low, self.high)

    @property
    def bits(self) -> int:
        return self.format.bits

    @property
    def signed(self) -> bool:
        return self.low < 0


def variable(name: str, low: int, high: int) -> Expression:
    return Expression(Kind.VARIABLE, (), low, high, name=name)


def constant(value: int) -> Expression:
    return Expression(Kind.CONSTANT, (), value, value, value=value)


def is_constant(e: Expression) -> bool:
    return e.kind is Kind.CONSTANT


def add(a: Expression, b: Expression) -> Expression:
    if is_constant(a) and is_constant(b):
        return constant(a.value + b.value)
    if is_constant(a) and a.value == 0:
        return b
    if is_constant(b) and b.value == 0:
        return a
    return Expression(Kind.ADD, (a, b), a.low + b.low, a.high + b.high)


def subtract(a: Expression, b: Expression) -> Expression:
    if is_constant(a) and is_constant(b):
        return constant(a.value - b.value)
    if is_constant(b) and b.value == 0:
        return a
    return Expression(Kind.SUBTRACT, (a, b), a.low - b.high, a.high - b.low)


def shift_left(a: Expression, by: int) -> Expression:
    if by == 0:
        return a
    if is_constant(a):
        return constant(a.value << by)
    return Expression(Kind.SHIFT_LEFT, (a,), a.low << by, a.high << by, value=by)


def shift_right(a: Expression, by: int) -> Expression:
    if by == 0:
        return a
    if is_constant(a):
        return constant(a.value >> by)
    return Expression(Kind.SHIFT_RIGHT, (a,), a.low >> by, a.high >> by, value=by)


def shift_left_by(a: Expression, by: Expression) -> Expression:
    """a << by, by >= 0."""
    if is_constant(by):
        return shift_left(a, by.value)
    ends = [x << s for x in (a.low, a.high) for s in (by.low, by.high)]
    return Expression(Kind.SHIFT_LEFT_BY, (a, by), min(ends), max(ends))


def bits(a: Expression, at: int, width: int) -> Expression:
    """The unsigned number in `width` bits of a's two's complement, from bit `at`."""
    return Expression(Kind.BITS, (a,), 0, (1 << width) - 1, value=at, width=width)


def maximum(a: Expression, b: Expression) -> Expression:
    if a.low >= b.high:
        return a
    if b.low >= a.high:
        return b
    return Expression(Kind.MAXIMUM, (a, b), max(a.low, b.low), max(a.high, b.high))


def minimum(a: Expression, b: Expression) -> Expression:
    if a.high <= b.low:
        return a
    if b.high <= a.low:
        return b
    return Expression(Kind.MINIMUM, (a, b), min(a.low, b.low), min(a.high, b.high))


def clip(a: Expression, low: int, high: int) -> Expression:
    """a limited to [low, high]; nothing when its range already is."""
    return minimum(maximum(a, constant(low)), constant(high))


def at_least(a: Expression, b: Expression) -> Expression:
    if a.low >= b.high:
        return constant(1)
    if a.high < b.low:
        return constant(0)
    return Expression(Kind.AT_LEAST, (a, b), 0, 1)


def select(condition: Expression, yes: Expression, no: Expression) -> Expression:
    if is_constant(condition):
        return yes if condition.value else no
    return Expression(Kind.SELECT, (condition, yes, no), min(yes.low, no.low), max(yes.high, no.high))


def tree(terms: Sequence[Expression]) -> Expression:
    """Balanced sum."""
    level = [t for t in terms if not (is_constant(t) and t.value == 0)] or [constant(0)]
    while len(level) > 1:
        level = [add(*level[i : i + 2]) if i + 1 < len(level) else level[i] for i in range(0, len(level), 2)]
    return level[0]


SPLIT = 18  # operands wider than a hard multiplier are cut, so that each partial product gets its own register


def multiply(a: Expression, b: Expression) -> Expression:
    """a * b: shift-and-add when one is constant, else hard products of at most 18 bits each way."""
    if is_constant(a):
        return multiply_constant(b, a.value)
    if is_constant(b):
        return multiply_constant(a, b.value)
    for x, y in ((a, b), (b, a)):
        if x.bits > SPLIT:
            top, rest = shift_right(x, SPLIT - 1), bits(x, 0, SPLIT - 1)
            return add(shift_left(multiply(top, y), SPLIT - 1), multiply(rest, y))
    ends = [p * q for p in (a.low, a.high) for q in (b.low, b.high)]
    return Expression(Kind.MULTIPLY, (a, b), min(ends), max(ends))


def multiply_bitwise(a: Expression, b: Expression) -> Expression:
    """a * b as one addition for each bit of b, which costs fewer cells than its share of a hard multiplier when b is
    narrow, and sits where it is needed."""
    weighted = [select(bits(b, i, 1), shift_left(a, i), constant(0)) for i in range(b.bits)]
    total = subtract(tree(weighted[:-1]), weighted[-1]) if b.signed else tree(weighted)
    ends = [p * q for p in (a.low, a.high) for q in (b.low, b.high)]
    return Expression(total.kind, total.operands, min(ends), max(ends), total.value, total.name, total.width)


def signed_digits(value: int) -> list[tuple[int, int]]:
    """Canonical signed digits of an integer: (sign, exponent), no two exponents adjacent (Reitwiesner 1960)."""
    digits, exponent = [], 0
    while value:
        if value & 1:
            sign = 2 - (value & 3)
            digits.append((sign, exponent))
            value -= sign
        value >>= 1
        exponent += 1
    return digits


def multiply_constant(a: Expression, value: int) -> Expression:
    """a * value as a balanced tree of shifted additions and one subtraction."""
    digits = signed_digits(value)
    plus = tree([shift_left(a, e) for sign, e in digits if sign > 0])
    minus = tree([shift_left(a, e) for sign, e in digits if sign < 0])
    found = subtract(plus, minus)
    # intervals forget that both trees are the same number; the product's true range is known
    low, high = sorted((a.low * value, a.high * value))
    if is_constant(found) or found is a:
        return found
    return Expression(found.kind, found.operands, low, high, found.value, found.name, found.width)


def power_product(a: Expression, code: Expression, form: PowerOfTwo) -> Expression:
    """a times a weight coded as signed powers of two: shifters and an adder tree, no multiplier."""
    limit = PowerOfTwo(1, form.exponent).maximum
    width, terms = form.code_bits, []
    for t in range(form.terms):
        index, sign = bits(code, t * width, width - 1), bits(code, t * width + width - 1, 1)
        by = Expression(Kind.BITS, index.operands, 0, form.exponent + form.zero, value=index.value, width=index.width)
        shifted = shift_left_by(a, by)
        if form.zero:
            shifted = select(at_least(by, constant(1)), shift_right(shifted, 1), constant(0))
        terms.append(select(sign, subtract(constant(0), shifted), shifted))
    total = tree(terms)
    reach = form.terms * limit * max(abs(a.low), abs(a.high))
    low, high = max(total.low, -reach), min(total.high, reach)
    return Expression(total.kind, total.operands, low, high, total.value, total.name, total.width)


def encode_powers(values: Array, form: PowerOfTwo) -> Array:
    """ROM codes of weights in a power-of-two format: per term (least significant first) magnitude index, then sign."""
    digits = form.digits(values)
    index = np.where(digits == 0, 0, np.rint(np.log2(np.maximum(np.abs(digits), 1))).astype(np.int64) + form.zero)
    codes = index | ((digits < 0).astype(np.int64) << (form.code_bits - 1))
    places = np.arange(form.terms, dtype=np.int64) * form.code_bits
    return np.asarray((codes << places).sum(axis=-1), np.int64)


def walk(*roots: Expression) -> Iterator[Expression]:
    """Every expression once, operands before users."""
    seen: set[int] = set()
    stack = [(root, False) for root in reversed(roots)]
    while stack:
        e, done = stack.pop()
        if done:
            yield e
        elif id(e) not in seen:
            seen.add(id(e))
            stack.append((e, True))
            stack.extend((o, False) for o in reversed(e.operands))


def evaluate(root: Expression, environment: Mapping[str, Array]) -> Array:
    """NumPy meaning on int64 arrays (of any common shape) for the variables."""
    values: dict[int, Array] = {}
    for e in walk(root):
        values[id(e)] = _value(e, [values[id(o)] for o in e.operands], environment)
    return values[id(root)]


def _value(e: Expression, o: list[Array], environment: Mapping[str, Array]) -> Array:
    match e.kind:
        case Kind.VARIABLE:
            return environment[e.name]
        case Kind.CONSTANT:
            return np.asarray(e.value, np.int64)
        case Kind.ADD:
            return np.asarray(o[0] + o[1])
        case Kind.SUBTRACT:
            return np.asarray(o[0] - o[1])
        case Kind.MULTIPLY:
            return np.asarray(o[0] * o[1])
        case Kind.SHIFT_LEFT:
            return np.asarray(o[0] << e.value)
        case Kind.SHIFT_RIGHT:
            return np.asarray(o[0] >> e.value)
        case Kind.SHIFT_LEFT_BY:
            return np.asarray(o[0] << o[1])
        case Kind.BITS:
            return np.asarray((o[0] >> e.value) & ((1 << e.width) - 1))
        case Kind.MAXIMUM:
            return np.maximum(o[0], o[1])
        case Kind.MINIMUM:
            return np.minimum(o[0], o[1])
        case Kind.AT_LEAST:
            return np.asarray(o[0] >= o[1], np.int64)
        case Kind.SELECT:
            return np.where(o[0] != 0, o[1], o[2])


def delay(e: Expression) -> int:
    """Pipeline registers behind this expression. Constant shifts and bit fields are wiring, and a choice between a
    value and zero is part of the adder behind it; a hard multiplier sits far from the logic it feeds, so that its
    product gets a register at either end of the way; all else gets one."""
    match e.kind:
        case Kind.SELECT if is_constant(e.operands[2]) and e.operands[2].value == 0:
            return 0
        case Kind.VARIABLE | Kind.CONSTANT | Kind.SHIFT_LEFT | Kind.SHIFT_RIGHT | Kind.BITS:
            return 0
        case Kind.MULTIPLY:
            return 2
        case _:
            return 1


def stages(roots: Sequence[Expression]) -> dict[int, int]:
    """Stage in which each expression's value is valid, by id; variables are valid in stage 0. As soon as possible."""
    found: dict[int, int] = {}
    for e in walk(*roots):
        ready = max((found[id(o)] for o in e.operands if not is_constant(o)), default=0)
        found[id(e)] = ready + delay(e)
    return found


def depth(roots: Sequence[Expression]) -> int:
    """Latency in cycles of a datapath whose results are all aligned to the slowest."""
    found = stages(roots)
    return reduce(max, (found[id(r)] for r in roots), 0)
