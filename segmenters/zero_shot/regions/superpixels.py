"""Superpixels as regions."""

from collections.abc import Callable

import numpy as np

from encoder_ablations.segmenters.zero_shot.methods import SuperpixelSpec
from encoder_ablations.utils.optional import missing


def superpixel_regions(image: np.ndarray, spec: SuperpixelSpec) -> np.ndarray:
    """Return the superpixel of every pixel by SLIC, H×W int32 from 1.

    Args:
        image: H×W×3 uint8, RGB.
        spec: how many, and how compact.

    Raises:
        InputError: scikit-image is not installed.
    """
    found: np.ndarray = load_slic()(
        image, n_segments=spec.count, compactness=spec.compactness, start_label=1
    )
    return found.astype(np.int32)


def load_slic() -> Callable[..., np.ndarray]:
    """Return scikit-image's function.

    Raises:
        InputError: scikit-image is not installed.
    """
    try:
        from skimage.segmentation import slic
    except ImportError as error:
        raise missing("scikit-image", error) from error
    found: Callable[..., np.ndarray] = slic
    return found
