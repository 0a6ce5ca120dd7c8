"""A training crop mixed with another one: MixUp, CutMix and ClassMix.

Ignored pixels are moved with their image, so they stay ignored.
"""

import math

import numpy as np

from encoder_ablations.data.views.crop import Crop


def blended(image: np.ndarray, other: np.ndarray, share: float) -> np.ndarray:
    """Return ``share`` of an image and the rest of another one, rounded: 3×H×W uint8.

    MixUp: Zhang et al., ICLR 2018, eq. 1.
    """
    mixture: np.ndarray = np.rint(share * image.astype(np.float32) + (1 - share) * other)
    return mixture.astype(np.uint8)


def with_box(own: Crop, other: Crop, share: float, rng: np.random.Generator) -> Crop:
    """Return a crop in which a random box is that of the other one.

    CutMix: Yun et al., ICCV 2019, appendix A. The box has 1 - ``share`` of the area and the shape
    of the crop. Its middle is drawn evenly; what lies outside of the crop is cut off.

    Args:
        own: image 3×H×W uint8 and mask H×W.
        other: the same of the crop that the box is taken from.
        share: λ, 0..1.
        rng: draws the middle of the box.
    """
    height, width = own[1].shape
    side = math.sqrt(1 - share)
    rows = _around(int(rng.integers(height)), int(height * side), height)
    columns = _around(int(rng.integers(width)), int(width * side), width)
    inside = np.zeros((height, width), dtype=bool)
    inside[rows, columns] = True
    return _pasted(own, other, inside)


def _around(middle: int, length: int, limit: int) -> slice:
    """Return ``length`` pixels around a middle, without those outside of 0..``limit``."""
    return slice(max(0, middle - length // 2), min(limit, middle + length // 2))


def with_classes(own: Crop, other: Crop, ignore: int, rng: np.random.Generator) -> Crop:
    """Return a crop onto which half of the classes of the other one are pasted.

    ClassMix: Olsson et al., WACV 2021, algorithm 1, with ground truth in place of predictions. Of
    an odd number of classes the smaller half is taken, as in the authors' code.

    Args:
        own: image 3×H×W uint8 and mask H×W.
        other: the same of the crop that classes are taken from.
        ignore: the id of ignored pixels, which are never pasted.
        rng: draws the classes.
    """
    classes = np.unique(other[1])
    classes = classes[classes != ignore]
    chosen = rng.permutation(classes)[: len(classes) // 2]
    return _pasted(own, other, np.isin(other[1], chosen))


def _pasted(own: Crop, other: Crop, inside: np.ndarray) -> Crop:
    """Return the own crop with the pixels of the other one where ``inside``, H×W bool."""
    image, mask = (np.where(inside, new, old) for old, new in zip(own, other, strict=True))
    return image, mask
