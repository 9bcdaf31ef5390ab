"""Print datapath expressions as pipelined Verilog: one register behind every operator, operands aligned by delays.

Vectors are unsigned; every operand is extended explicitly, so that widths never surprise a tool or a reader.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from backends.verilog.module import Module, literal, span
from irc.expression import Expression, Kind, delay, stages, walk


def extended(signal: str, bits: int, signed: bool, to: int) -> str:
    """`signal` of `bits` bits at width `to`: sign or zero extended, or its low bits."""
    if to == bits:
        return signal
    if to < bits:
        return f"{signal}[{to - 1}:0]" if to > 1 else f"{signal}[0]"
    if not signed:
        return f"{{{to - bits}'d0, {signal}}}"
    top = f"{signal}[{bits - 1}]" if bits > 1 else signal
    return f"{{{{{to - bits}{{{top}}}}}, {signal}}}"


class Pipeline:
    """Prints the DAG under `roots` into `module`. `variables` maps variable names to signals valid in stage 0."""

    def __init__(self, module: Module, roots: Sequence[Expression], variables: Mapping[str, str],
                 prefix: str = "e") -> None:
        self.module, self.roots, self.variables, self.prefix = module, roots, variables, prefix
        self.stage = stages(roots)
        self.depth = max((self.stage[id(r)] for r in roots), default=0)
        self.signals: dict[int, str] = {}
        self.delayed: dict[tuple[int, int], str] = {}
        for count, e in enumerate(walk(*roots)):
            module.lossy = module.lossy or e.kind in (Kind.SHIFT_RIGHT, Kind.BITS)
            self._print(e, f"{prefix}{count}")

    def results(self) -> list[str]:
        """Signals of the roots, all valid in stage `depth`, each of its expression's width."""
        return [self._at(root, self.depth, root.bits) for root in self.roots]

    def _print(self, e: Expression, name: str) -> None:
        match e.kind:
            case Kind.VARIABLE:
                self.signals[id(e)] = self.variables[e.name]
            case Kind.CONSTANT:
                pass
            case _ if delay(e):
                formula = self._formula(e, self.stage[id(e)] - delay(e))
                self.signals[id(e)] = self._registered(name, e.bits, formula, delay(e))
            case _:
                self.module.wire(name, e.bits, self._formula(e, self.stage[id(e)]))
                self.signals[id(e)] = name

    def _registered(self, name: str, bits: int, formula: str, count: int) -> str:
        """`count` registers in a row behind a formula; the last one is called `name`."""
        for k in range(count):
            register = name if k == count - 1 else f"{name}_r{k}"
            self.module.body.append(f"reg {span(bits)}{register};")
            self.module.free.append(f"{register} <= {formula};")
            formula = register
        return name

    def _at(self, e: Expression, stage: int, to: int, signed: bool | None = None) -> str:
        """Operand `e` as it stands in `stage`, at width `to`."""
        if e.kind is Kind.CONSTANT:
            return literal(e.value, to)
        self.module.lossy = self.module.lossy or to < e.bits
        return extended(self._raw(e, stage), e.bits, e.signed if signed is None else signed, to)

    def _raw(self, e: Expression, stage: int) -> str:
        name = self.signals[id(e)]
        for later in range(self.stage[id(e)] + 1, stage + 1):
            key = (id(e), later)
            if key not in self.delayed:
                self.delayed[key] = f"{self.signals[id(e)]}_z{later - self.stage[id(e)]}".replace("[", "_").replace(
                    "]", "").replace(":", "_")
                self.module.body.append(f"reg {span(e.bits)}{self.delayed[key]};")
                self.module.free.append(f"{self.delayed[key]} <= {name};")
            name = self.delayed[key]
        return name

    def _formula(self, e: Expression, stage: int) -> str:
        o = e.operands
        match e.kind:
            case Kind.ADD:
                return f"{self._at(o[0], stage, e.bits)} + {self._at(o[1], stage, e.bits)}"
            case Kind.SUBTRACT:
                return f"{self._at(o[0], stage, e.bits)} - {self._at(o[1], stage, e.bits)}"
            case Kind.MULTIPLY:
                return self._multiply(e, stage)
            case Kind.SHIFT_LEFT:
                kept = max(e.bits - e.value, 1)
                return f"{{{self._at(o[0], stage, kept)}, {e.value}'d0}}"
            case Kind.SHIFT_RIGHT | Kind.BITS:
                return self._field(o[0], stage, e.value, e.bits)
            case Kind.SHIFT_LEFT_BY:
                return f"{self._at(o[0], stage, e.bits)} << {self._at(o[1], stage, o[1].bits)}"
            case Kind.MAXIMUM | Kind.MINIMUM | Kind.AT_LEAST:
                return self._compare(e, stage)
            case Kind.SELECT:
                return (f"{self._at(o[0], stage, 1)} ? {self._at(o[1], stage, e.bits)} : "
                        f"{self._at(o[2], stage, e.bits)}")
            case _:
                raise AssertionError(f"{e.kind} has no formula")

    def _multiply(self, e: Expression, stage: int) -> str:
        """Both operands at the product's width: synthesis trims the extension, linters see equal widths."""
        a, b = (self._at(x, stage, e.bits) for x in e.operands)
        if any(x.signed for x in e.operands):
            return f"$signed({a}) * $signed({b})"
        return f"{a} * {b}"

    def _field(self, x: Expression, stage: int, at: int, bits: int) -> str:
        """`bits` bits of x from bit `at`, sign extended beyond its end."""
        raw, top = self._raw(x, stage), min(x.bits, at + bits)
        if top <= at:
            sign = f"{raw}[{x.bits - 1}]" if x.bits > 1 else raw
            return f"{{{bits}{{{sign}}}}}" if x.signed else literal(0, bits)
        part = raw if x.bits == 1 else f"{raw}[{top - 1}:{at}]" if top - 1 > at else f"{raw}[{at}]"
        return part if top - at == bits else f"{{{{{bits - top + at}{{{raw}[{x.bits - 1}]}}}}, {part}}}"

    def _compare(self, e: Expression, stage: int) -> str:
        a, b = e.operands
        signed = a.signed or b.signed
        width = max(x.bits + (signed and not x.signed) for x in (a, b))
        left, right = self._at(a, stage, width), self._at(b, stage, width)
        test = f"$signed({left}) >= $signed({right})" if signed else f"{left} >= {right}"
        if e.kind is Kind.AT_LEAST:
            return f"({test}) ? 1'd1 : 1'd0"
        first, second = self._at(a, stage, e.bits), self._at(b, stage, e.bits)
        return f"({test}) ? {first} : {second}" if e.kind is Kind.MAXIMUM else f"({test}) ? {second} : {first}"
