"""Which pixels of a mask lie inside an area, and which only between two others, as smoothing leaves them."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import ndimage

from encoder_ablations.data.datasets.reading import FileProblem, opened, read_ids

LARGEST = 500_000
"""Pixels of a mask that are looked at; larger ones are thinned."""
BLACK_AND_WHITE = 0.97
"""Share of nearly black and nearly white pixels in a JPEG that is a mask."""
NEAR_WHITE, NEAR_BLACK = 224, 31
MOST_GREYS, MOST_COLORS = 64, 256
"""Values in one picture that a mask hardly has."""
SMOOTH = 3
"""So many values between 0 and 255 without areas are no thin classes."""
ROUGH = 0.3
"""Share of pixels outside of areas from which on a file of many values is a picture."""
_PACK = np.array([65536, 256, 1], np.int32)


@dataclass(frozen=True)
class View:
    """A file that may be a mask.

    Attributes:
        codes: H×W int32, its values, or R·65536 + G·256 + B.
        color: whether codes are colours.
        picture: whether it is a photograph, a visualisation or the like and no mask.
    """

    codes: np.ndarray
    color: bool
    picture: bool


def view(path: Path) -> View | None:
    """Reads a file in whatever form it is; None where it cannot be read."""
    try:
        with opened(path) as image:
            if image.format in ("JPEG", "MPO", "WEBP"):
                return _lossy(_thin(np.asarray(image.convert("L"))))
            if len(image.getbands()) > 1:
                return _channels(_thin(np.asarray(image.convert("RGB"))))
        codes = _thin(read_ids(path)).astype(np.int32)
    except FileProblem:
        return None
    return _grey(codes)


def _thin(pixels: np.ndarray) -> np.ndarray:
    step = int(np.ceil(np.sqrt(pixels.shape[0] * pixels.shape[1] / LARGEST)))
    return pixels[::step, ::step]


def _lossy(pixels: np.ndarray) -> View:
    clear = np.mean((pixels <= NEAR_BLACK) | (pixels >= NEAR_WHITE))
    return View((pixels >= 128) * np.int32(255), False, bool(clear < BLACK_AND_WHITE))


def _channels(pixels: np.ndarray) -> View:
    if (pixels == pixels[..., :1]).all():
        return _grey(pixels[..., 0].astype(np.int32))
    codes = pixels.astype(np.int32) @ _PACK
    return View(codes, True, _is_picture(codes, MOST_COLORS))


def _grey(codes: np.ndarray) -> View:
    """Values; 0 and 255 alone where all others are smoothed edges between these."""
    edges = (codes != 0) & (codes != 255)
    if codes.max() == 255 and len(np.unique(codes[edges])) >= SMOOTH:
        areas = inside_areas(codes)
        if not areas[edges].any() and edges.mean() <= ROUGH and (areas & (codes == 255)).any():
            return View((codes >= 128) * np.int32(255), False, False)
    return View(codes, False, _is_picture(codes, MOST_GREYS))


def _is_picture(codes: np.ndarray, most: int) -> bool:
    return len(np.unique(codes)) > most and float(np.mean(~inside_areas(codes))) > ROUGH


def inside_areas(codes: np.ndarray) -> np.ndarray:
    """H×W bool: pixels whose eight neighbours hold the same value."""
    lowest = ndimage.minimum_filter(codes, 3, mode="nearest")
    return lowest == ndimage.maximum_filter(codes, 3, mode="nearest")


def between_neighbours(channels: np.ndarray) -> np.ndarray:
    """H×W bool: pixels of H×W×C that lie between their neighbours in every channel, and strictly in one of them."""
    ring = np.ones((3, 3), bool)
    ring[1, 1] = False
    every = np.ones(channels.shape[:2], bool)
    some = np.zeros(channels.shape[:2], bool)
    for channel in np.moveaxis(channels, -1, 0):
        lowest = ndimage.minimum_filter(channel, footprint=ring, mode="nearest")
        highest = ndimage.maximum_filter(channel, footprint=ring, mode="nearest")
        every &= (lowest <= channel) & (channel <= highest)
        some |= (lowest < channel) & (channel < highest)
    return every & some


def pieces_of(codes: np.ndarray, value: int) -> int:
    """How many connected pieces the pixels of a value form."""
    return int(ndimage.label(codes == value, np.ones((3, 3), int))[1])
