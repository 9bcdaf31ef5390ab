"""A Verilog module as it is put together: ports, declarations, clocked and combinational statements."""

from __future__ import annotations

from dataclasses import dataclass, field


def span(bits: int) -> str:
    """The range of a vector declaration; nothing for a single bit."""
    return f"[{bits - 1}:0] " if bits > 1 else ""


def literal(value: int, bits: int) -> str:
    """A sized constant, two's complement."""
    return f"{bits}'d{value & ((1 << bits) - 1)}"


@dataclass(slots=True)
class Module:
    """Text of one module. `reset` holds registers with their reset value, `clocked` the statements of the clocked block
    under reset, `free` those without reset (data)."""

    name: str
    about: tuple[str, ...] = ()
    ports: list[str] = field(default_factory=lambda: ["input wire clk", "input wire aresetn"])
    body: list[str] = field(default_factory=list)
    reset: list[tuple[str, str]] = field(default_factory=list)
    clocked: list[str] = field(default_factory=list)
    free: list[str] = field(default_factory=list)
    lossy: bool = False  # whether bits are dropped on purpose

    def input(self, name: str, bits: int = 1) -> str:
        self.ports.append(f"input wire {span(bits)}{name}")
        return name

    def output(self, name: str, bits: int = 1) -> str:
        self.ports.append(f"output wire {span(bits)}{name}")
        return name

    def wire(self, name: str, bits: int, value: str) -> str:
        self.body.append(f"wire {span(bits)}{name} = {value};")
        return name

    def reg(self, name: str, bits: int, reset: str | None = None) -> str:
        """Declare a register; with `reset` it is a control register."""
        self.body.append(f"reg {span(bits)}{name};")
        if reset is not None:
            self.reset.append((name, reset))
        return name

    def assign(self, target: str, value: str) -> None:
        self.body.append(f"assign {target} = {value};")

    def text(self) -> str:
        lines = [f"// {line}" for line in self.about]
        lines += [f"module {self.name} (", ",\n".join(f"    {p}" for p in self.ports), ");"]
        if self.lossy:
            lines.append("    // floor shifts and clips drop bits on purpose\n    // verilator lint_off UNUSEDSIGNAL")
        lines += [f"    {line}" for line in self.body]
        if self.lossy:
            lines.append("    // verilator lint_on UNUSEDSIGNAL")
        lines += self._blocks()
        return "\n".join([*lines, "endmodule", ""])

    def _blocks(self) -> list[str]:
        lines: list[str] = []
        if self.reset:
            lines += ["    always @(posedge clk) begin", "        if (!aresetn) begin"]
            lines += [f"            {name} <= {value};" for name, value in self.reset]
            lines += ["        end else begin"]
            lines += [f"            {line}" for line in self.clocked]
            lines += ["        end", "    end"]
        if self.free:
            lines += ["    always @(posedge clk) begin", *(f"        {line}" for line in self.free), "    end"]
        return lines
