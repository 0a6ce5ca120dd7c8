"""Colours of classes in pictures."""

from functools import lru_cache
from itertools import product

import numpy as np

from encoder_ablations.data.datasets.sample import Labels, ignore_label

Color = tuple[int, int, int]

OKABE_ITO: tuple[Color, ...] = (
    (0, 114, 178),
    (230, 159, 0),
    (0, 158, 115),
    (204, 121, 167),
    (86, 180, 233),
    (213, 94, 0),
    (240, 228, 66),
)
"""Safe for colour-blind readers (Okabe & Ito, "Color Universal Design", 2008).

Their black is kept for ignored pixels.
"""

_STEPS = (0, 36, 73, 109, 146, 182, 219, 255)
_FINE_STEPS = tuple(range(0, 256, 17))
_COARSE = 255
"""So many colours come from the coarse grid."""


@lru_cache
def palette(count: int) -> tuple[Color, ...]:
    """Return ``count`` (at most 2000) distinct RGB colours 0..255.

    A shorter palette is the beginning of a longer one. After the first seven, each colour is the
    one of an 8×8×8 grid whose nearest relative among those already taken (and black and white) is
    farthest away in CIELAB. After 255 colours the grid is 16×16×16.
    """
    if count > _COARSE:
        return _extended(palette(_COARSE), count, _FINE_STEPS)
    return _extended(OKABE_ITO[:count], count, _STEPS)


def _extended(colors: tuple[Color, ...], count: int, steps: tuple[int, ...]) -> tuple[Color, ...]:
    grid = np.array(list(product(steps, repeat=3)))
    lab = _lab(grid)
    taken = [*colors]
    # distance of each colour of the grid from its nearest relative
    distance = np.full(len(grid), np.inf)
    for color in [(0, 0, 0), (255, 255, 255), *taken]:
        distance = np.minimum(distance, np.linalg.norm(lab - _lab(np.array([color])), axis=1))
    while len(taken) < count:
        best = int(distance.argmax())
        taken.append((int(grid[best][0]), int(grid[best][1]), int(grid[best][2])))
        distance = np.minimum(distance, np.linalg.norm(lab - lab[best], axis=1))
    return tuple(taken)


def colors_of(spec: Labels) -> tuple[Color, ...]:
    """Return one colour per class: the dataset's own, or those of :func:`palette`."""
    return spec.colors or palette(len(spec.classes))


def colorize(labels: np.ndarray, colors: tuple[Color, ...]) -> np.ndarray:
    """Return class ids H×W as a picture, H×W×3 uint8, RGB; ignored pixels are black.

    Raises:
        ValueError: an id that has no colour.
    """
    ignore = ignore_label(len(colors))
    bad = (labels >= len(colors)) & (labels != ignore) | (labels < 0)
    if bad.any():
        raise ValueError(
            f"class id {labels[bad][0]} has no colour; there are {len(colors)} colours"
        )
    table = np.zeros((ignore + 1, 3), np.uint8)
    table[: len(colors)] = colors
    picture: np.ndarray = table[labels]
    return picture


def _lab(colors: np.ndarray) -> np.ndarray:
    """Return N×3 sRGB 0..255 as N×3 CIELAB, D65."""
    srgb = colors / 255
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    to_xyz = np.array(
        [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    )
    x, y, z = (np.cbrt(value) for value in ((linear @ to_xyz.T) / [0.9505, 1.0, 1.089]).T)
    return np.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], axis=1)
