"""Named pipelines, words that stand for a list of passes, and named spaces, pipelines with holes for `irc explore`."""

from __future__ import annotations

PIPELINES: dict[str, str] = {
    # what `irc compile` does when no passes are named: 8-bit weights and activations cost little accuracy anywhere
    "default": "fold, clean, quantize{weights=s8 activations=u8}",
    # the last clean drops the scales and biases that requantization absorbed
    "to-integer": "fold, clean, integer, requantize, narrow, clean",
    "to-dataflow": "dataflow",
}

SPACES: dict[str, str] = {
    "default": """fold, clean, prune{sparsity=?layer{0 | 0.25 | 0.5 | 0.75}},
                  ?layer{quantize{weights=?layer{s2 | s3 | s4 | s6 | s8} activations=none rounding=?{nearest | gptq}}
                         | shift{terms=?layer{1 | 2}} | share{values=?layer{4 | 16}}},
                  quantize{weights=s8 activations=u8}""",
    "bits": """fold, clean,
               quantize{weights=?layer{s2 | s3 | s4 | s5 | s6 | s8} activations=u8 rounding=?{nearest | gptq}}""",
    "sparsity": """fold, clean, prune{sparsity=?layer{0 | 0.25 | 0.5 | 0.75 | 0.9}
                                 criterion=?{magnitude | activation}},
                   quantize{weights=?{s4 | s8} activations=u8}""",
}
