"""Where the pixels of a rotated, elastically bent crop come from: the same places for image and mask."""

from typing import NamedTuple

import numpy as np
from scipy.ndimage import gaussian_filter

from encoder_ablations.data.augmentation import AugmentationSpec
from encoder_ablations.data.resampling import Span, resize
from encoder_ablations.data.sample import mask_type


def is_warped(spec: AugmentationSpec) -> bool:
    """Whether crops are rotated or bent at all."""
    return spec.rotate > 0 or spec.elastic is not None


class Places(NamedTuple):
    """For each pixel of a crop, its place in the resized image: h×w float32, in pixels from the first one's centre."""

    y: np.ndarray
    x: np.ndarray


def draw_places(rows: Span, columns: Span, spec: AugmentationSpec, rng: np.random.Generator) -> Places:
    """The crop rows × columns turned around its middle, and bent as in Simard, Steinkraus & Platt (ICDAR 2003)."""
    down, right = ((span.length - 1) / 2 for span in (rows, columns))
    y, x = np.meshgrid(np.arange(rows.length) - down, np.arange(columns.length) - right, indexing="ij")
    if spec.rotate:
        angle = np.deg2rad(rng.uniform(-spec.rotate, spec.rotate))
        y, x = np.cos(angle) * y - np.sin(angle) * x, np.sin(angle) * y + np.cos(angle) * x
    if spec.elastic is not None:
        pixels, smoothness = spec.elastic
        # white noise that is smoothed by a Gaussian of width s has the standard deviation 1 / (2·s·√π)
        height = pixels * 2 * smoothness * np.sqrt(np.pi)
        y, x = (each + height * gaussian_filter(rng.standard_normal(each.shape), smoothness) for each in (y, x))
    return Places((y + down + rows.start).astype(np.float32), (x + right + columns.start).astype(np.float32))


def warped(
    image: np.ndarray, mask: np.ndarray, rows: Span, columns: Span, places: Places, padding: int, ignore: int
) -> tuple[np.ndarray, np.ndarray]:
    """What lies there: image h×w×3 uint8, bilinear; mask h×w, uint8 or uint16, the pixel that the place lies in.

    Args:
        rows, columns: how the image is resized; where they begin and end does not matter.
        padding, ignore: the values of what lies outside of the image.
    """
    from encoder_ablations.data import pixel_kernels as kernels  # brings numba: only when needed

    around = [_around(span, each) for span, each in ((rows, places.y), (columns, places.x))]
    pixels = np.empty((*places.y.shape, 3), np.uint8)
    labels = np.empty(places.y.shape, mask_type(ignore))
    scales = rows.source / rows.full, columns.source / columns.full
    limits = np.array([rows.full, columns.full, around[0].start, around[1].start], np.int64)
    kernels.warp(resize(image, *around), mask, places.y, places.x, limits, scales, padding, ignore, pixels, labels)
    return pixels, labels


def _around(span: Span, places: np.ndarray) -> Span:
    """The part of a side that the places touch."""
    first = min(max(int(np.floor(places.min())), 0), span.full - 1)
    last = min(max(int(np.ceil(places.max())) + 1, first + 1), span.full)
    return Span(first, last - first, span.full, span.source)
