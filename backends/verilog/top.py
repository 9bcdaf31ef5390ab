"""The top module: channels and actors wired up behind AXI4-Stream ports."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from backends.verilog.identifiers import comment, identifiers
from backends.verilog.module import literal, span
from backends.verilog.shell import Site, count_bits
from backends.verilog.window import buffer_bits
from irc.actor import node_firings, rom_operands, stream, stream_operands
from irc.graph import Graph, Node, Port
from irc.ops.window import Window
from irc.types import StreamType


@dataclass(frozen=True, slots=True)
class Names:
    """Verilog identifiers of the design: its top, channels, actor modules and ports."""

    top: str
    channels: Mapping[str, str]
    modules: Mapping[str, str]
    inputs: Mapping[str, str]
    outputs: Mapping[str, str]


def name_design(graph: Graph) -> Names:
    """Choose all identifiers at once, so that none collide."""
    top = identifiers([graph.name])[graph.name]
    library = ("irc_fifo", "irc_output", "irc_line_buffer", "clk", "aresetn", top)
    values = [n for n in graph.types if n not in graph.constants]
    channels = identifiers(values, library)
    modules = identifiers([f"{top}_{channels[n.name]}" for n in graph.nodes], (*library, *channels.values()))
    by_node = {n.name: modules[f"{top}_{channels[n.name]}"] for n in graph.nodes}
    return Names(top, channels, by_node, _prefixes("s_axis", graph.inputs), _prefixes("m_axis", graph.outputs))


def _prefixes(stem: str, ports: tuple[Port, ...]) -> dict[str, str]:
    """`s_axis` for a single port, `s_axis_<name>` for several."""
    if len(ports) == 1:
        return {ports[0].name: stem}
    names = identifiers([p.name for p in ports])
    return {p.name: f"{stem}_{names[p.name]}" for p in ports}


def sites(graph: Graph, names: Names) -> list[Site]:
    """Every actor with all that its emitter needs."""
    found = []
    for node in graph.nodes:
        schedule = node_firings(graph, node)
        inputs = tuple(stream(graph, o) for o in stream_operands(graph, node))
        roms = rom_operands(graph, node)
        files = tuple(f"{names.modules[node.name]}_{k}" for k in range(len(roms)))
        outputs = tuple(stream(graph, r) for r in node.results)
        found.append(Site(graph, node, names.modules[node.name], inputs, outputs, roms, files, schedule.latency,
                          schedule.count))
    return found


def bytes_wide(bits: int) -> int:
    """tdata is a whole number of bytes."""
    return (bits + 7) // 8 * 8


def traced(graph: Graph) -> list[str]:
    """Channels in the order of the trace bits."""
    return [n for n in graph.types if n not in graph.constants]


def top_module(graph: Graph, names: Names) -> str:
    """Text of the top module."""
    users = {o: node for node in graph.nodes for o in stream_operands(graph, node)}
    lines = [f"// {comment(graph.name)}: AXI4-Stream in, AXI4-Stream out; one token a beat, lane 0 in the lowest bits.",
             f"module {names.top} (", ",\n".join(f"    {p}" for p in _ports(graph, names)), ");"]
    for channel in traced(graph):
        lines += _wires(names.channels[channel], stream(graph, channel), users.get(channel))
    for port in graph.inputs:
        lines += _source(names, port)
    for node in graph.nodes:
        lines += _instance(graph, names, node)
    for channel in traced(graph):
        lines += _fifo(names.channels[channel], stream(graph, channel), users.get(channel))
    for port in graph.outputs:
        lines += _sink(names, port)
    return "\n".join([*lines, *_trace(graph, names), "endmodule", ""])


def _ports(graph: Graph, names: Names) -> list[str]:
    ports = ["input wire clk", "input wire aresetn"]
    for port in graph.inputs:
        s, width = names.inputs[port.name], bytes_wide(stream(graph, port.name).width)
        ports += [f"input wire {s}_tvalid", f"output wire {s}_tready", f"input wire {span(width)}{s}_tdata",
                  f"input wire {s}_tlast", f"output reg {s}_misframed"]
    for port in graph.outputs:
        s, width = names.outputs[port.name], bytes_wide(stream(graph, port.value).width)
        ports += [f"output wire {s}_tvalid", f"input wire {s}_tready", f"output wire {span(width)}{s}_tdata",
                  f"output wire {s}_tlast"]
    ports[-1] += f"\n`ifdef IRC_TRACE\n    , output wire [{2 * len(traced(graph)) - 1}:0] irc_trace\n`endif"
    return ports


def _wires(c: str, x: StreamType, user: Node | None) -> list[str]:
    lines = [f"    wire {c}_space, {c}_reserve, {c}_push;", f"    wire {span(x.width)}{c}_data;"]
    if user is not None and isinstance(user.op, Window):
        taps, bits = user.op.taps, buffer_bits(x)
        return [*lines, f"    wire {span(x.depth.bit_length())}{c}_release;",
                f"    wire {span(taps * bits)}{c}_address;", f"    wire {span(taps * x.width)}{c}_x_data;"]
    return [*lines, f"    wire {c}_x_valid, {c}_x_pop;", f"    wire {span(x.width)}{c}_x_data;"]


def _fifo(c: str, x: StreamType, user: Node | None) -> list[str]:
    """The FIFO module of a channel, by what its consumer is."""
    is_window = user is not None and isinstance(user.op, Window)
    bits = buffer_bits(x) if is_window else count_bits(max(x.depth, 2))
    size = f".WIDTH({x.width}), .DEPTH({x.depth}), .BITS({bits}), .COUNT({x.depth.bit_length()})"
    common = (f".clk(clk), .aresetn(aresetn), .space({c}_space), .reserve({c}_reserve), .push({c}_push), "
              f".data({c}_data)")
    if user is not None and isinstance(user.op, Window):
        return [f"    irc_line_buffer #({size}, .PORTS({user.op.taps})) {c}_fifo (", f"        {common},",
                f"        .x_release({c}_release), .x_address({c}_address), .x_data({c}_x_data)", "    );"]
    kind = "irc_output" if user is None else "irc_fifo"
    return [f"    {kind} #({size}) {c}_fifo (", f"        {common},",
            f"        .x_valid({c}_x_valid), .x_pop({c}_x_pop), .x_data({c}_x_data)", "    );"]


def _source(names: Names, port: Port) -> list[str]:
    s, c, x = names.inputs[port.name], names.channels[port.name], port.type
    assert isinstance(x, StreamType)
    spare = bytes_wide(x.width) - x.width
    lines = [f"    assign {s}_tready = {c}_space;", f"    assign {c}_push = {s}_tvalid && {c}_space;",
             f"    assign {c}_reserve = {c}_push;"]
    data = f"{s}_tdata[{x.width - 1}:0]" if spare and x.width > 1 else f"{s}_tdata[0]" if spare else f"{s}_tdata"
    lines.append(f"    assign {c}_data = {data};")
    if spare:
        high = f"{s}_tdata[{bytes_wide(x.width) - 1}:{x.width}]"
        lines.append(f"    // verilator lint_off UNUSEDSIGNAL\n    wire {s}_padding = |{high};\n"
                     "    // verilator lint_on UNUSEDSIGNAL")
    return lines + _frame_check(s, c, x.tokens)


def _frame_check(s: str, c: str, tokens: int) -> list[str]:
    """tlast must come with the last token of a frame, and only then: `misframed` stays high once it did not."""
    last = "1'b1"
    lines = []
    step = ""
    if tokens > 1:
        bits = count_bits(tokens)
        last = f"{s}_beat == {literal(tokens - 1, bits)}"
        lines.append(f"    reg {span(bits)}{s}_beat;")
        step = f"{s}_beat <= ({last}) ? {literal(0, bits)} : {s}_beat + 1'b1; "
    reset = f"{s}_beat <= 0; " if tokens > 1 else ""
    return [*lines, "    always @(posedge clk) begin",
            f"        if (!aresetn) begin {reset}{s}_misframed <= 1'b0; end",
            f"        else if ({c}_push) begin {step}{s}_misframed <= {s}_misframed || ({s}_tlast != ({last})); end",
            "    end"]


def _sink(names: Names, port: Port) -> list[str]:
    s, c, x = names.outputs[port.name], names.channels[port.value], port.type
    assert isinstance(x, StreamType)
    spare = bytes_wide(x.width) - x.width
    data = f"{{{spare}'d0, {c}_x_data}}" if spare else f"{c}_x_data"
    lines = [f"    assign {s}_tvalid = {c}_x_valid;", f"    assign {c}_x_pop = {c}_x_valid && {s}_tready;",
             f"    assign {s}_tdata = {data};"]
    if x.tokens == 1:
        return [*lines, f"    assign {s}_tlast = 1'b1;"]
    bits = count_bits(x.tokens)
    return [*lines, f"    reg {span(bits)}{s}_beat;",
            f"    assign {s}_tlast = {s}_beat == {literal(x.tokens - 1, bits)};",
            "    always @(posedge clk) begin", f"        if (!aresetn) {s}_beat <= {literal(0, bits)};",
            f"        else if ({c}_x_pop) {s}_beat <= {s}_tlast ? {literal(0, bits)} : {s}_beat + 1'b1;", "    end"]


def _instance(graph: Graph, names: Names, node: Node) -> list[str]:
    """One actor and its connections."""
    pins = [".clk(clk)", ".aresetn(aresetn)"]
    for k, operand in enumerate(stream_operands(graph, node)):
        c = names.channels[operand]
        if isinstance(node.op, Window):
            pins += [f".x{k}_push({c}_push)", f".x{k}_release({c}_release)", f".x{k}_address({c}_address)"]
        else:
            pins += [f".x{k}_valid({c}_x_valid)", f".x{k}_pop({c}_x_pop)"]
        pins.append(f".x{k}_data({c}_x_data)")
    for k, result in enumerate(node.results):
        c = names.channels[result]
        pins += [f".y{k}_{pin}({c}_{pin})" for pin in ("space", "reserve", "push", "data")]
    origin = f"  // from {comment(node.origin)}" if node.origin else ""
    module = names.modules[node.name]
    return [f"    {module} {names.channels[node.name]}_actor ({origin}", f"        {', '.join(pins)}", "    );"]


def _trace(graph: Graph, names: Names) -> list[str]:
    """Entries and departures of all channels, for simulation with IRC_TRACE defined."""
    users = {o: node for node in graph.nodes for o in stream_operands(graph, node)}
    bits = []
    for channel in traced(graph):
        c, user = names.channels[channel], users.get(channel)
        left = f"|{c}_release" if user is not None and isinstance(user.op, Window) else f"{c}_x_pop"
        bits += [f"{c}_push", left]
    return ["`ifdef IRC_TRACE", f"    assign irc_trace = {{{', '.join(reversed(bits))}}};", "`endif"]
