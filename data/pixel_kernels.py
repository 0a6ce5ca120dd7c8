"""The compiled loops of the input pipeline: resizing, colours, ids of masks.

They compute what Pillow computes, bit for bit, on the pixels that are needed. Import this module where it is used, not
at the head of a module: it brings numba.
"""

import numpy as np

from encoder_ablations.utils.kernels import compiled

BITS = 22
"""Binary digits after the point of a filter's weights, as in Pillow's ``Resample.c``."""
_HALF = 1 << (BITS - 1)
ONE, TWO, THREE, SIX, NINE = np.uintp(1), np.uintp(2), np.uintp(3), np.uintp(6), np.uintp(9)
"""Unsigned, since numba asks of every signed index whether it counts from the end."""

_VALUE = np.array([0, 1, 1, 2, 2, 0], np.uintp)
_MIDDLE = np.array([1, 0, 2, 1, 0, 2], np.uintp)
_LOW = np.array([2, 2, 0, 0, 1, 1], np.uintp)
"""In each sixth of the colour circle: which channel is the largest, between, and smallest."""


@compiled(inline=True)
def _clip(value: int) -> int:
    return min(max(value >> BITS, 0), 255)


@compiled()
def filter_columns(
    source: np.ndarray, first_row: int, firsts: np.ndarray, weights: np.ndarray, result: np.ndarray
) -> None:
    """Weighted means along rows: H×W×3 uint8 -> n×w×3 uint8, of the n rows from ``first_row`` on.

    Args:
        firsts: w uintp, the first source column of each result column.
        weights: w×taps int32, 2^22 = 1.
    """
    taps = weights.shape[1]
    width = result.shape[1]
    for y in range(result.shape[0]):
        row, line = source[first_row + y].reshape(-1), result[y].reshape(-1)
        if taps == 2:  # the usual numbers of taps as straight code
            for x in range(width):
                place, w0, w1 = firsts[x] * THREE, weights[x, 0], weights[x, 1]
                for channel in range(3):
                    line[3 * x + channel] = _clip(_HALF + row[place] * w0 + row[place + THREE] * w1)
                    place += ONE
        elif taps == 3:
            for x in range(width):
                place, w0, w1, w2 = firsts[x] * THREE, weights[x, 0], weights[x, 1], weights[x, 2]
                for channel in range(3):
                    total = _HALF + row[place] * w0 + row[place + THREE] * w1 + row[place + SIX] * w2
                    line[3 * x + channel] = _clip(total)
                    place += ONE
        elif taps == 4:
            for x in range(width):
                place, w0, w1, w2, w3 = firsts[x] * THREE, weights[x, 0], weights[x, 1], weights[x, 2], weights[x, 3]
                for channel in range(3):
                    total = _HALF + row[place] * w0 + row[place + THREE] * w1 + row[place + SIX] * w2
                    line[3 * x + channel] = _clip(total + row[place + NINE] * w3)
                    place += ONE
        else:
            for x in range(width):
                for channel in range(3):
                    place, total = firsts[x] * THREE + np.uintp(channel), _HALF
                    for tap in range(taps):
                        total += row[place] * weights[x, tap]
                        place += THREE
                    line[3 * x + channel] = _clip(total)


@compiled()
def filter_rows(source: np.ndarray, firsts: np.ndarray, weights: np.ndarray, result: np.ndarray) -> None:
    """Weighted means along columns: n×w uint8 -> h×w uint8; ``firsts`` and ``weights`` as above."""
    width = source.shape[1]
    sums = np.empty(width, np.int32)
    for y in range(result.shape[0]):
        sums[:] = _HALF
        for tap in range(weights.shape[1]):
            weight = weights[y, tap]
            if weight:
                row = source[firsts[y] + tap]
                for x in range(width):
                    sums[x] += np.int32(row[x]) * weight
        for x in range(width):
            result[y, x] = _clip(sums[x])


@compiled()
def look_up(pixels: np.ndarray, table: np.ndarray) -> None:
    """Replaces each value of a flat uint8 array by its entry in a table of 256."""
    for place in range(pixels.shape[0]):
        pixels[place] = table[pixels[place]]


@compiled()
def hue_table(table: np.ndarray) -> None:
    """Hue 0..255 by (which channel is largest and which smallest, middle distance, whole distance): 6×256×256 uint8.

    Entry 2·m + n: channel m is the largest; n = 1 where the one after it (R, G, B, R, …) is the smallest. The middle
    distance is that of the third channel from the largest.
    """
    for chroma in range(1, 256):
        for middle in range(chroma + 1):
            ratio = np.float32(middle) / np.float32(chroma)
            one = np.float32(1)
            for largest in range(3):
                for following in range(2):
                    # (after − before): the channel after the largest has the distance 1 if it is the smallest
                    after = one if following else ratio
                    before = ratio if following else one
                    if largest == 0:
                        hue = np.float32(before - after)
                    else:
                        hue = np.float32(2.0 * largest + np.float64(before) - np.float64(after))
                    turn = np.float32((np.float64(hue) / 6.0 + 1.0) % 1.0)
                    table[2 * largest + following, middle, chroma] = min(max(int(np.float64(turn) * 255.0), 0), 255)


