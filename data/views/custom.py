"""A user's own transforms of training crops, called after all others."""

from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import Any

import numpy as np

from encoder_ablations.data.views.crop import Crop
from encoder_ablations.utils.custom_code.failures import check_arguments, failing_in
from encoder_ablations.utils.custom_code.loading import load_custom
from encoder_ablations.utils.errors import InputError

Transform = Callable[[np.ndarray, np.ndarray, np.random.Generator], object]
IDS = 2**16
"""Masks hold less than this."""


def apply_custom(
    image: np.ndarray,
    mask: np.ndarray,
    references: Sequence[str],
    ignore: int,
    rng: np.random.Generator,
) -> Crop:
    """Return a crop after one transform after the other.

    Args:
        image: 3×H×W uint8, RGB.
        mask: H×W uint8 or uint16 class ids.
        references: ``package.module:name`` of each transform.
        ignore: the id of ignored pixels in ``mask``.
        rng: of this sample.

    Raises:
        InputError: a transform cannot be imported, fails, or returns something else than an image
            and a mask of the same size and with no other ids.
    """
    for reference in references:
        transform = find_transform(reference)
        pixels, labels = np.ascontiguousarray(image.transpose(1, 2, 0)), mask.astype(np.int64)
        with failing_in(reference.partition(":")[0], _where(reference)):
            found = transform(pixels, labels, rng)
        new_pixels, new_labels = _checked(found, mask, ignore, _where(reference))
        image = np.ascontiguousarray(new_pixels.transpose(2, 0, 1))
        mask = np.ascontiguousarray(new_labels.astype(mask.dtype))
    return image, mask


@cache
def find_transform(reference: str) -> Transform:
    """Return the transform that a reference names; an object of it, if it is a class.

    A transform of ``torchvision.transforms.v2`` is wrapped.

    Raises:
        InputError: it cannot be imported, or not called with image, mask and rng.
    """
    where = _where(reference)
    found: Any = load_custom(reference, "transform")
    if isinstance(found, type):
        check_arguments(found, {}, f"{where} is made without arguments")
        with failing_in(reference.partition(":")[0], where):
            found = found()
    if any(each.__module__.startswith("torchvision.transforms.v2") for each in type(found).__mro__):
        return partial(_call_torchvision, found)
    if not callable(found):
        raise InputError(
            f"{where} is {type(found).__name__}; it must be called with image, mask and rng."
        )
    # by position: the names of the parameters are the user's
    check_arguments(found, {}, f"{where} gets image, mask and rng", positional=3)
    return found  # type: ignore[no-any-return]


def _where(reference: str) -> str:
    return f"transform '{reference}'"


def _call_torchvision(
    transform: Any, pixels: np.ndarray, labels: np.ndarray, rng: np.random.Generator
) -> tuple[object, object]:
    """Call a transform of torchvision, whose random numbers are PyTorch's."""
    import torch
    from torchvision import tv_tensors

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(rng.integers(2**63)))
        image, mask = transform(
            tv_tensors.Image(torch.from_numpy(pixels).permute(2, 0, 1)), tv_tensors.Mask(labels)
        )
    return image.permute(1, 2, 0).numpy(), mask.numpy()


def _checked(found: object, before: np.ndarray, ignore: int, where: str) -> Crop:
    """Return what a transform gave, if it is a crop like the one before."""
    if not isinstance(found, tuple | list) or len(found) != 2:
        raise InputError(f"{where} returned {type(found).__name__}, not (image, mask).")
    height, width = before.shape
    pixels = _array(found[0], np.uint8, (height, width, 3), f"{where}: its image")
    labels = _array(found[1], np.int64, (height, width), f"{where}: its mask")
    # a table of ids is quicker than sorting all pixels
    allowed = np.zeros(IDS, dtype=bool)
    allowed[before] = True
    allowed[ignore] = True
    outside = (labels < 0) | (labels >= IDS)
    wrong = labels[outside | ~allowed[np.where(outside, ignore, labels)]]
    if wrong.size:
        raise InputError(
            f"{where}: its mask holds the id {wrong[0]}, which the mask before does not. A "
            f"transform may move labels, or replace them by {ignore} (ignored)."
        )
    return pixels, labels


def _array(found: object, kind: type, shape: tuple[int, ...], where: str) -> np.ndarray:
    wanted = f"{np.dtype(kind).name} {'×'.join(map(str, shape))}"
    if not isinstance(found, np.ndarray):
        raise InputError(f"{where} is {type(found).__name__}, not an array {wanted}.")
    if found.dtype != kind or found.shape != shape:
        given = f"{found.dtype.name} {'×'.join(map(str, found.shape))}"
        raise InputError(f"{where} is {given}, not {wanted}.")
    return found
