"""Pairs of an image and a mask in memory, such as those of any PyTorch dataset, as samples."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from PIL import Image
from torch import Tensor

from encoder_ablations.data.datasets.sample import Sample, ignore_label, mask_type
from encoder_ablations.utils.errors import InputError


class Pairs(Protocol):
    """Pairs (image, mask) by their number from 0, as of a ``torch.utils.data.Dataset``."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Any: ...


class PairSamples:
    """Samples of pairs (image, mask).

    Their ids are "0", "1", …. A pair is asked for again whenever its sample is. It must be the same
    each time; random transforms belong to the recipe's augmentation.

    Args:
        pairs: images are uint8, RGB 0..255: 3×H×W or H×W×3, or PIL images. Masks are H×W class
            ids 0..K-1, and 255 (65535 with more than 255 classes) where pixels do not count.
        classes: their names.
        name: what messages call the pairs.
    """

    def __init__(self, pairs: Pairs, classes: Sequence[str], name: str) -> None:
        self._pairs = pairs
        self._classes = len(classes)
        self._name = name

    def __len__(self) -> int:
        return len(self._pairs)

    def __getitem__(self, index: int) -> Sample:
        """Return a sample.

        Raises:
            InputError: it is not such a pair; the message names it.
        """
        where = f"{self._name}[{index}]"
        pair = self._pairs[index]
        if not isinstance(pair, tuple | list) or len(pair) != 2:
            raise InputError(f"{where} is not a pair (image, mask) but {_described(pair)}.")
        image = _image(pair[0], where)
        mask = self._mask(pair[1], where)
        if mask.shape != image.shape[:2]:
            raise InputError(
                f"{where}: the image is {_shape(image.shape[:2])} (H×W), its mask "
                f"{_shape(mask.shape)}. Both need the same size."
            )
        ignore = ignore_label(self._classes)
        return Sample(image, mask, str(index), image.shape[:2], str(index), ignore)

    def image_file(self, index: int) -> Path:
        """Refuse: the images are in no file, so that features of them are not stored."""
        raise NotImplementedError(f"{self._name}[{index}] is not in a file")

    def _mask(self, mask: Any, where: str) -> np.ndarray:
        """Return a mask as H×W uint8, or uint16 with more than 255 classes.

        Raises:
            InputError: it has another shape or type, or a value that is no class.
        """
        array = np.asarray(mask)
        if array.ndim != 2 or array.dtype.kind not in "iub":
            raise InputError(
                f"{where}: a mask is H×W whole numbers, the ids of classes, not {_described(mask)}."
            )
        ids = array.astype(np.int64)
        ignore = ignore_label(self._classes)
        wrong = ids[((ids < 0) | (ids >= self._classes)) & (ids != ignore)]
        if wrong.size:
            raise InputError(
                f"{where}: the mask holds {wrong[0]}. Allowed are the ids 0..{self._classes - 1} "
                f"of the {self._classes} classes, and {ignore} where pixels do not count."
            )
        return ids.astype(mask_type(ignore))


def _image(image: Any, where: str) -> np.ndarray:
    """Return an image as H×W×3 uint8.

    Raises:
        InputError: it has another shape or type.
    """
    if isinstance(image, Image.Image):
        return np.asarray(image.convert("RGB"))
    array = np.asarray(image)
    if array.ndim == 3 and _is_channels_first(image, array.shape):
        array = array.transpose(1, 2, 0)
    if array.ndim != 3 or array.shape[2] != 3 or array.dtype != np.uint8 or not array.size:
        raise InputError(
            f"{where}: an image is uint8, RGB 0..255, of shape 3×H×W or H×W×3, or a PIL image, not "
            f"{_described(image)}. It is normalised by the model."
        )
    return np.ascontiguousarray(array)


def _is_channels_first(image: Any, shape: tuple[int, ...]) -> bool:
    """Whether an image is 3×H×W; of the shape 3×H×3 a tensor is, an array is not."""
    if shape[0] == shape[2] == 3:
        return isinstance(image, Tensor)
    return shape[0] == 3


def _described(value: Any) -> str:
    """Return type and shape of a value in words."""
    shape, dtype = getattr(value, "shape", None), getattr(value, "dtype", None)
    if shape is None:
        return f"a {type(value).__name__}"
    return f"{_shape(shape) or 'one number'} of {dtype}"


def _shape(shape: Sequence[int]) -> str:
    return "×".join(map(str, shape))
