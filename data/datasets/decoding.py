"""From a mask file to class ids: how a file holds values, and what each value means."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from encoder_ablations.data.datasets.reading import read_channels, read_ids
from encoder_ablations.data.datasets.spec import LARGEST_VALUE, DatasetSpec, MaskFormat
from encoder_ablations.data.datasets.supervisely import read_annotation
from encoder_ablations.utils.errors import InputError
from encoder_ablations.utils.texts import first_names, plural

OPAQUE = 128
"""An alpha matte's foreground begins here."""
BRIGHT = 128
"""A channel of a colour counts as 255 from here on, where ``round_colors`` is set."""


def read_values(path: Path, spec: DatasetSpec) -> np.ndarray:
    """Return the integers that a mask file stands for, H×W.

    They are those of the file, before ``value_map`` and ``ignore_ids``.

    Raises:
        InputError: the file is damaged, lossy, or not of this format.
    """
    readers: dict[MaskFormat, Callable[[Path], np.ndarray]] = {
        "ids": read_ids,
        "colors": partial(_read_colors, spec=spec),
        "ade20k": read_ade20k,
        "matte": _read_matte,
        "supervisely": partial(read_annotation, titles=spec.mask_titles or ()),
    }
    return readers[spec.mask_format](path)


def _read_colors(path: Path, spec: DatasetSpec) -> np.ndarray:
    """Return the position of every pixel's colour in ``mask_colors``."""
    channels = read_channels(path)
    if spec.round_colors:
        channels = (channels >= BRIGHT).astype(np.uint8) * np.uint8(255)
    return _positions(path, channels, np.array(spec.mask_colors, np.uint8))


def _read_matte(path: Path) -> np.ndarray:
    """Return 1 for the foreground of an alpha matte, 0 for the background."""
    channels = read_channels(path)
    if (channels != channels[..., :1]).any():
        raise InputError(
            f"{path} is a colour picture; an alpha matte is grey: 0 background, 255 foreground."
        )
    foreground: np.ndarray = channels[..., 0] >= OPAQUE
    return foreground.astype(np.uint8)


def read_ade20k(path: Path) -> np.ndarray:
    """Return positions in the index of ADE20K's objects, 1 = the first one, 0 = none.

    The red channel holds tens of 256 positions, the green one the rest; the blue one numbers
    objects.

    https://github.com/CSAILVision/ADE20K, ``utils/utils_ade20k.py``
    """
    channels = read_channels(path)
    red, green = channels[..., 0].astype(np.int32), channels[..., 1]
    positions: np.ndarray = red // 10 * 256 + green
    return positions


def class_table(spec: DatasetSpec) -> np.ndarray:
    """Return a table: value in a mask file -> class id.

    ``spec.ignore_label`` stands for ignored values, -1 for unknown ones.
    """
    table = np.full(LARGEST_VALUE + 1, -1, np.int32)
    if spec.ignore_others:
        table[:] = spec.ignore_label
    if spec.reduce_zero_label:
        table[0] = spec.ignore_label
        table[1 : len(spec.classes) + 1] = np.arange(len(spec.classes))
    elif spec.value_map is None:
        table[: len(spec.classes)] = np.arange(len(spec.classes))
    table[list(spec.ignore_ids)] = spec.ignore_label
    for value, target in (spec.value_map or {}).items():
        table[value] = target
    return table


def _positions(path: Path, channels: np.ndarray, colors: np.ndarray) -> np.ndarray:
    """Return the position of every pixel's colour in ``colors``, N×3 uint8."""
    packed, known = _pack(channels), _pack(colors)
    # search in the sorted colours; the nearest is wrong for a colour that is not among them
    order = np.argsort(known)
    places = np.searchsorted(known[order], packed).clip(max=len(known) - 1)
    found: np.ndarray = order[places]
    strange = known[found] != packed
    if strange.any():
        values, counts = np.unique(packed[strange], return_counts=True)
        most_frequent = values[np.argsort(-counts)][:4].tolist()
        shown = [str((value >> 16, value >> 8 & 255, value & 255)) for value in most_frequent]
        raise InputError(
            f"{path} holds {plural(len(values), 'colour')} that mask_colors lacks: "
            f"{first_names(shown)}. Add what is missing, save the mask without smoothing and JPEG, "
            "or set round_colors where all colours are of 0 and 255."
        )
    return found.astype(np.uint16)


def _pack(colors: np.ndarray) -> np.ndarray:
    """Return one integer per colour of …×3 uint8."""
    packed: np.ndarray = colors.astype(np.int32) @ np.array([1 << 16, 1 << 8, 1], np.int32)
    return packed
