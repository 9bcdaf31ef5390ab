"""All benchmarks of compression without training, one after the other, and their tables in README.md."""

from __future__ import annotations

import channel_pruning
import low_bits
import pruning
import remove_layers
import rounding_speed
import sharing
import summary


def main() -> None:
    for benchmark in (low_bits, pruning, sharing, channel_pruning, remove_layers, rounding_speed, summary):
        benchmark.main()


if __name__ == "__main__":
    main()
