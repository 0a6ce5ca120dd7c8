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
    row: np.ndarray, lower: np.ndarray, upper: np.ndarray, t: np.ndarray, result: np.ndarray
) -> None:
    """Fill in one row of a map, interpolated at the pixels of a tile."""
    for x in range(lower.shape[0]):
        result[x] = row[lower[x]] * (ONE - t[x]) + row[upper[x]] * t[x]


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
    columns: tuple[np.ndarray, np.ndarray, np.ndarray],
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
        columns: lower, upper and t of each column of ``labels``.
        bands: first row of each band, and the number of rows. The rows of a band lie between the
            same two rows of the maps.
        labels: H0×W0.
        first: first band.
        last: band after the last one.
    """
    lower, upper, t = columns
    open_pixels = np.empty(labels.shape[1], np.int64)
    for band in range(first, last):
        start, stop = bands[band], bands[band + 1]
        above, below = rows[0][start], rows[1][start]
        count = 0
        # where the four corners agree, so does all between them; the other pixels stay open
        for x in range(labels.shape[1]):
            label = firsts[above, lower[x]]
            agree = label == firsts[above, upper[x]] and label == firsts[below, upper[x]]
            if agree and label == firsts[below, lower[x]]:
                labels[start:stop, x] = label
            else:
                open_pixels[count] = x
                count += 1
        # all classes at the open pixels, some at a time
        for tile in range(0, count, TILE):
            pixels = open_pixels[tile : min(tile + TILE, count)]
            t_rows, left, right = rows[2][start:stop], lower[pixels], upper[pixels]
            _label_tile(maps, above, below, t_rows, left, right, t[pixels], start, pixels, labels)


@compiled("contract")
def _label_tile(
    maps: np.ndarray,
    above: int,
    below: int,
    rows_t: np.ndarray,
    lower: np.ndarray,
    upper: np.ndarray,
    t: np.ndarray,
    start: int,
    pixels: np.ndarray,
    labels: np.ndarray,
) -> None:
    """Label some pixels of a band of rows that begins at ``start``, comparing all classes."""
    count = pixels.shape[0]
    top, bottom = np.empty(count, np.float32), np.empty(count, np.float32)
    best = np.full((rows_t.shape[0], count), -np.inf, np.float32)
    found = np.zeros((rows_t.shape[0], count), np.int32)
    for k in range(maps.shape[0]):
        _stretch(maps[k, above], lower, upper, t, top)
        _stretch(maps[k, below], lower, upper, t, bottom)
        for y in range(rows_t.shape[0]):
            _update(top, bottom, rows_t[y], np.int32(k), best[y], found[y])
    for y in range(rows_t.shape[0]):
        for x in range(count):
            labels[start + y, pixels[x]] = found[y, x]