@compiled()
def turn_colors(pixels: np.ndarray, hues: np.ndarray, turned: np.ndarray, saturated: np.ndarray) -> None:
    """Changes hue and saturation of n×3 uint8 RGB in place, through 8-bit HSV as Pillow converts it.

    Args:
        hues: what :func:`hue_table` fills.
        turned, saturated: 256 uint8, the new value of each hue and saturation.
    """
    sectors = np.empty(256, np.uintp)
    parts = np.empty(256, np.float32)
    for hue in range(256):
        scaled = np.float64(turned[hue]) * 6.0 / 255.0
        parts[hue] = np.float32(scaled - np.floor(scaled))
        sectors[hue] = np.uintp(np.floor(scaled)) % np.uintp(6)
    shares = np.empty(256, np.float32)
    for saturation in range(256):
        shares[saturation] = np.float32(np.float64(saturated[saturation]) / 255.0)
    for place in range(pixels.shape[0]):
        red, green, blue = np.int32(pixels[place, 0]), np.int32(pixels[place, 1]), np.int32(pixels[place, 2])
        value, least = max(red, green, blue), min(red, green, blue)
        chroma = value - least
        if chroma == 0:
            continue  # grey has no hue and stays grey
        middle = 2 * value + least - red - green - blue  # how far the third channel lies below the largest
        first, second = red == value, green == value
        kind = 0 if first else 2 if second else 4
        following = green if first else blue if second else red
        kind += following == least
        hue = hues[np.uintp(kind), np.uintp(middle), np.uintp(chroma)]
        share = shares[np.uintp(np.float64(np.float32(chroma) / np.float32(value)) * 255.0)]
        sector, part = sectors[hue], parts[hue]
        level = np.float64(value)
        rising = np.float64(share) * (1.0 - np.float64(part))
        falling = np.float64(share * part)
        between = level * (1.0 - (falling if sector & 1 else rising))
        pixels[place, _VALUE[sector]] = value
        pixels[place, _MIDDLE[sector]] = np.uint8(np.int32(between + 0.5))
        pixels[place, _LOW[sector]] = np.uint8(np.int32(level * (1.0 - np.float64(share)) + 0.5))


@compiled()
def place_view(
    pixels: np.ndarray,
    mask: np.ndarray,
    rows: np.ndarray,
    columns: np.ndarray,
    flip: bool,
    padding: int,
    ignore: int,
    image: np.ndarray,
    labels: np.ndarray,
) -> None:
    """Puts h×w×3 ``pixels`` and the mask's pixels at (rows, columns) into the top left of a canvas.

    Args:
        rows, columns: uintp.
        flip: mirrors the pixels; the columns of the mask are taken in the order that is given.
        image: 3×H×W uint8, labels: H×W uint8 or uint16; both are filled, with ``padding`` and ``ignore`` where
            nothing lies.
    """
    height, width = pixels.shape[:2]
    flat = pixels.reshape(height, -1)
    for y in range(labels.shape[0]):
        filled = width if y < height else 0
        if filled:
            line, row, truth = flat[y], labels[y], mask[rows[y]]
            red, green, blue = image[0, y], image[1, y], image[2, y]
            place = np.uintp(3 * (width - 1)) if flip else np.uintp(0)
            for x in range(width):
                red[x], green[x], blue[x] = line[place], line[place + ONE], line[place + TWO]
                place = place - THREE if flip else place + THREE
            for x in range(width):
                row[x] = truth[columns[x]]
        image[:, y, filled:] = padding
        labels[y, filled:] = ignore


@compiled()
def warp(
    source: np.ndarray,
    mask: np.ndarray,
    rows: np.ndarray,
    columns: np.ndarray,
    limits: np.ndarray,
    scales: tuple[float, float],
    padding: int,
    ignore: int,
    image: np.ndarray,
    labels: np.ndarray,
) -> None:
    """Takes each pixel from its place in a resized image, bilinearly, and its label from the mask's own pixels.

    Args:
        source: the part of the resized image from row limits[2], column limits[3] on: n×m×3 uint8.
        rows, columns: h×w float32, in pixels of the resized image, which has limits[0] × limits[1] of them.
        scales: pixels of the mask per pixel of the resized image.
    """
    for i in range(rows.shape[0]):
        for j in range(rows.shape[1]):
            y, x = np.float64(rows[i, j]), np.float64(columns[i, j])
            if not (-0.5 <= y < limits[0] - 0.5 and -0.5 <= x < limits[1] - 0.5):
                image[i, j, :] = padding
                labels[i, j] = ignore
                continue
            row = min(int((y + 0.5) * scales[0]), mask.shape[0] - 1)
            labels[i, j] = mask[row, min(int((x + 0.5) * scales[1]), mask.shape[1] - 1)]
            y = min(max(y - limits[2], 0.0), source.shape[0] - 1.0)
            x = min(max(x - limits[3], 0.0), source.shape[1] - 1.0)
            top, left = int(y), int(x)
            bottom, right = min(top + 1, source.shape[0] - 1), min(left + 1, source.shape[1] - 1)
            v, u = y - top, x - left
            for channel in range(3):
                upper = (1 - u) * source[top, left, channel] + u * source[top, right, channel]
                lower = (1 - u) * source[bottom, left, channel] + u * source[bottom, right, channel]
                image[i, j, channel] = np.uint8(np.int32((1 - v) * upper + v * lower + 0.5))


@compiled()
def translate(ids: np.ndarray, table: np.ndarray, result: np.ndarray) -> bool:
    """Flat ids -> classes by a table, any integers; False: an id has none (-1), or lies beyond the table."""
    valid = True
    for place in range(ids.shape[0]):
        value = ids[place]
        if value < 0 or value >= table.shape[0]:
            return False
        found = table[value]
        valid &= found >= 0
        result[place] = found
    return valid
