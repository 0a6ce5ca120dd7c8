"""The blocks of a vision transformer that are read out."""

import math
from collections.abc import Sequence

from encoder_ablations.utils.errors import InputError

DEFAULT_TAPS = (0.25, 0.5, 0.75, 1.0)


def tap_indices(fractions: Sequence[float], depth: int) -> list[int]:
    """Return the indices of the blocks at some fractions of the depth.

    Fraction f means block ``ceil(f·depth) - 1``. If that one is taken already, it is the nearest
    free block.

    Args:
        fractions: in (0, 1], in ascending order.
        depth: number of blocks.

    Returns:
        Distinct indices in 0..depth-1, ascending.

    Raises:
        InputError: the fractions descend, or there are fewer blocks than fractions.
    """
    if list(fractions) != sorted(fractions):
        raise InputError(f"taps must ascend from shallow to deep, not {list(fractions)}.")
    if depth < len(fractions):
        raise InputError(
            f"{len(fractions)} taps need at least as many blocks; this encoder has {depth}."
        )
    taken: list[int] = []
    for fraction in fractions:
        # rounded first, so that 0.3·10 is 3 and not a little more
        wanted = math.ceil(round(fraction * depth, 9)) - 1
        free = [index for index in range(depth) if index not in taken]
        # of two equally near blocks the shallower one
        taken.append(min(free, key=lambda index: (abs(index - wanted), index)))
    return sorted(taken)
