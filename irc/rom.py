"""How a table is cut into block RAMs, and what that costs in cycles.

A table deeper than one block RAM needs a multiplexer behind the blocks. Blocks leave their data late in the cycle, so
the multiplexer gets a cycle of its own: banks are read and registered first, then one of them is picked.
"""

from __future__ import annotations

# (words, bits) of one block RAM, any family: 16 Kbit deep-and-narrow to shallow-and-wide, parity bits where they exist
SHAPES = ((16384, 1), (8192, 2), (4096, 4), (2048, 9), (1024, 18))


def bank_words(words: int, bits: int) -> int:
    """Words of each bank of a table: the split that needs the fewest block RAMs; of equals the shallowest, because that
    is what synthesis would take, and multiplex behind our back."""
    if words <= SHAPES[-1][0]:
        return words

    def cost(shape: tuple[int, int]) -> tuple[int, int]:
        return -(-words // shape[0]) * -(-bits // shape[1]), shape[0]

    return min(words, min(SHAPES, key=cost)[0])


def is_banked(words: int, bits: int) -> bool:
    """Whether reading takes one cycle more, for the multiplexer behind the banks."""
    return bank_words(words, bits) < words
