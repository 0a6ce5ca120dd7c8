"""The compiled loops of :mod:`encoder_ablations.segmenters.ops.upsample_argmax`.

Import it where it is used, not at the head of a module: it brings numba.
"""

import numpy as np

from encoder_ablations.utils.kernels import compiled

TILE = 256
"""Pixels of a row worked on together: what one class touches then stays in the first cache."""
ONE = np.float32(1)


@compiled(inline=True)
def _keep_better(value: float, label: int, x: int, best: np.ndarray, labels: np.ndarray) -> None:
    """Put (value, label) at x if the value is larger than the one there.

    Equal values change nothing. NaN counts as larger than all but NaN.
    """
    old = best[x]
    better = (value > old) | ((value != value) & (old == old))
    best[x] = value if better else old
    labels[x] = label if better else labels[x]


@compiled()
def argmax_rows(maps: np.ndarray, labels: np.ndarray, first: int, last: int) -> None:
    """Fill in rows first..last of the argmax over classes.

    Args:
        maps: K×h×w float32.
        labels: h×w int32.
        first: first row.
        last: row after the last one.
    """
    best = np.empty(maps.shape[2], np.float32)
    for i in range(first, last):
        best[:] = maps[0, i]
        labels[i, :] = 0
        for k in range(1, maps.shape[0]):
            for x in range(best.shape[0]):
                _keep_better(maps[k, i, x], np.int32(k), x, best, labels[i])


@compiled("contract", inline=True)
def _stretch(
    row: np.ndarray,
    lower: np.ndarray,
    upper: np.ndarray,
    t: np.ndarray,
    ends: np.ndarray,
    result: np.ndarray,
) -> None:
    """Fill in one row of a map, interpolated at the columns of G groups of n.

    Args:
        row: of the map.
        lower: G.
        upper: G.
        t: n×G.
        ends: 2×G, overwritten.
        result: n×G.
    """
    left, right = ends[0], ends[1]
    # once for each group, because reading scattered values takes longest
    for g in range(lower.shape[0]):
        left[g], right[g] = row[lower[g]], row[upper[g]]
    for n in range(t.shape[0]):
        for g in range(lower.shape[0]):
            result[n, g] = left[g] * (ONE - t[n, g]) + right[g] * t[n, g]


@compiled("contract", inline=True)
def _update(
    top: np.ndarray, bottom: np.ndarray, t: float, k: int, best: np.ndarray, labels: np.ndarray
) -> None:
    """Compare class k, at one row of a tile, with the best class so far."""
    for x in range(labels.shape[0]):
        _keep_better(top[x] * (ONE - t) + bottom[x] * t, k, x, best, labels)


@compiled("contract")
def label_bands(
    maps: np.ndarray,
    firsts: np.ndarray,
    rows: tuple[np.ndarray, np.ndarray, np.ndarray],
    columns: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray],
    bands: np.ndarray,
    labels: np.ndarray,
    first: int,
    last: int,
) -> None:
    """Fill in the labels of the rows in bands first..last.

    Args:
        maps: K×h×w scores.
        firsts: h×w, their argmax.
        rows: lower, upper and t of each row of ``labels``.
        columns: lower, upper, t and pixels of the groups of columns of ``labels``.
        bands: first row of each band, and the number of rows. The rows of a band lie between the
            same two rows of the maps.
        labels: H0×W0.
        first: first band.
        last: band after the last one.
    """
    lower, upper, t, pixels = columns
    number, groups = pixels.shape
    open_groups = np.empty(groups, np.int64)
    together = max(1, TILE // number)
    for band in range(first, last):
        start, stop = bands[band], bands[band + 1]
        above, below = rows[0][start], rows[1][start]
        count = 0
        # where the four corners agree, so does all between them; the other groups stay open
        for g in range(groups):
            label = firsts[above, lower[g]]
            agree = label == firsts[above, upper[g]] and label == firsts[below, upper[g]]
            if agree and label == firsts[below, lower[g]]:
                labels[start:stop, pixels[0, g] : pixels[number - 1, g] + 1] = label
            else:
                open_groups[count] = g
                count += 1
        # all classes at the open groups, some at a time
        for tile in range(0, count, together):
            own = open_groups[tile : min(tile + together, count)]
            part = lower[own], upper[own], t[:, own].copy(), pixels[:, own].copy()
            _label_tile(maps, above, below, rows[2][start:stop], part, start, labels)


@compiled("contract")
def _label_tile(
    maps: np.ndarray,
    above: int,
    below: int,
    rows_t: np.ndarray,
    columns: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray],
    start: int,
    labels: np.ndarray,
) -> None:
    """Label some groups of columns in a band of rows that begins at ``start``.

    All classes are compared.
    """
    lower, upper, t, pixels = columns
    ends = np.empty((2, lower.shape[0]), np.float32)
    top, bottom = np.empty(t.shape, np.float32), np.empty(t.shape, np.float32)
    flat_top, flat_bottom, places = top.ravel(), bottom.ravel(), pixels.ravel()
    best = np.full((rows_t.shape[0], places.shape[0]), -np.inf, np.float32)
    found = np.zeros((rows_t.shape[0], places.shape[0]), np.int32)
    for k in range(maps.shape[0]):
        _stretch(maps[k, above], lower, upper, t, ends, top)
        _stretch(maps[k, below], lower, upper, t, ends, bottom)
        for y in range(rows_t.shape[0]):
            _update(flat_top, flat_bottom, rows_t[y], np.int32(k), best[y], found[y])
    for y in range(rows_t.shape[0]):
        for x in range(places.shape[0]):
            labels[start + y, places[x]] = found[y, x]
