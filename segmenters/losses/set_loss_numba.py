"""The compiled loops of :mod:`encoder_ablations.segmenters.losses.set_loss_cpu`.

Import it where it is used, not at the head of a module: it brings numba. Points are worked on in
tiles whose numbers stay in the first caches. Sums over a tile are added to those of all tiles, so
that float32 loses little. Two arrays describe an image's mask, both with a border of one pixel:

- owners, (H+2)×(W+2) int16: the number of each pixel's segment in the image; -1 for none, and in
  the border.
- labelled, (H+2)×(W+2) float32: 1, or 0 for ignored pixels; the border repeats the nearest pixel.
  It is 0×0 if all points weigh 1.
"""

import numpy as np

from encoder_ablations.segmenters.losses.activations_numba import activations
from encoder_ablations.segmenters.losses.points_numba import (
    bordered,
    bordered_cells,
    copy,
    draw,
    labelled_share,
    place,
    read,
    uncertain,
)
from encoder_ablations.utils.kernels import compiled

TILE = 256
ONE = np.float32(1)
ZERO = np.float32(0)


@compiled("contract")
def pair_sums(
    maps: np.ndarray,
    points: np.ndarray,
    owners: np.ndarray,
    labelled: np.ndarray,
    sums: np.ndarray,
    areas: np.ndarray,
) -> None:
    """Add up what the costs of all (query, segment) pairs of one image need, over all points.

    Args:
        maps: Q×h×w logits.
        points: P×2.
        owners: see above.
        labelled: see above.
        sums: 2×(T+1)×Q zeros. [0, t] becomes the sum of logit·label, [0, T] that of
            softplus(logit)·weight, [1, t] that of sigmoid·label, [1, T] that of sigmoid·weight.
        areas: (T+1) zeros; the sums of the labels, and of the weights.
    """
    segments, queries = sums.shape[1] - 1, maps.shape[0]
    # the logits of a cell lie side by side
    cells = bordered_cells(maps)
    tile, tile_areas = np.zeros_like(sums), np.zeros_like(areas)
    logits, soft, sure, work = _buffers(queries)
    shares = np.zeros(segments + 1, np.float32)
    for p in range(points.shape[0]):
        x, y = points[p, 0], points[p, 1]
        weight = labelled_share(labelled, x, y) if labelled.size > 0 else ONE
        if weight > ZERO:
            _read_all(cells, x, y, logits)
            activations(logits, work, soft, sure)
            _add(tile[0, segments], soft, weight)
            _add(tile[1, segments], sure, weight)
            tile_areas[segments] += weight
            _find_shares(owners, x, y, shares)
            for t in range(segments):
                if shares[t] > ZERO:
                    _add(tile[0, t], logits, shares[t])
                    _add(tile[1, t], sure, shares[t])
                    tile_areas[t] += shares[t]
                    shares[t] = ZERO
        if p % TILE == TILE - 1 or p == points.shape[0] - 1:
            sums += tile
            areas += tile_areas
            tile[:] = ZERO
            tile_areas[:] = ZERO


