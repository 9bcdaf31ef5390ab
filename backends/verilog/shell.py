"""The control every actor shares: fire when inputs and room allow, carry the result valid bit through the pipeline."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

from backends.verilog.module import Module, literal, span
from irc.graph import Constant, Graph, Node
from irc.rom import bank_words, is_banked
from irc.types import IntArray, StreamType

ALWAYS = "1'b1"
Memories: TypeAlias = dict[str, str]  # memory files by name


@dataclass(frozen=True, slots=True)
class Site:
    """One actor to emit: its module name, channels, constants and latency."""

    graph: Graph
    node: Node
    module: str
    inputs: tuple[StreamType, ...]
    outputs: tuple[StreamType, ...]
    roms: tuple[Constant, ...]
    rom_files: tuple[str, ...]
    latency: int
    firings: int


def count_bits(count: int) -> int:
    """Bits of a counter that runs from 0 to count - 1."""
    return max(1, (count - 1).bit_length())


def open_module(site: Site, about: Sequence[str]) -> Module:
    """A module with the ports of all plain input channels and of all outputs."""
    module = Module(site.module, tuple(about))
    for k, x in enumerate(site.inputs):
        module.input(f"x{k}_valid")
        module.output(f"x{k}_pop")
        module.input(f"x{k}_data", x.width)
    open_outputs(site, module)
    return module


def open_outputs(site: Site, module: Module) -> None:
    """Ports of the output channels, and the strobe that starts a firing, which `fire` defines."""
    for k, y in enumerate(site.outputs):
        module.input(f"y{k}_space")
        module.output(f"y{k}_reserve")
        module.output(f"y{k}_push")
        module.output(f"y{k}_data", y.width)
    module.body += ["// a firing starts", "wire go;"]


def fire(site: Site, module: Module, ready: str, makes: str = ALWAYS) -> None:
    """Declare `go`, and the valid bits from the start of a firing to the push of its result."""
    room = " && ".join(f"y{k}_space" for k in range(len(site.outputs)))
    module.assign("go", f"{ready} && {room}" if makes == ALWAYS else f"{ready} && (({room}) || !{makes})")
    module.wire("makes", 1, "go" if makes == ALWAYS else f"go && {makes}")
    valid = delay_bit(module, "makes", site.latency, "valid")
    for k in range(len(site.outputs)):
        module.assign(f"y{k}_reserve", "makes")
        module.assign(f"y{k}_push", valid)


def delay_bit(module: Module, signal: str, cycles: int, name: str) -> str:
    """A control bit, `cycles` later."""
    if cycles == 0:
        return signal
    module.reg(name, cycles, f"{cycles}'d0")
    module.clocked.append(f"{name} <= {signal};" if cycles == 1 else f"{name} <= {{{name}[{cycles - 2}:0], {signal}}};")
    return name if cycles == 1 else f"{name}[{cycles - 1}]"


def delay_word(module: Module, signal: str, bits: int, cycles: int, name: str) -> str:
    """Data, `cycles` later, through registers called `name`, `name`1, ..."""
    for k in range(cycles):
        register = name if k == cycles - 1 else f"{name}{k}"
        module.body.append(f"reg {span(bits)}{register};")
        module.free.append(f"{register} <= {signal};")
        signal = register
    return signal


def counter(module: Module, name: str, count: int, enable: str) -> str:
    """A counter 0 .. count-1 that steps when `enable`; returns the signal that is high in its last state.

    A counter of one state needs no register: its last state is always."""
    if count == 1:
        return ALWAYS
    bits = count_bits(count)
    module.reg(name, bits, f"{bits}'d0")
    last = module.wire(f"{name}_last", 1, f"{name} == {literal(count - 1, bits)}")
    step = f"{name} <= {last} ? {bits}'d0 : {name} + 1'b1;"
    module.clocked.append(step if enable == ALWAYS else f"if ({enable}) {step}")
    return last


def countdown(module: Module, name: str, count: int, enable: str) -> str:
    """A counter count-2 .. -1 that steps when `enable`; returns its sign, high in the last state. No comparison stands
    between the register and what depends on it. `state` gives the register's value in turn i."""
    if count == 1:
        return ALWAYS
    bits = count_bits(count) + 1
    module.reg(name, bits, state(count, 0))
    last = module.wire(f"{name}_last", 1, f"{name}[{bits - 1}]")
    module.clocked.append(f"if ({enable}) {name} <= {last} ? {state(count, 0)} : {name} - 1'b1;")
    return last


