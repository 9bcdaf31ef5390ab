from dataclasses import dataclass, field, replace
from typing import ClassVar

from irc.graph import Constant, Graph
from irc.pipeline.step import Context, Lossy, Pass, option


@dataclass(frozen=True, slots=True)
class ClipWeights(Pass):
    """Cut the outliers of each layer off, so that few-bit weights spend their steps on the rest."""

    keeps: ClassVar[Lossy] = Lossy()
    sigmas: float = field(default=3.0, metadata=option("standard deviations to keep", low=0.5))

    def run(self, graph: Graph, context: Context) -> Graph:
        layers = [n for n in graph.nodes if n.op.name in ("conv", "matmul") and context.selected(n)]
        weights = {node.operands[1] for node in layers}
        return graph.map_constants(lambda c: self.clipped(c) if c.name in weights else c)

    def clipped(self, weight: Constant) -> Constant:
        limit = self.sigmas * weight.data.std()
        return replace(weight, data=weight.data.clip(-limit, limit))
