"""What an op is: one class an op, its fields the attributes, with a type rule, a NumPy meaning and a docstring.

An entry of the op table looks like this and needs nothing else::

    @operation("relu", "x", levels=ARITHMETIC)
    class Relu(Op):
        '''max(x, 0), element by element.'''

        def infer(self, x: TensorType) -> TensorType:
            return x

        def evaluate(self, x: Array) -> Array:
            return np.maximum(x, 0)

Array convention of `evaluate`: every array has one leading *sample* axis before the axes of its type. The axis has
length 1 when the value is the same for all samples (constants), so NumPy broadcasting does the right thing; axis
attributes count the axes of the type, that is from after the sample axis. Floats arrive as float64, integers as int64.
"""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar, dataclass_transform

from irc.diagnostics import did_you_mean, error
from irc.types import Array, Float, Level, TensorType, Type

MODEL = frozenset({Level.MODEL})
INTEGER = frozenset({Level.INTEGER})
ARITHMETIC = MODEL | INTEGER  # the same meaning on reals and on exact integers
DATAFLOW = frozenset({Level.DATAFLOW})


@dataclass(frozen=True, slots=True)
class Operand:
    """A formal operand: `name`, `name?` when it may be missing, `name*` when it takes all that remain."""

    name: str
    optional: bool = False
    variadic: bool = False


class Op(ABC):
    """Base of all ops. An instance is an op with its attribute values."""

    __slots__ = ()
    name: ClassVar[str]
    operands: ClassVar[tuple[Operand, ...]]
    levels: ClassVar[frozenset[Level]]

    @abstractmethod
    def infer(self, *operands: Any) -> Type | tuple[Type, ...]:
        """Type rule: operand types (None for a missing optional) to result type(s).

        Raises `TypeError` with a sentence when the operands do not fit.
        """

    @abstractmethod
    def evaluate(self, *operands: Any) -> Array | tuple[Array, ...]:
        """NumPy meaning; see the module docstring for the array convention."""

    @classmethod
    def attributes(cls) -> tuple[dataclasses.Field[Any], ...]:
        """The attributes, in order of declaration."""
        return dataclasses.fields(cls)  # type: ignore[arg-type]

    def result_types(self, operands: Sequence[Type | None]) -> tuple[Type, ...]:
        """`infer`, always as a tuple, after checking the number of operands."""
        required = sum(not (o.optional or o.variadic) for o in self.operands)
        variadic = any(o.variadic for o in self.operands)
        if len(operands) < required or (len(operands) > len(self.operands) and not variadic):
            raise TypeError(f"{self.name} takes {signature(type(self))}, not {len(operands)} operands")
        for formal, given in zip(self.operands, operands, strict=False):
            if given is None and not formal.optional:
                raise TypeError(f"operand '{formal.name}' of {self.name} is missing")
        try:
            types = self.infer(*operands)
        except (ArithmeticError, AttributeError, LookupError, ValueError) as problem:  # such as a stride of 0
            raise TypeError(f"{self.name} cannot have these operands and attributes ({problem})") from problem
        return types if isinstance(types, tuple) else (types,)


OpType = TypeVar("OpType", bound=Op)
OPERATIONS: dict[str, type[Op]] = {}


@dataclass_transform(frozen_default=True)
def operation(name: str, operands: str, *, levels: frozenset[Level]) -> Callable[[type[OpType]], type[OpType]]:
    """Class decorator: make the class a frozen dataclass and enter it in the op table under `name`."""

    def enter(cls: type[OpType]) -> type[OpType]:
        made = dataclass(frozen=True)(cls)
        made.name, made.levels = name, levels
        made.operands = tuple(Operand(o.rstrip("?*"), o.endswith("?"), o.endswith("*")) for o in operands.split())
        if name in OPERATIONS:
            raise ValueError(f"op {name} is defined twice")
        OPERATIONS[name] = made
        return made

    return enter


def signature(cls: type[Op]) -> str:
    """Operands as text: `x, weight, bias?`."""
    marks = (o.name + ("?" if o.optional else "*" if o.variadic else "") for o in cls.operands)
    return f"({', '.join(marks)})"


def find_operation(name: str) -> type[Op]:
    """The op called `name`, or E203 with the nearest name."""
    import irc.ops  # noqa: F401 (fills the table)

    if name not in OPERATIONS:
        raise error("E203", f"there is no op '{name}'", remedy=did_you_mean(name, OPERATIONS))
    return OPERATIONS[name]


def same_format(*types: TensorType) -> None:
    """Raise unless all operands are float or all are integer."""
    kinds = {isinstance(t.format, Float) for t in types}
    if len(kinds) > 1:
        raise TypeError("operands mix real and integer formats: " + ", ".join(str(t) for t in types))