def state(count: int, turn: int) -> str:
    """What a countdown of `count` turns holds in `turn`."""
    return literal(count - 2 - turn, count_bits(count) + 1)


def both(*conditions: str) -> str:
    """Conjunction, leaving out what is always true."""
    found = [c for c in conditions if c != ALWAYS]
    return " && ".join(found) if found else ALWAYS


def rom(module: Module, name: str, file: str, table: IntArray, widths: Sequence[int], address: str) -> Memories:
    """A ROM with a registered output called `name`, read every cycle at `address`; returns its memory file."""
    bits = sum(widths)
    module.body += [f"reg {span(bits)}{name}_rom [0:{len(table) - 1}];",
                    f'initial $readmemh("{file}.mem", {name}_rom);', f"reg {span(bits)}{name};"]
    module.free.append(f"{name} <= {name}_rom[{address}];")
    return {f"{file}.mem": pack(table, widths)}


def held_rom(module: Module, name: str, file: str, table: IntArray, widths: Sequence[int], address: str) -> Memories:
    """A ROM whose word stands in register `name` two cycles after the address, three when it is cut into banks."""
    bits, words = sum(widths), len(table)
    module.body.append(f"reg {span(bits)}{name};")
    if not is_banked(words, bits):
        module.free.append(f"{name} <= {name}_word;")
        return rom(module, f"{name}_word", file, table, widths, address)
    size = bank_words(words, bits)
    low, count = count_bits(size), -(-words // size)
    module.body.append(f"reg {span(count_bits(count))}{name}_bank, {name}_bank_z;")
    module.free += [f"{name}_bank <= {address}[{count_bits(words) - 1}:{low}];", f"{name}_bank_z <= {name}_bank;",
                    f"case ({name}_bank_z)"]
    files: Memories = {}
    for k in range(count):
        case = "default" if k == count - 1 else literal(k, count_bits(count))
        module.free.append(f"    {case}: {name} <= {name}_held{k};")
        module.body.append(f"reg {span(bits)}{name}_held{k};")
    module.free.append("endcase")
    for k in range(count):
        part = table[k * size : (k + 1) * size]
        where = f"{address}[{count_bits(len(part)) - 1}:0]" if len(part) > 1 else "1'd0"
        files |= rom(module, f"{name}_word{k}", f"{file}_{k}", part, widths, where)
        module.free.append(f"{name}_held{k} <= {name}_word{k};")
    return files


def pack(fields: IntArray, bits: Sequence[int]) -> str:
    """Memory file: one hexadecimal word a row of `fields` [words, fields], field 0 in the lowest bits."""
    total, words = sum(bits), [0] * len(fields)
    at = 0
    for column, width in zip(fields.T.tolist(), bits, strict=True):
        mask = (1 << width) - 1
        words = [word | ((value & mask) << at) for word, value in zip(words, column, strict=True)]
        at += width
    return "".join(f"{word:0{(total + 3) // 4}x}\n" for word in words)


def lanes(module: Module, source: str, name: str, count: int, bits: int) -> list[str]:
    """Cut a token into named lanes."""
    if count == 1:
        return [module.wire(f"{name}0", bits, source)]
    return [module.wire(f"{name}{i}", bits, f"{source}[{(i + 1) * bits - 1}:{i * bits}]" if bits > 1 else
                        f"{source}[{i}]") for i in range(count)]


def joined(parts: Sequence[str]) -> str:
    """Lanes as one token, lane 0 in the lowest bits."""
    return parts[0] if len(parts) == 1 else f"{{{', '.join(reversed(parts))}}}"
