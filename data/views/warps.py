"""Where the pixels of a rotated, elastically bent crop come from: the same places for image and mask."""

import math
from typing import NamedTuple

import cv2
import numpy as np
from scipy.ndimage import gaussian_filter

from encoder_ablations.data.datasets.sample import mask_type
from encoder_ablations.data.views.augmentation import AugmentationSpec
from encoder_ablations.data.views.resampling import Span, resize


def is_warped(spec: AugmentationSpec) -> bool:
    """Whether crops are rotated or bent at all."""
    return spec.rotate > 0 or spec.elastic is not None


class Places(NamedTuple):
    """For each pixel of a crop, its place in the source image: h×w float64, in pixels from the image's corner.

    Pixel n of the source reaches from n to n + 1.
    """

    y: np.ndarray
    x: np.ndarray


def draw_places(
    rows: Span, columns: Span, spec: AugmentationSpec, rng: np.random.Generator
) -> Places:
    """The crop rows × columns turned around its middle, and bent as in Simard, Steinkraus & Platt (ICDAR 2003)."""
    # in pixels of the crop, from its middle
    down, right = (np.arange(span.length) + 0.5 - span.length / 2 for span in (rows, columns))
    y, x = np.meshgrid(down, right, indexing="ij")
    if spec.rotate:
        angle = np.deg2rad(rng.uniform(-spec.rotate, spec.rotate))
        y, x = np.cos(angle) * y - np.sin(angle) * x, np.sin(angle) * y + np.cos(angle) * x
    if spec.elastic is not None:
        pixels, smoothness = spec.elastic
        # white noise that is smoothed by a Gaussian of width s has the standard deviation 1 / (2·s·√π)
        height = pixels * 2 * smoothness * np.sqrt(np.pi)
        y, x = (
            each + height * gaussian_filter(rng.standard_normal(each.shape), smoothness)
            for each in (y, x)
        )
    return Places(_in_source(rows, y), _in_source(columns, x))


def _in_source(span: Span, places: np.ndarray) -> np.ndarray:
    """From pixels of the crop, counted from its middle, to pixels of the source."""
    return span.start + (places + span.length / 2) * span.scale


def warped(
    image: np.ndarray,
    mask: np.ndarray,
    rows: Span,
    columns: Span,
    places: Places,
    padding: int,
    ignore: int,
) -> tuple[np.ndarray, np.ndarray]:
    """What lies there: image h×w×3 uint8, bilinear; mask h×w, uint8 or uint16, the pixel that the place lies in.

    Args:
        rows, columns: by how much the image is resized; where they begin and end does not matter.
        padding, ignore: the values of what lies outside of the image.
    """
    height, width = mask.shape
    # the image: what is touched is resized, then looked up between the pixels of the result
    below, beside = _around(rows, places.y, height), _around(columns, places.x, width)
    part = resize(image, below, beside)
    y, x = _in_part(below, places.y), _in_part(beside, places.x)
    pixels = cv2.remap(part, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    # the mask: the pixel of the source that the same place lies in
    row, column = (np.floor(each).astype(np.int64) for each in places)
    inside = (row >= 0) & (row < height) & (column >= 0) & (column < width)
    labels = mask[row.clip(0, height - 1), column.clip(0, width - 1)].astype(mask_type(ignore))
    pixels[~inside] = padding
    labels[~inside] = ignore
    return pixels, labels


def _around(span: Span, places: np.ndarray, pixels: int) -> Span:
    """The part of a side of so many pixels that the places touch, resized as much as ``span``."""
    reach = math.ceil(span.scale) + 1  # the neighbours that are interpolated with
    first = min(max(math.floor(places.min()) - reach, 0), pixels - 1)
    last = min(max(math.ceil(places.max()) + reach, first + 1), pixels)
    return Span(first, last - first, max(1, round((last - first) / span.scale)))


def _in_part(part: Span, places: np.ndarray) -> np.ndarray:
    """From pixels of the source to pixels of a resized part, counted from the first one's centre, float32."""
    return ((places - part.start) / part.scale - 0.5).astype(np.float32)
