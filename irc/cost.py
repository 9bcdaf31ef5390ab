"""What a network costs: multiplications, weights, and for a design the folding and timing of every actor."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from irc.actor import node_firings, rom_operands, stream_operands
from irc.codebook import lookup_of
from irc.dataflow.timing import Timing, simulate_timing
from irc.graph import Constant, Graph, Node
from irc.ops.depthwise import Depthwise
from irc.ops.linear import Conv, MatMul
from irc.ops.matvec import MatVec
from irc.ops.quantization import Dequantize
from irc.ops.recurrent import Recurrent
from irc.ops.transposed import ConvTranspose
from irc.types import StreamType, TensorType

FRAMES = 1000  # enough to leave the first, slower ones behind; steady state costs nothing


@dataclass(frozen=True, slots=True)
class OpCost:
    """All nodes of one op together."""

    op: str
    nodes: int
    macs: int
    weights: int
    weight_bits: int


@dataclass(frozen=True, slots=True)
class ActorCost:
    """One actor of a design. `busy` is the fraction of cycles in which it fires; SIMD and PE are input and output
    lanes; `fifo_bits` counts the FIFOs at its inputs."""

    node: str
    op: str
    origin: str
    simd: int
    pe: int
    firings: int
    latency: int
    busy: float
    macs: int
    rom_bits: int
    fifo_bits: int


def op_costs(graph: Graph) -> list[OpCost]:
    """The cost of a graph by op, in order of first use."""
    return [_op_cost(graph, op) for op in dict.fromkeys(node.op.name for node in graph.nodes)]


def _op_cost(graph: Graph, op: str) -> OpCost:
    nodes = [node for node in graph.nodes if node.op.name == op]
    weights = {c.name: c for node in nodes for c in layer_weights(graph, node)}.values()
    return OpCost(op, len(nodes), sum(macs(graph, node) for node in nodes), sum(c.type.size for c in weights),
                  sum(c.type.size * c.type.format.bits for c in weights))


def activation_bits(graph: Graph) -> int:
    """The most bits of activations that are needed at once: tensors from the node that makes them to the last that
    reads them, or of a design all FIFOs."""
    weights = set(graph.constants)
    for node in graph.nodes:  # what is made of constants, such as a dequantized weight, is one
        weights.update(node.results if weights.issuperset(filter(None, node.operands)) else ())
    made = {name: kind for name, kind in graph.types.items() if name not in weights}
    fifos = [kind.depth * kind.width for kind in made.values() if isinstance(kind, StreamType)]
    if fifos:
        return sum(fifos)
    changes = np.zeros(len(graph.nodes) + 2, np.int64)
    last = {name: step for step, node in enumerate(graph.nodes, 1) for name in node.operands}
    last |= {port.value: len(graph.nodes) for port in graph.outputs}
    first = {name: step for step, node in enumerate(graph.nodes, 1) for name in node.results}
    for name, kind in made.items():
        start, bits = first.get(name, 0), kind.size * kind.format.bits if isinstance(kind, TensorType) else 0
        changes[start] += bits
        changes[last.get(name, start) + 1] -= bits
    return int(changes.cumsum().max())


def macs(graph: Graph, node: Node) -> int:
    """Multiply-accumulates a sample; 0 for ops other than convolutions, matrix products and recurrent layers."""
    match node.op, node.type:
        case Conv(), TensorType() as made:
            return made.size * math.prod(graph.tensor(node.operands[1]).shape[1:])
        case ConvTranspose(), _:
            return graph.tensor(node.operands[0]).size * math.prod(graph.tensor(node.operands[1]).shape[1:])
        case Recurrent(), _:
            time, batch, _ = graph.tensor(node.operands[0]).shape
            return time * batch * sum(graph.tensor(weight).size for weight in node.operands[1:3])
        case MatMul(), TensorType() as made:
            return made.size * graph.tensor(node.operands[0]).shape[-1]
        case MatVec() | Depthwise(), StreamType() as made:
            return made.positions * graph.tensor(node.operands[1]).size
        case _:
            return 0


def layer_weights(graph: Graph, node: Node) -> Iterator[Constant]:
    """The constants that a node reads, dequantized ones included, and codebooks with the indices into them; none for
    the dequantization and the look-up themselves."""
    if isinstance(node.op, Dequantize) or lookup_of(graph, node.name):
        return
    for operand in node.operands:
        maker = graph.producers.get(operand)
        name = maker.operands[0] if maker is not None and isinstance(maker.op, Dequantize) else operand
        lookup = lookup_of(graph, name)
        parts = lookup.operands if lookup else (name,)
        yield from (graph.constants[part] for part in parts if part in graph.constants)


def design_costs(graph: Graph, frames: int = FRAMES) -> tuple[list[ActorCost], Timing]:
    """Every actor of a dataflow graph, and the timing of a run. Raises E603 for a design that deadlocks."""
    timing = simulate_timing(graph, frames)
    return [_actor_cost(graph, node, timing.utilisation) for node in graph.nodes], timing


def _actor_cost(graph: Graph, node: Node, busy: dict[str, float]) -> ActorCost:
    firings = node_firings(graph, node)
    reads = [type for name in stream_operands(graph, node) if isinstance(type := graph.types[name], StreamType)]
    rom = sum(c.type.size * c.type.format.bits for c in rom_operands(graph, node))
    pe = node.type.lanes if isinstance(node.type, StreamType) else 1
    return ActorCost(node.name, node.op.name, node.origin, reads[0].lanes, pe, firings.count, firings.latency,
                     busy.get(node.name, 0.0), macs(graph, node), rom, sum(s.depth * s.width for s in reads))