@compiled(inline=True)
def _buffers(count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return room for so many logits, their softplus and sigmoid, and the work in between."""
    rows = np.empty((3, count), np.float32)
    return rows[0], rows[1], rows[2], np.empty((2, count), np.float32)


@compiled("contract", inline=True)
def _read_all(cells: np.ndarray, x: np.float32, y: np.float32, logits: np.ndarray) -> None:
    """Fill in the bilinear logits of all queries at a position."""
    j, dx = place(x, cells.shape[1] - 2)
    i, dy = place(y, cells.shape[0] - 2)
    w00, w01 = (ONE - dy) * (ONE - dx), (ONE - dy) * dx
    w10, w11 = dy * (ONE - dx), dy * dx
    c00, c01, c10, c11 = cells[i, j], cells[i, j + 1], cells[i + 1, j], cells[i + 1, j + 1]
    for q in range(logits.shape[0]):
        logits[q] = w00 * c00[q] + w01 * c01[q] + w10 * c10[q] + w11 * c11[q]


@compiled("contract", inline=True)
def _add(total: np.ndarray, values: np.ndarray, factor: float) -> None:
    for q in range(total.shape[0]):
        total[q] += factor * values[q]


@compiled("contract", inline=True)
def _find_shares(owners: np.ndarray, x: np.float32, y: np.float32, shares: np.ndarray) -> None:
    """Add to each segment its share of a position's support; the rest goes to the last place."""
    j, dx = place(x, owners.shape[1] - 2)
    i, dy = place(y, owners.shape[0] - 2)
    shares[owners[i, j]] += (ONE - dy) * (ONE - dx)
    shares[owners[i, j + 1]] += (ONE - dy) * dx
    shares[owners[i + 1, j]] += dy * (ONE - dx)
    shares[owners[i + 1, j + 1]] += dy * dx


@compiled("contract", inline=True)
def _inside_share(owners: np.ndarray, own: int, x: np.float32, y: np.float32) -> np.float32:
    """Return the share of a position's support that lies in the segment ``own``."""
    j, dx = place(x, owners.shape[1] - 2)
    i, dy = place(y, owners.shape[0] - 2)
    upper = (ONE - dx) * np.float32(owners[i, j] == own)
    upper += dx * np.float32(owners[i, j + 1] == own)
    lower = (ONE - dx) * np.float32(owners[i + 1, j] == own)
    lower += dx * np.float32(owners[i + 1, j + 1] == own)
    share: np.float32 = (ONE - dy) * upper + dy * lower
    return share


@compiled()
def choose_points(
    logits: np.ndarray,
    labelled: np.ndarray,
    seed: int,
    candidates: np.ndarray,
    random: np.ndarray,
    positions: np.ndarray,
) -> None:
    """Fill in the points of one pair: uncertain candidates, then the random points.

    Args:
        logits: h×w of the query.
        labelled: see above.
        seed: of the candidates, used if it is not 0.
        candidates: C×2; overwritten by those of the seed.
        random: R×2.
        positions: P×2, P ≥ R.
    """
    if seed != 0:
        draw(seed, candidates)
    number = positions.shape[0] - random.shape[0]
    uncertain(bordered(logits), candidates, labelled, positions[:number])
    copy(random, positions[number:])


@compiled("contract", inline=True)
def _read_tile(
    padded: np.ndarray,
    positions: np.ndarray,
    owners: np.ndarray,
    labelled: np.ndarray,
    own: int,
    logits: np.ndarray,
    labels: np.ndarray,
    weights: np.ndarray,
) -> None:
    """Fill in logit, label and weight of a tile of positions."""
    for p in range(positions.shape[0]):
        logits[p] = read(padded, positions[p, 0], positions[p, 1])
    for p in range(positions.shape[0]):
        labels[p] = _inside_share(owners, own, positions[p, 0], positions[p, 1])
    weights[:] = ONE
    if labelled.size > 0:
        for p in range(positions.shape[0]):
            weights[p] = labelled_share(labelled, positions[p, 0], positions[p, 1])


@compiled("contract")
def pair_terms(
    map_logits: np.ndarray,
    positions: np.ndarray,
    owners: np.ndarray,
    labelled: np.ndarray,
    own: int,
    found: np.ndarray,
) -> None:
    """Add up the terms of one matched pair over its points.

    Args:
        map_logits: h×w of the query.
        positions: P×2.
        owners: see above.
        labelled: see above.
        own: number of the pair's segment in the image.
        found: (4,) float64 zeros; the sums of cross-entropy, sigmoid·label,
            sigmoid·weight + label, and weight.
    """
    padded = bordered(map_logits)
    logits, soft, sure, work = _buffers(TILE)
    labels, weights = np.empty(TILE, np.float32), np.empty(TILE, np.float32)
    for first in range(0, positions.shape[0], TILE):
        tile = positions[first : first + TILE]
        count = tile.shape[0]
        _read_tile(padded, tile, owners, labelled, own, logits, labels, weights)
        activations(logits[:count], work, soft[:count], sure[:count])
        _add_terms(logits[:count], labels, weights, soft, sure, found)


@compiled("contract", "reassoc", inline=True)
def _add_terms(
    logits: np.ndarray,
    labels: np.ndarray,
    weights: np.ndarray,
    soft: np.ndarray,
    sure: np.ndarray,
    found: np.ndarray,
) -> None:
    """Add a tile's sums."""
    entropy, common, area, labelled = ZERO, ZERO, ZERO, ZERO
    for p in range(logits.shape[0]):
        entropy += weights[p] * soft[p] - logits[p] * labels[p]
        common += sure[p] * labels[p]
        area += sure[p] * weights[p] + labels[p]
        labelled += weights[p]
    found[0] += entropy
    found[1] += common
    found[2] += area
    found[3] += labelled


@compiled("contract")
def pair_gradient(
    map_logits: np.ndarray,
    positions: np.ndarray,
    owners: np.ndarray,
    labelled: np.ndarray,
    own: int,
    factors: np.ndarray,
    gradient: np.ndarray,
) -> None:
    """Fill in the gradient of one matched pair by its logits.

    Args:
        map_logits: h×w, see :func:`pair_terms`, also for the arguments up to ``own``.
        positions: P×2.
        owners: see above.
        labelled: see above.
        own: number of the segment.
        factors: (3,) float32: of weight·sigmoid - label (the cross-entropy), of the sigmoid's
            derivative times label, and times weight (Dice).
        gradient: h×w.
    """
    height, width = gradient.shape
    padded, total = bordered(map_logits), np.zeros((height + 2, width + 2), np.float32)
    logits, soft, sure, work = _buffers(TILE)
    labels, weights = np.empty(TILE, np.float32), np.empty(TILE, np.float32)
    for first in range(0, positions.shape[0], TILE):
        tile = positions[first : first + TILE]
        count = tile.shape[0]
        _read_tile(padded, tile, owners, labelled, own, logits, labels, weights)
        activations(logits[:count], work, soft[:count], sure[:count])
        for p in range(count):
            slope = sure[p] * (ONE - sure[p])
            by_entropy = factors[0] * (weights[p] * sure[p] - labels[p])
            soft[p] = by_entropy + slope * (factors[1] * labels[p] + factors[2] * weights[p])
        _scatter(tile, soft, total)
    copy(total[1:-1, 1:-1], gradient)


@compiled("contract", inline=True)
def _scatter(positions: np.ndarray, values: np.ndarray, total: np.ndarray) -> None:
    """Add values at positions to the four cells around each, in a bordered map."""
    for p in range(positions.shape[0]):
        j, dx = place(positions[p, 0], total.shape[1] - 2)
        i, dy = place(positions[p, 1], total.shape[0] - 2)
        above, below = (ONE - dy) * values[p], dy * values[p]
        total[i, j] += above * (ONE - dx)
        total[i, j + 1] += above * dx
        total[i + 1, j] += below * (ONE - dx)
        total[i + 1, j + 1] += below * dx
