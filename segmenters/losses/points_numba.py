"""Compiled loops over points: random positions, bilinear reading, and the choice of uncertain ones.

Import it where it is used, not at the head of a module: it brings numba. A position is (x, y) in
0..1 of a map; a cell's centre lies half a step from its border, and beyond the border are zeros.
"""

import numpy as np

from encoder_ablations.utils.kernels import compiled

HALF = np.float32(0.5)
ONE = np.float32(1)
ZERO = np.float32(0)
BITS = (20, 10, 0)
"""Lowest bit of the digits by which distances are selected, the first digit first."""
BINS = 2048
STRIP = 16
UNIT = np.float32(2**-24)
GOLDEN = np.uint64(0x9E3779B97F4A7C15)
FIRST, SECOND = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
TINY = np.float32(1e-5)
"""Least share of a point that counts as labelled."""


@compiled("contract", inline=True)
def bordered(source: np.ndarray) -> np.ndarray:
    """Return a map h×w with a border of zeros: (h+2)×(w+2)."""
    height, width = source.shape
    result = np.zeros((height + 2, width + 2), np.float32)
    copy(source, result[1:-1, 1:-1])
    return result


@compiled(inline=True)
def copy(source: np.ndarray, target: np.ndarray) -> None:
    """Copy an array of two dimensions; numba compiles ``target[:] = source`` for seconds."""
    for i in range(source.shape[0]):
        for j in range(source.shape[1]):
            target[i, j] = source[i, j]


@compiled()
def bordered_cells(maps: np.ndarray) -> np.ndarray:
    """Return maps Q×h×w as (h+2)×(w+2)×Q with a border of zeros."""
    queries, height, width = maps.shape
    cells = np.zeros((height + 2, width + 2, queries), np.float32)
    # a few columns at a time, so that the cells written to stay in the first cache
    for i in range(height):
        for first in range(0, width, STRIP):
            for q in range(queries):
                for j in range(first, min(first + STRIP, width)):
                    cells[i + 1, j + 1, q] = maps[q, i, j]
    return cells


@compiled("contract", inline=True)
def place(position: np.float32, length: int) -> tuple[int, np.float32]:
    """Return the cell of a bordered map at or before a position, and the share of the next one."""
    inside = min(max(position, ZERO), ONE)
    # within a bordered map the coordinate is 0.5..length + 0.5
    at = inside * np.float32(length) + HALF
    cell = int(at)
    return cell, at - np.float32(cell)


@compiled("contract", inline=True)
def read(padded: np.ndarray, x: np.float32, y: np.float32) -> np.float32:
    """Return the bilinear value of a bordered map at a position."""
    j, dx = place(x, padded.shape[1] - 2)
    i, dy = place(y, padded.shape[0] - 2)
    upper = (ONE - dx) * padded[i, j] + dx * padded[i, j + 1]
    lower = (ONE - dx) * padded[i + 1, j] + dx * padded[i + 1, j + 1]
    value: np.float32 = (ONE - dy) * upper + dy * lower
    return value


@compiled("contract", inline=True)
def labelled_share(labelled: np.ndarray, x: np.float32, y: np.float32) -> np.float32:
    """Return the share of a position's support that is labelled: 0..1.

    Args:
        labelled: (H+2)×(W+2) of 1 and 0; the border repeats the nearest pixel.
        x: position.
        y: position.
    """
    share = read(labelled, x, y)
    return share if share > TINY else ZERO


@compiled()
def draw(seed: int, positions: np.ndarray) -> None:
    """Fill in positions C×2, uniform in 0..1, by SplitMix64 (Steele, Lea and Flood, 2014)."""
    state = np.uint64(seed)
    for c in range(positions.shape[0]):
        state += GOLDEN
        mixed = (state ^ (state >> np.uint64(30))) * FIRST
        mixed = (mixed ^ (mixed >> np.uint64(27))) * SECOND
        mixed ^= mixed >> np.uint64(31)
        # 24 bits each, as many as a float32 holds
        positions[c, 0] = np.float32(np.int64(mixed >> np.uint64(40))) * UNIT
        positions[c, 1] = np.float32(np.int64(mixed & np.uint64(0xFFFFFF))) * UNIT


@compiled()
def uncertain(
    padded: np.ndarray, candidates: np.ndarray, labelled: np.ndarray, chosen: np.ndarray
) -> None:
    """Fill in the candidates whose logits are nearest to 0, in the candidates' order.

    Args:
        padded: the logits, bordered.
        candidates: C×2.
        labelled: see :func:`labelled_share`; those not labelled are taken only when the others do
            not suffice. Empty: all are labelled.
        chosen: N×2, N ≤ C.
    """
    distances = np.empty(candidates.shape[0], np.float32)
    for c in range(candidates.shape[0]):
        distances[c] = abs(read(padded, candidates[c, 0], candidates[c, 1]))
    if labelled.size > 0:
        for c in range(candidates.shape[0]):
            if labelled_share(labelled, candidates[c, 0], candidates[c, 1]) == ZERO:
                distances[c] = np.inf
    # the bits of floats ≥ 0 are in the floats' order; NaN comes last
    bits = distances.view(np.int32)
    limit, equal = smallest(bits, chosen.shape[0])
    order, count = np.empty(candidates.shape[0] + 1, np.int64), 0
    # every index is written, and kept by counting it: a branch here would be guessed wrongly
    for c in range(candidates.shape[0]):
        order[count] = c
        at_limit = (bits[c] == limit) & (equal > 0)
        equal -= at_limit
        count += (bits[c] < limit) | at_limit
    for n in range(chosen.shape[0]):
        chosen[n, 0] = candidates[order[n], 0]
        chosen[n, 1] = candidates[order[n], 1]


@compiled()
def smallest(values: np.ndarray, number: int) -> tuple[int, int]:
    """Return the n-th smallest of int32 values ≥ 0, and how many equal to it belong to the first n.

    With n = 0: 0 and 0. Digit by digit; only values that agree in the digits before are counted,
    so that a digit may overlap the one before it.
    """
    if number == 0:
        return 0, 0
    open_values, prefix, wanted = values.copy(), 0, number
    for low in BITS:
        counts = np.zeros(BINS, np.int64)
        for value in open_values:
            counts[(value >> low) & (BINS - 1)] += 1
        digit = 0
        while counts[digit] < wanted:
            wanted -= counts[digit]
            digit += 1
        prefix |= digit << low
        kept = 0
        for value in open_values:
            open_values[kept] = value
            kept += (value >> low) & (BINS - 1) == digit
        open_values = open_values[:kept]
    return prefix, wanted
