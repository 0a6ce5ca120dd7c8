"""Values and colours of masks as numbers, and how many pixels have each of them."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TypeVar

import numpy as np

Color = tuple[int, int, int]
Key = TypeVar("Key")

_WEIGHTS = np.array([65536, 256, 1], np.int32)
_SHIFTS = np.array([16, 8, 0])


def code_of(value: int | Color) -> int:
    """Return a value itself, or a colour as R·65536 + G·256 + B."""
    if isinstance(value, int):
        return value
    red, green, blue = value
    return (red << 16) + (green << 8) + blue


def color_of(code: int) -> Color:
    """Return the colour that a code stands for."""
    return code >> 16, code >> 8 & 255, code & 255


def pack(pixels: np.ndarray) -> np.ndarray:
    """Return the code of every pixel.

    Args:
        pixels: …×1 values, or …×3 RGB.
    """
    if pixels.shape[-1] == 1:
        return pixels[..., 0]
    codes: np.ndarray = pixels.astype(np.int32) @ _WEIGHTS
    return codes


def unpack(codes: Sequence[int] | np.ndarray, channels: int) -> np.ndarray:
    """Return N codes as N×C channels."""
    column: np.ndarray = np.array(codes, np.int64).reshape(-1, 1)
    if channels == 1:
        return column
    channel_values: np.ndarray = column >> _SHIFTS & 255
    return channel_values


def count_pixels(codes: np.ndarray) -> Counter[int]:
    """Return how many pixels have each code."""
    values, counts = np.unique(codes, return_counts=True)
    return Counter(dict(zip(values.tolist(), counts.tolist(), strict=True)))


def add_counts(counts: Iterable[Mapping[Key, int]]) -> Counter[Key]:
    """Return the sum of several counts."""
    total: Counter[Key] = Counter()
    for each in counts:
        total.update(each)
    return total
