"""Rotated and elastically bent crops: image and mask are read at the same places."""

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
    """For each pixel of a crop, its place in the source image.

    Places are h×w float64, in pixels from the image's corner. Pixel n of the source reaches from n
    to n + 1.
    """

    y: np.ndarray
    x: np.ndarray


def draw_places(
    rows: Span, columns: Span, spec: AugmentationSpec, rng: np.random.Generator
) -> Places:
    """Draw the places of a crop that is turned around its middle and elastically bent.

    It is bent as in Simard, Steinkraus & Platt (ICDAR 2003).
    """
    # in pixels of the crop, from its middle
    down, right = (np.arange(span.length) + 0.5 - span.length / 2 for span in (rows, columns))
    y, x = np.meshgrid(down, right, indexing="ij")
    if spec.rotate:
        angle = np.deg2rad(rng.uniform(-spec.rotate, spec.rotate))
        y, x = np.cos(angle) * y - np.sin(angle) * x, np.sin(angle) * y + np.cos(angle) * x
    if spec.elastic is not None:
        pixels, smoothness = spec.elastic
        # white noise, smoothed by a Gaussian of width s, has the deviation 1 / (2·s·√π)
        height = pixels * 2 * smoothness * np.sqrt(np.pi)
        y, x = (
            each + height * gaussian_filter(rng.standard_normal(each.shape), smoothness)
            for each in (y, x)
        )
    return Places(_in_source(rows, y), _in_source(columns, x))


def _in_source(span: Span, places: np.ndarray) -> np.ndarray:
    """Return pixels of the crop, counted from its middle, as pixels of the source."""
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
    """Return image and mask as they are at the places.

    The image, h×w×3 uint8, is interpolated bilinearly. The mask, h×w uint8 or uint16, is that of
    the pixel that the place lies in.

    Args:
        image: H×W×3 uint8.
        mask: H×W class ids.
        rows: by how much the height is resized; where it begins and ends does not matter.
        columns: the same for the width.
        places: of the crop's pixels.
        padding: the image's value outside of it.
        ignore: the mask's value outside of it.
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
    labels = mask[row.clip(0, height - 1), column.clip(0, width - 1)]
    labels = labels.astype(mask_type(ignore), copy=False)
    pixels[~inside] = padding
    labels[~inside] = ignore
    return pixels, labels


def _around(span: Span, places: np.ndarray, pixels: int) -> Span:
    """Return the part of a side that the places touch, resized as much as ``span``."""
    reach = math.ceil(span.scale) + 1  # the neighbours that are interpolated with
    first = min(max(math.floor(places.min()) - reach, 0), pixels - 1)
    last = min(max(math.ceil(places.max()) + reach, first + 1), pixels)
    return Span(first, last - first, max(1, round((last - first) / span.scale)))


def _in_part(part: Span, places: np.ndarray) -> np.ndarray:
    """Return pixels of the source as pixels of a resized part, from its first centre, float32."""
    return ((places - part.start) / part.scale - 0.5).astype(np.float32)
