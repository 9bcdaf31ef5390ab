"""Attribute and option values: their text, and typed reading back through dataclass annotations.

Both languages read a value in two steps: its syntax gives a `Plain` value, which knows no types; `typed` turns
that into what the annotation of the field asks for, or raises ValueError with a sentence.
"""

from __future__ import annotations

import dataclasses
import json
import types
import typing
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from functools import cache
from numbers import Integral, Real
from typing import TYPE_CHECKING, Any, TypeAlias, cast

from irc.types import Float, Format, Integer, PowerOfTwo, parse_format

if TYPE_CHECKING:
    from lark import Token, Tree


@dataclass(frozen=True, slots=True)
class Word:
    """A bare word: true, none, a number format, a member of an enumeration."""

    text: str


@dataclass(frozen=True, slots=True)
class Record:
    """`Name(field=value, ...)`: a nested dataclass."""

    name: str
    fields: tuple[tuple[str, Plain], ...]


Plain: TypeAlias = "int | float | str | Word | Record | tuple[Plain, ...]"
FORMATS = (Float, Integer, PowerOfTwo)
_WORDS = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "a string",
    type(None): "none",
    Float: "f32 or f64",
    Integer: "an integer format such as s8",
    PowerOfTwo: "a format such as p2e6",
}


def is_default(field: dataclasses.Field[Any], value: object) -> bool:
    """Whether a field holds its default, so that the text leaves it out."""
    if field.default_factory is not dataclasses.MISSING:
        return bool(field.default_factory() == value)
    return field.default is not dataclasses.MISSING and bool(field.default == value)


@cache
def field_types(cls: type) -> dict[str, Any]:
    """The evaluated annotations of a class; cached, for a graph has many nodes and few ops."""
    return typing.get_type_hints(cls)


def is_required(field: dataclasses.Field[Any]) -> bool:
    """Whether a field must be given."""
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def print_fields(value: object) -> Iterator[str]:
    """`field=value` for each field of a dataclass that differs from its default."""
    for field in dataclasses.fields(cast(Any, value)):
        held = getattr(value, field.name)
        if not is_default(field, held):
            yield f"{field.name}={print_value(held)}"


def print_value(value: object) -> str:
    """The text of an attribute value; `typed` reads it back equal."""
    match value:
        case None | bool():
            return str(value).lower()
        case Enum():
            return _member_word(value)
        case str():
            return quoted(value)
        case Integral():  # NumPy's integers too
            return str(int(value))
        case Real():
            return repr(float(value))
        case Float() | Integer() | PowerOfTwo():
            return str(value)
        case tuple():
            return f"[{', '.join(map(print_value, value))}]"
        case _ if dataclasses.is_dataclass(value):
            return f"{type(value).__name__}({', '.join(print_fields(value))})"
        case _:
            raise TypeError(f"a {type(value).__name__} has no text")


def quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def unquoted(literal: str) -> str:
    """The string that a literal stands for. Raises ValueError for a bad escape."""
    try:
        return cast(str, json.loads(literal))
    except json.JSONDecodeError:
        raise ValueError(f"{literal} has a bad escape sequence") from None


def plain(tree: Tree[Token]) -> Plain:
    """The untyped value of a syntax tree (`number`, `string`, `word`, `list` or `record`)."""
    children = cast(Any, tree.children)
    match tree.data:
        case "number":
            text = str(children[0])
            return int(text) if text.removeprefix("-").isdigit() else float(text)
        case "string":
            return unquoted(children[0])
        case "word":
            return Word(str(children[0]))
        case "list":
            return tuple(plain(child) for child in children)
        case _:
            fields = (attribute.children for attribute in children[1:])
            return Record(str(children[0]), tuple((str(key), plain(value)) for key, value in fields))


def typed(value: Plain, wanted: Any) -> Any:
    """`value` as the annotation `wanted` asks. Raises ValueError that says what was expected."""
    origin, arguments = typing.get_origin(wanted), typing.get_args(wanted)
    if origin in (types.UnionType, typing.Union):
        return _typed_union(value, arguments)
    if origin is tuple:
        return _typed_tuple(value, wanted, arguments)
    if origin is typing.Literal:
        return _one_of(value, {str(a): a for a in arguments})
    if wanted in FORMATS:
        return _typed_format(value, (wanted,))
    if isinstance(wanted, type) and issubclass(wanted, Enum):
        return _one_of(value, {_member_word(member): member for member in wanted})
    if isinstance(wanted, type) and isinstance(value, Record):
        return read_record(value, wanted)
    return _typed_scalar(value, wanted)


