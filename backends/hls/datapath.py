"""Datapath expressions (`irc.expression`) as C: one constant a step, exact, without undefined behaviour.

Every step is computed in int32_t, or in int64_t where its range or that of an operand needs it. Right shifts of
negative numbers round to minus infinity and unsigned numbers convert back modulo 2^n, which C leaves to the compiler;
irc_hls.h checks both when it is compiled.
"""

from __future__ import annotations

from collections.abc import Sequence

from backends.hls.statements import Lines
from backends.hls.storage import INT64, computed_type, converted, literal, widest
from irc import expression as ex
from irc.expression import Expression, Kind


def expression_type(e: Expression) -> str:
    """The type that holds every value of an expression."""
    return computed_type(e.low, e.high)


def variables(*roots: Expression) -> set[str]:
    """Names of the inputs that a datapath reads."""
    return {e.name for e in ex.walk(*roots) if e.kind is Kind.VARIABLE}


def print_datapath(*roots: Expression) -> tuple[Lines, list[str]]:
    """Declarations of the steps, and one text for each root. Variables appear under their names."""
    lines: Lines = []
    texts: dict[int, str] = {}
    for e in ex.walk(*roots):
        if e.kind is Kind.VARIABLE:
            texts[id(e)] = e.name
        elif e.kind is Kind.CONSTANT:
            texts[id(e)] = literal(e.value)
        else:
            texts[id(e)] = f"t{len(lines)}"
            lines.append(f"const {expression_type(e)} t{len(lines)} = {_step(e, [texts[id(o)] for o in e.operands])};")
    return lines, [texts[id(root)] for root in roots]


def _step(e: Expression, texts: Sequence[str]) -> str:
    """The right-hand side: computed in the widest type involved, then brought to the type of the result."""
    result = expression_type(e)
    work = widest(result, *(expression_type(o) for o in e.operands))
    pairs = zip(e.operands, texts, strict=True)
    body = _operation(e, [converted(text, expression_type(o), work) for o, text in pairs], work)
    return body if work == result else f"({result})({body})"


def _operation(e: Expression, o: Sequence[str], work: str) -> str:
    match e.kind:
        case Kind.ADD:
            return f"{o[0]} + {o[1]}"
        case Kind.SUBTRACT:
            return f"{o[0]} - {o[1]}"
        case Kind.MULTIPLY:
            return f"{o[0]} * {o[1]}"
        case Kind.SHIFT_LEFT:
            return _shift_left(e, o[0], str(e.value), e.value, work)
        case Kind.SHIFT_LEFT_BY:
            return _shift_left(e, o[0], o[1], e.operands[1].high, work)
        case Kind.SHIFT_RIGHT:
            return f"{o[0]} >> {min(e.value, _bits(work) - 1)}"
        case Kind.BITS:
            field = f"({o[0]} >> {min(e.value, _bits(work) - 1)})" if e.value else o[0]
            return f"{field} & {literal((1 << e.width) - 1)}"
        case Kind.MAXIMUM:
            return f"{o[0]} > {o[1]} ? {o[0]} : {o[1]}"
        case Kind.MINIMUM:
            return f"{o[0]} < {o[1]} ? {o[0]} : {o[1]}"
        case Kind.AT_LEAST:
            return f"{o[0]} >= {o[1]} ? 1 : 0"
        case Kind.SELECT:
            return f"{o[0]} != 0 ? {o[1]} : {o[2]}"
        case Kind.VARIABLE | Kind.CONSTANT:
            return e.name or literal(e.value)


def _shift_left(e: Expression, operand: str, by: str, most: int, work: str) -> str:
    """Shifting a negative number left is undefined in C; the shift of its two's complement is not."""
    if most >= _bits(work):
        raise OverflowError(f"a shift by {most} places leaves {_bits(work)} bits")
    if e.operands[0].low >= 0:
        return f"{operand} << {by}"
    return f"irc_shift_left_{_bits(work)}({operand}, {by})"


def _bits(work: str) -> int:
    return 64 if work == INT64 else 32
