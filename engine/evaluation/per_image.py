"""Every image's confusion matrix, kept so that test images can be resampled afterwards."""

import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from encoder_ablations.engine.evaluation.confusion import ConfusionMatrix
from encoder_ablations.utils.errors import InputError
from encoder_ablations.utils.files import write_with

ARRAYS = ("starts", "cells", "counts")
DAMAGED = (OSError, ValueError, LookupError, TypeError, EOFError, zipfile.BadZipFile, zlib.error)
"""What NumPy's reader, and using what it read, raise on files with missing or wrong bytes."""


@dataclass(frozen=True)
class ImageCounts:
    """The cells of one image's confusion matrix that are not zero.

    Attributes:
        id: the sample's id.
        cells: int32, truth · K + prediction.
        counts: int64, pixels in each of ``cells``.
    """

    id: str
    cells: np.ndarray
    counts: np.ndarray

    @classmethod
    def of(cls, id: str, matrix: ConfusionMatrix) -> "ImageCounts":
        """Return the counts of one image."""
        flat = matrix.counts.ravel()
        cells = np.flatnonzero(flat)
        return cls(id, cells.astype(np.int32), flat[cells])


@dataclass(frozen=True)
class PerImage:
    """The confusion matrices of a set of images.

    They are sparse: with 150 classes an image fills about 1 % of its cells.

    Attributes:
        ids: N names.
        starts: int64 (N+1,); image i has ``cells[starts[i]:starts[i + 1]]`` and their ``counts``.
        classes: K.
    """

    ids: list[str]
    starts: np.ndarray
    cells: np.ndarray
    counts: np.ndarray
    classes: int

    @classmethod
    def of(cls, images: Sequence[ImageCounts], classes: int) -> "PerImage":
        """Return the counts of all images as one."""
        starts = np.cumsum([0, *(len(image.cells) for image in images)])
        cells = np.concatenate([np.empty(0, np.int32), *(image.cells for image in images)])
        counts = np.concatenate([np.empty(0, np.int64), *(image.counts for image in images)])
        return cls([image.id for image in images], starts, cells, counts, classes)

    def total(self) -> ConfusionMatrix:
        """Return the sum over all images."""
        flat = np.zeros(self.classes**2, np.int64)
        np.add.at(flat, self.cells, self.counts)
        return ConfusionMatrix(flat.reshape(self.classes, self.classes))

    def margins(self) -> np.ndarray:
        """Return the pixels of every image and class: N×3×K float64 of hits, truth, prediction.

        IoU, Dice and accuracy are functions of their sums.
        """
        n, k = len(self.ids), self.classes
        owner = np.repeat(np.arange(n), np.diff(self.starts)) * k
        truth, guess = np.divmod(self.cells, k)
        hits = truth == guess
        parts = (
            np.bincount(owner[hits] + truth[hits], self.counts[hits], n * k),
            np.bincount(owner + truth, self.counts, n * k),
            np.bincount(owner + guess, self.counts, n * k),
        )
        return np.stack([part.reshape(n, k) for part in parts], axis=1)


def image_ious(margins: np.ndarray) -> np.ndarray:
    """Return the mIoU of every image over the classes in its truth, N; NaN without a label.

    Args:
        margins: N×3×K pixels, see :meth:`PerImage.margins`.
    """
    hits, truth, predicted = np.moveaxis(margins, 1, 0)
    present = truth > 0
    ious = hits / np.maximum(1, truth + predicted - hits)
    classes = present.sum(axis=1)
    sums = (ious * present).sum(axis=1)
    means = np.full(len(sums), np.nan)
    np.divide(sums, classes, out=means, where=classes > 0)
    return means


def save_per_image(images: PerImage, path: Path, run_id: str = "") -> None:
    """Write a compressed ``.npz`` that names its run, whole or not at all."""
    arrays = {"ids": np.array(images.ids, np.str_), "starts": images.starts, "cells": images.cells}
    counts = {
        "counts": images.counts,
        "classes": np.array(images.classes),
        "run_id": np.array(run_id),
    }
    write_with(path, lambda file: np.savez_compressed(file, **arrays, **counts))  # type: ignore[arg-type]


def load_per_image(path: Path, total: np.ndarray, run_id: str | None = None) -> PerImage | None:
    """Read what :func:`save_per_image` wrote; None if there is no file.

    Args:
        path: the file.
        total: K×K counts that the images must add up to.
        run_id: the run that it must belong to; None = any.

    Raises:
        InputError: the file is damaged, of another run, or does not belong to ``total``.
    """
    if not path.exists():
        return None
    try:
        images, owner = _read(path)
        fits = images.classes == len(total) and np.array_equal(images.total().counts, total)
    except DAMAGED as error:
        raise InputError(
            f"{path} is damaged ({type(error).__name__}); "
            "delete it to report without intervals over images."
        ) from error
    if run_id not in (None, owner):
        raise InputError(
            f"{path} is that of another run, {owner}; this is the run {run_id}. Restore the run's "
            "own file, or delete this one to report without intervals over images."
        )
    if not fits:
        raise InputError(
            f"{path} does not add up to the confusion matrix of the record beside it; "
            "delete both to run it again, or this file to report without intervals over images."
        )
    return images


def _read(path: Path) -> tuple[PerImage, str]:
    """Return the images of a file, and the run that it names."""
    with np.load(path, allow_pickle=False) as file:
        found = {name: file[name] for name in (*ARRAYS, "ids", "classes", "run_id")}
    arrays = {name: found[name] for name in ARRAYS}
    images = PerImage(ids=found["ids"].tolist(), classes=int(found["classes"]), **arrays)
    if len(images.starts) != len(images.ids) + 1 or images.starts[-1] != len(images.cells):
        raise ValueError("the images' parts do not fit each other")
    return images, found["run_id"].item()
