"""A self-checking testbench: frames of random input, the interpreter's output, stalls on both sides, and a reset in the
middle of the first attempt."""

from __future__ import annotations

import numpy as np

from backends.verilog.shell import count_bits, pack
from backends.verilog.top import Names, bytes_wide
from irc.graph import Graph, Port
from irc.interpreter import evaluate
from irc.types import Array, IntArray, Integer, StreamType

FRAMES = 2
RESET_AT = 300  # cycle of the reset that interrupts the first attempt


def tokens(x: StreamType, values: Array) -> IntArray:
    """Values [samples, positions, elements] as tokens [samples * tokens, lanes]; positions are sent `repeat` times."""
    return np.asarray(np.repeat(values.reshape(-1, x.elements), x.repeat, axis=0).reshape(-1, x.lanes), np.int64)


def sample_inputs(graph: Graph, frames: int, seed: int = 0) -> dict[str, IntArray]:
    """Random integers for every input, over its whole format but inside every table it indexes."""
    rng = np.random.default_rng(seed)
    feeds = {}
    for port in graph.inputs:
        assert isinstance(port.type, StreamType)
        form = port.type.format
        high = min([form.maximum, *(len(graph.constants[n.operands[1]].data) - 1 for n in graph.users[port.name]
                                    if n.op.name == "embed")])
        shape = (frames, port.type.positions, port.type.elements)
        feeds[port.name] = rng.integers(form.minimum, high, shape, np.int64, endpoint=True)
    return feeds


def testbench(graph: Graph, names: Names) -> dict[str, str]:
    """The testbench and its vector files."""
    feeds = sample_inputs(graph, FRAMES)
    results = evaluate(graph, feeds)
    files = {f"{names.top}_tb_{names.inputs[p.name]}.mem": _vectors(p, feeds[p.name]) for p in graph.inputs}
    files |= {f"{names.top}_tb_{names.outputs[p.name]}.mem": _vectors(p, results[p.name]) for p in graph.outputs}
    return {f"{names.top}_tb.v": _text(graph, names), **files}


def _vectors(port: Port, values: Array) -> str:
    assert isinstance(port.type, StreamType)
    return pack(tokens(port.type, values), [port.type.format.bits] * port.type.lanes)


def _text(graph: Graph, names: Names) -> str:
    wires, pins, blocks, done = [], [".clk(clk)", ".aresetn(aresetn)"], [], []
    for k, port in enumerate(graph.inputs):
        s = names.inputs[port.name]
        wires += _driver(names, port, s, k)
        pins += [f".{s}_{p}({s}_{p})" for p in ("tvalid", "tready", "tdata", "tlast", "misframed")]
        blocks.append(f"{s}_misframed")
    for k, port in enumerate(graph.outputs):
        s = names.outputs[port.name]
        wires += _checker(names, port, s, k)
        pins += [f".{s}_{p}({s}_{p})" for p in ("tvalid", "tready", "tdata", "tlast")]
        done.append(f"{s}_at == {s}_count")
    body = "\n".join(f"    {line}" for line in wires)
    return f"""\
// Feeds {FRAMES} frames with random gaps on every port, compares each output beat, prints PASS or the first mismatch.
// A reset interrupts the first attempt; all starts again after it. A beat that is offered must stay until it is taken.
module {names.top}_tb;
    reg clk = 1'b0;
    reg aresetn = 1'b0;
    reg [31:0] noise = 32'd1;
    integer cycle = 0;
    always #5 clk = !clk;
{body}
    {names.top} dut ({", ".join(pins)});
    always @(posedge clk) begin
        noise <= {{noise[30:0], noise[31] ^ noise[21] ^ noise[1] ^ noise[0]}};
        cycle <= cycle + 1;
        aresetn <= cycle >= 4 && !(cycle >= {RESET_AT} && cycle < {RESET_AT + 3});
        if ({" || ".join(blocks)}) begin $display("FAIL: tlast does not close a frame"); $finish; end
        if ({" && ".join(done)}) begin $display("PASS: {FRAMES} frames in %0d cycles", cycle); $finish; end
        if (cycle == {_limit(graph)}) begin $display("FAIL: no end after %0d cycles", cycle); $finish; end
    end
endmodule
"""


