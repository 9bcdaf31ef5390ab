"""The Verilog target: Verilog-2005, one module an actor, AXI4-Stream top, memory files, a self-checking testbench."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from backends.verilog import residual as _residual  # noqa: F401 (enters its emitters)
from backends.verilog import window as _window  # noqa: F401 (enters its emitter)
from backends.verilog.actors import EMITTERS
from backends.verilog.channels import CHANNELS
from backends.verilog.identifiers import comment
from backends.verilog.testbench import testbench
from backends.verilog.top import name_design, sites, top_module
from backends.verilog.verilated import run_verilated
from irc.actor import Actor
from irc.backend import Backend, Files, Run
from irc.diagnostics import Diagnostic, Place
from irc.graph import Graph
from irc.types import Array


class Verilog(Backend):
    """Synthesizable Verilog-2005 with AXI4-Stream ports; simulates cycle for cycle as the `sim` target says."""

    name = "verilog"
    help = "synthesizable Verilog-2005, AXI4-Stream ports, memory files and a self-checking testbench"
    finish = "parallelize, size_fifos"
    clocked = True

    def refused(self, graph: Graph) -> tuple[Diagnostic, ...]:
        return tuple(Diagnostic("E502", "the verilog target has no module for this op",
                                Place(node=n.name, operator=n.op.name), "lower it with the `dataflow` pass")
                     for n in graph.nodes if type(n.op) not in EMITTERS)

    def emit(self, graph: Graph) -> Files:
        names = name_design(graph)
        files = {f"{names.top}.v": top_module(graph, names)}
        for site in sites(graph, names):
            assert isinstance(site.node.op, Actor)
            module, memories = EMITTERS[type(site.node.op)](site, site.node.op)
            module.about = (f"{comment(site.node.op.name)} '{comment(site.node.name)}'",
                            *((f"from {comment(site.node.origin)}",) if site.node.origin else ()),
                            *module.about, f"{site.firings} firings a frame, latency {site.latency}")
            files |= {f"{site.module}.v": module.text()} | memories
        files |= {f"{name}.v": text for name, text in CHANNELS.items()}
        sources = [name for name in files if name.endswith(".v")]
        return files | {"files.f": "".join(f"{s}\n" for s in sources)} | testbench(graph, names)

    def run(self, folder: Path, graph: Graph, feeds: Mapping[str, Array], *, scratch: Path) -> Run:
        return run_verilated(folder, graph, feeds, scratch)


VERILOG = Verilog()
