"""The table of ONNX operators: one reader function each, entered by a decorator.

    @operator("Squeeze", until=12)
    def squeeze_by_attribute(call: Call) -> str: ...

    @operator("Squeeze", since=13)
    def squeeze_by_input(call: Call) -> str: ...

A reader gets a `Call`, builds what the node means with `call.emit` and returns the name of the value, or the names of
several when the operator has several outputs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias, TypeVar

import onnx

from irc.diagnostics import did_you_mean, error

if TYPE_CHECKING:
    from irc.frontend.call import Call

Reader: TypeAlias = "Callable[[Call], str | tuple[str, ...]]"

R = TypeVar("R", bound="Reader")


@dataclass(frozen=True, slots=True)
class Entry:
    """A reader and the operator sets (inclusive) whose definition it implements."""

    since: int
    until: int
    read: Reader


OPERATORS: dict[str, list[Entry]] = {}


def operator(*names: str, since: int = 1, until: int = 1 << 30) -> Callable[[R], R]:
    """Enter a reader function for ONNX operators, for operator sets `since` to `until`."""

    def enter(read: R) -> R:
        for name in names:
            OPERATORS.setdefault(name, []).append(Entry(since, until, read))
        return read

    return enter


# one set of operators under three names: QONNX took it over from FINN, and Brevitas exports it under its own
QONNX_DOMAINS = frozenset({"qonnx.custom_op.general", "onnx.brevitas", "finn.custom_op.general"})
CHANNELS_LAST_DOMAIN = "qonnx.custom_op.channels_last"
QONNX: dict[str, Reader] = {}
CHANNELS_LAST: dict[str, Reader] = {}


def qonnx_operator(*names: str, table: dict[str, Reader] = QONNX) -> Callable[[R], R]:
    """Enter a reader function for operators of QONNX."""

    def enter(read: R) -> R:
        table.update(dict.fromkeys(names, read))
        return read

    return enter


PREVIEW = "ai.onnx.preview"  # has versions of its own


def is_standard(domain: str) -> bool:
    """Whether operators of this domain are defined by ONNX itself."""
    return domain in ("", "ai.onnx", PREVIEW)


def definition(name: str, domain: str, opset: int) -> onnx.defs.OpSchema:
    """The definition of a standard operator; of a preview operator the newest."""
    return onnx.defs.get_schema(name, PREVIEW) if domain == PREVIEW else onnx.defs.get_schema(name, opset, "")


def _is_defined(name: str, domain: str, opset: int) -> bool:
    return onnx.defs.has(name, PREVIEW) if domain == PREVIEW else onnx.defs.has(name, opset, "")


def find_operator(name: str, domain: str, opset: int) -> Reader:
    """The reader of an operator, or E104."""
    import irc.frontend.operators  # noqa: F401 (fills the table)

    if domain in QONNX_DOMAINS or domain == CHANNELS_LAST_DOMAIN:
        table = QONNX if domain in QONNX_DOMAINS else CHANNELS_LAST
        if name not in table:
            raise error("E104", f"the operator {name} of QONNX is not supported", operator=name,
                        remedy=did_you_mean(name, table))
        return table[name]
    if not is_standard(domain):
        raise error("E104", f"operators of domain '{domain}' are not supported", operator=name,
                    remedy="Export with standard ONNX operators only.")
    if name not in OPERATORS:
        raise error("E104", f"the operator {name} is not supported", operator=name, remedy=_remedy(name))
    if not _is_defined(name, domain, opset):
        raise error("E104", f"operator set {opset} has no operator {name}", operator=name,
                    remedy="Export with a newer operator set.")
    for entry in OPERATORS[name]:
        if entry.since <= opset <= entry.until:
            return entry.read
    raise error("E104", f"{name} of operator set {opset} is not supported", operator=name,
                remedy="Export with opset_version=17.")


DATA_SIZED = "End the network before it and do this on the host, or keep all elements and weight them with a mask."
_REMEDIES = {"NonMaxSuppression": DATA_SIZED, "Unique": DATA_SIZED,
             "ImageDecoder": "Decode images on the host and give the pixels as input."}


def _remedy(name: str) -> str:
    """An operator that ONNX has is no misspelling of another."""
    if name in _REMEDIES:
        return _REMEDIES[name]
    if name.startswith("Random") or name in ("Bernoulli", "Multinomial"):
        return "Export the model in evaluation mode, where nothing is random."
    if "Sequence" in name or "Optional" in name:
        return "Use tensors: Split and Concat in place of sequences, Where in place of optionals."
    if onnx.defs.has(name):
        return "Replace it before the export; docs/onnx-support.md lists the operators that are read."
    return did_you_mean(name, OPERATORS)
