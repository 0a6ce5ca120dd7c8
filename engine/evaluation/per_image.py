"""What each image contributes to the confusion matrix: kept, so that test images can be resampled afterwards."""

import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from encoder_ablations.engine.evaluation.confusion import ConfusionMatrix
from encoder_ablations.utils.errors import InputError
from encoder_ablations.utils.files import write_with


@dataclass(frozen=True)
class ImageCounts:
    """The cells of one image's confusion matrix that are not zero.

    Attributes:
        cells: int32, truth · K + prediction.
        counts: int64, pixels in each of ``cells``.
    """

    id: str
    cells: np.ndarray
    counts: np.ndarray

    @classmethod
    def of(cls, id: str, matrix: ConfusionMatrix) -> "ImageCounts":
        flat = matrix.counts.ravel()
        cells = np.flatnonzero(flat)
        return cls(id, cells.astype(np.int32), flat[cells])


@dataclass(frozen=True)
class PerImage:
    """The confusion matrices of a set of images, sparse: with 150 classes an image fills about 1 % of its cells.

    Attributes:
        ids: N names.
        starts: int64 (N+1,); image i owns ``cells[starts[i]:starts[i + 1]]`` and the ``counts`` there.
        classes: K.
    """

    ids: list[str]
    starts: np.ndarray
    cells: np.ndarray
    counts: np.ndarray
    classes: int

    @classmethod
    def of(cls, images: Sequence[ImageCounts], classes: int) -> "PerImage":
        starts = np.cumsum([0, *(len(image.cells) for image in images)])
        cells = np.concatenate([np.empty(0, np.int32), *(image.cells for image in images)])
        counts = np.concatenate([np.empty(0, np.int64), *(image.counts for image in images)])
        return cls([image.id for image in images], starts, cells, counts, classes)

    def total(self) -> ConfusionMatrix:
        """The sum over all images."""
        flat = np.zeros(self.classes**2, np.int64)
        np.add.at(flat, self.cells, self.counts)
        return ConfusionMatrix(flat.reshape(self.classes, self.classes))

    def margins(self) -> np.ndarray:
        """N×3×K float64: of every image and class the pixels that are hits, truth, prediction.

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


def save_per_image(images: PerImage, path: Path, run_id: str = "") -> None:
    """Write a compressed ``.npz``, whole or not at all, which names the run that it is of."""
    arrays = {"ids": np.array(images.ids, np.str_), "starts": images.starts, "cells": images.cells}
    counts = {
        "counts": images.counts,
        "classes": np.array(images.classes),
        "run_id": np.array(run_id),
    }
    write_with(path, lambda file: np.savez_compressed(file, **arrays, **counts))  # type: ignore[arg-type]


def load_per_image(path: Path, total: np.ndarray, run_id: str | None = None) -> PerImage | None:
    """Reads what :func:`save_per_image` wrote; None if there is no file.

    Args:
        total: K×K counts that the images must add up to.
        run_id: the run that it must be of; None = of any.

    Raises:
        InputError: the file is damaged, of another run, or does not belong to ``total``.
    """
    if not path.exists():
        return None
    try:
        with np.load(path, allow_pickle=False) as file:
            found = {
                name: file[name]
                for name in ("ids", "starts", "cells", "counts", "classes", "run_id")
            }
        images = PerImage(
            found["ids"].tolist(),
            found["starts"],
            found["cells"],
            found["counts"],
            int(found["classes"]),
        )
        whole = len(images.starts) == len(images.ids) + 1 and images.starts[-1] == len(images.cells)
        same = (
            whole and images.classes == len(total) and np.array_equal(images.total().counts, total)
        )
    except (
        OSError,
        ValueError,
        KeyError,
        IndexError,
        TypeError,
        zipfile.BadZipFile,
        zlib.error,
        EOFError,
    ) as error:
        raise InputError(
            f"{path} is damaged ({type(error).__name__}); delete it to report without intervals over images."
        ) from error
    if run_id is not None and found["run_id"].item() != run_id:
        raise InputError(
            f"{path} is that of another run, {found['run_id'].item()}; this is the run {run_id}. Restore the run's own "
            "file, or delete this one to report without intervals over images."
        )
    if not same:
        raise InputError(
            f"{path} does not add up to the confusion matrix of the record beside it; "
            "delete both to run it again, or this file to report without intervals over images."
        )
    return images