def _typed_scalar(value: Plain, wanted: Any) -> Any:
    match value:
        case Word("true" | "false") if wanted is bool:
            return value.text == "true"
        case Word("none") if wanted is type(None):
            return None
        case Word(text) | str(text) if wanted is str:
            return text
        case int() if wanted in (int, float):
            return wanted(value)
        case float() if wanted is float:
            return value
        case _ if wanted in (Any, object):
            return value
    raise ValueError(f"{show(value)} is not {describe(wanted)}")


def _typed_union(value: Plain, members: tuple[Any, ...]) -> Any:
    formats = tuple(member for member in members if member in FORMATS)
    if formats and isinstance(value, Word) and value.text != "none":
        return _typed_format(value, formats)
    for member in members:
        try:
            return typed(value, member)
        except ValueError:
            continue
    raise ValueError(f"{show(value)} is not {' or '.join(_alternatives(members))}")


def _alternatives(members: tuple[Any, ...]) -> Iterator[str]:
    """The members of a union in words; all number formats together are one."""
    together = set(FORMATS) <= set(members)
    if together:
        yield "a number format such as s8 or f32"
    yield from (describe(member) for member in members if not (together and member in FORMATS))


def _typed_format(value: Plain, members: tuple[Any, ...]) -> Format:
    if not isinstance(value, Word):
        raise ValueError(f"{show(value)} is not {describe(members[0])}")
    found: Format = parse_format(value.text)
    if not isinstance(found, members):
        raise ValueError(f"{value.text} is not {' or '.join(map(describe, members))}")
    return cast(Format, found)


def _typed_tuple(value: Plain, wanted: Any, members: tuple[Any, ...]) -> tuple[Any, ...]:
    if not isinstance(value, tuple):
        raise ValueError(f"{show(value)} is not {describe(wanted)}")
    if len(members) == 2 and members[1] is Ellipsis:
        return tuple(typed(item, members[0]) for item in value)
    if len(members) != len(value):
        raise ValueError(f"{show(value)} has {len(value)} entries, not {len(members)}")
    return tuple(typed(item, member) for item, member in zip(value, members, strict=True))


def _one_of(value: Plain, choices: dict[str, Any]) -> Any:
    text = value.text if isinstance(value, Word) else str(value)
    if text not in choices:
        raise ValueError(f"{show(value)} is not one of {', '.join(choices)}")
    return choices[text]


def read_record(value: Record, wanted: type) -> Any:
    """The dataclass `wanted`, or one of its subclasses, that a record names."""
    known = {cls.__name__: cls for cls in _family(wanted) if dataclasses.is_dataclass(cls)}
    if value.name not in known:
        raise ValueError(f"there is no {wanted.__name__} '{value.name}'; known: {', '.join(known)}")
    return build(known[value.name], value.fields)


def build(cls: type, given: tuple[tuple[str, Plain], ...]) -> Any:
    """An instance of a dataclass from named plain values, each typed by its field's annotation."""
    hints, fields = field_types(cls), {f.name: f for f in dataclasses.fields(cast(Any, cls))}
    values: dict[str, Any] = {}
    for name, value in given:
        if name not in fields or name in values:
            raise ValueError(f"{cls.__name__} takes each of {', '.join(fields)} once, but here is '{name}'")
        values[name] = typed(value, hints[name])
    for name, field in fields.items():
        if is_required(field) and name not in values:
            raise ValueError(f"{cls.__name__} needs '{name}'")
    return cls(**values)


def _family(cls: type) -> Iterator[type]:
    yield cls
    derived: type
    for derived in cls.__subclasses__():
        yield from _family(derived)


def _member_word(member: Enum) -> str:
    value = member.value
    return value if isinstance(value, str) and value.isidentifier() else member.name


def show(value: Plain) -> str:
    """A plain value as the user wrote it."""
    match value:
        case Word(text):
            return f"'{text}'"
        case Record(name, _):
            return f"{name}(...)"
        case tuple():
            return f"[{', '.join(map(show, value))}]"
        case _:
            return print_value(value)


def describe(wanted: Any) -> str:
    """What an annotation asks for, in words."""
    if wanted in _WORDS:
        return _WORDS[wanted]
    if typing.get_origin(wanted) in (types.UnionType, typing.Union):
        return " or ".join(_alternatives(typing.get_args(wanted)))
    if typing.get_origin(wanted) is tuple:
        members = [m for m in typing.get_args(wanted) if m is not Ellipsis]
        return f"a list such as [{', '.join(map(describe, members))}]"
    return f"a {getattr(wanted, '__name__', wanted)}"