def _limit(graph: Graph) -> int:
    """Cycles after which the testbench gives up: every channel's traffic in sequence, with stalls, and then some."""
    total = sum(t.tokens for t in graph.types.values() if isinstance(t, StreamType))
    return 2000 + 16 * FRAMES * total


def _driver(names: Names, port: Port, s: str, k: int) -> list[str]:
    assert isinstance(port.type, StreamType)
    width, total = bytes_wide(port.type.width), FRAMES * port.type.tokens
    bits = count_bits(port.type.tokens * FRAMES + 1)
    return [
        f"reg [{width - 1}:0] {s}_vectors [0:{total - 1}];",
        f'initial $readmemh("{names.top}_tb_{s}.mem", {s}_vectors);',
        f"reg [{bits - 1}:0] {s}_at = 0;",
        f"integer {s}_beat = 0;",
        f"wire {s}_tready, {s}_misframed;",
        f"reg {s}_tvalid = 1'b0;",
        f"wire {s}_tlast = {s}_beat == {port.type.tokens - 1};",
        f"wire [{width - 1}:0] {s}_tdata = {s}_vectors[{s}_at];",
        f"always @(posedge clk) if (!aresetn) begin {s}_tvalid <= 1'b0; {s}_at <= 0; {s}_beat <= 0; end else begin",
        f"    if ({s}_tvalid && {s}_tready) begin",
        f"        {s}_at <= {s}_at + 1'b1;",
        f"        {s}_beat <= {s}_tlast ? 0 : {s}_beat + 1;",
        "    end",
        f"    if (!{s}_tvalid || {s}_tready) {s}_tvalid <= noise[{k + 2}] && {s}_at + "
        f"({s}_tvalid && {s}_tready ? 1 : 0) < {total};",
        "end",
    ]


def _checker(names: Names, port: Port, s: str, k: int) -> list[str]:
    assert isinstance(port.type, StreamType)
    width, total, bits = bytes_wide(port.type.width), FRAMES * port.type.tokens, port.type.width
    return [
        f"reg [{bits - 1}:0] {s}_expected [0:{total - 1}];",
        f'initial $readmemh("{names.top}_tb_{s}.mem", {s}_expected);',
        f"integer {s}_at = 0;",
        f"integer {s}_count = {total};",
        f"wire {s}_tvalid, {s}_tlast;",
        f"wire {s}_tready = cycle[8] ? noise[{k + 9}] || noise[{k + 5}] : noise[{k + 9}] && noise[{k + 5}];",
        f"wire [{width - 1}:0] {s}_tdata;",
        f"reg {s}_waits = 1'b0;",
        f"reg [{width}:0] {s}_offer = 0;",
        "always @(posedge clk) begin",
        f"    {s}_waits <= aresetn && {s}_tvalid && !{s}_tready;",
        f"    {s}_offer <= {{{s}_tlast, {s}_tdata}};",
        f"    if (aresetn && {s}_waits && (!{s}_tvalid || {s}_offer !== {{{s}_tlast, {s}_tdata}})) begin",
        f'        $display("FAIL: {s} changed while it waited at beat %0d", {s}_at);',
        "        $finish;",
        "    end",
        "end",
        f"always @(posedge clk) if (!aresetn) {s}_at <= 0; else if ({s}_tvalid && {s}_tready) begin",
        f"    if ({s}_tdata[{bits - 1}:0] !== {s}_expected[{s}_at]) begin",
        f'        $display("FAIL: {s} beat %0d is %h, expected %h", {s}_at, {s}_tdata, {s}_expected[{s}_at]);',
        "        $finish;",
        "    end",
        f"    if ({s}_tlast !== ({s}_at % {port.type.tokens} == {port.type.tokens - 1})) begin",
        f'        $display("FAIL: {s}_tlast is wrong at beat %0d", {s}_at);',
        "        $finish;",
        "    end",
        f"    {s}_at <= {s}_at + 1;",
        "end",
    ]


__all__ = ["Integer", "sample_inputs", "testbench", "tokens"]
