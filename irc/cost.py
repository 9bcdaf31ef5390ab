"""What a network costs: multiplications, weights, and for a design the folding and timing of every actor."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from irc.actor import node_firings, rom_operands, stream_operands
from irc.dataflow.timing import Timing, simulate_timing
from irc.graph import Constant, Graph, Node
from irc.ops.depthwise import Depthwise
from irc.ops.linear import Conv, MatMul
from irc.ops.matvec import MatVec
from irc.ops.quantization import Dequantize
from irc.ops.shape import Gather
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


def macs(graph: Graph, node: Node) -> int:
    """Multiply-accumulates a sample; 0 for ops other than convolutions and matrix products."""
    match node.op, node.type:
        case Conv(), TensorType() as made:
            return made.size * math.prod(graph.tensor(node.operands[1]).shape[1:])
        case MatMul(), TensorType() as made:
            return made.size * graph.tensor(node.operands[0]).shape[-1]
        case MatVec() | Depthwise(), StreamType() as made:
            return made.positions * graph.tensor(node.operands[1]).size
        case _:
            return 0


def layer_weights(graph: Graph, node: Node) -> Iterator[Constant]:
    """The constants that a node reads, dequantized ones included, and codebooks with the indices into them; none for
    the dequantization and the look-up themselves."""
    if isinstance(node.op, Dequantize) or _is_lookup(graph, node):
        return
    for operand in node.operands:
        maker = graph.producers.get(operand)
        name = maker.operands[0] if maker is not None and isinstance(maker.op, Dequantize) else operand
        maker = graph.producers.get(name)
        parts = maker.operands if maker is not None and _is_lookup(graph, maker) else (name,)
        yield from (graph.constants[part] for part in parts if part in graph.constants)


def _is_lookup(graph: Graph, node: Node) -> bool:
    """Whether the node picks weights from a codebook: a constant table by constant indices."""
    return isinstance(node.op, Gather) and all(o in graph.constants for o in node.operands)


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
