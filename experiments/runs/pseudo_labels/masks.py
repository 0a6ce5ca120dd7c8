"""Predicted masks in files: written once for all runs of a study that share a teacher."""

import hashlib
import json
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from filelock import FileLock
from PIL import Image

from encoder_ablations.data.datasets.folder import FolderDataset
from encoder_ablations.data.datasets.pseudo_labels.dataset import read_sure_mask
from encoder_ablations.data.datasets.pseudo_labels.spec import PseudoLabelSpec
from encoder_ablations.data.datasets.reading import read_image
from encoder_ablations.data.datasets.sample import mask_type
from encoder_ablations.engine.inference.predictor import Predictor
from encoder_ablations.experiments.runs.record_parts import PseudoLabelsRecord
from encoder_ablations.utils.files import ensure_writable, write_with

FOLDER = "pseudo_labels"


def masks_folder(
    study: Path, labels: PseudoLabelSpec, dataset: FolderDataset, dataset_sha256: str
) -> Path:
    """Return where the masks lie. All that decides them decides the folder's name.

    Args:
        study: folder of the study.
        labels: the teacher and the threshold.
        dataset: whose images are predicted.
        dataset_sha256: of its files, see ``DataRecord``.
    """
    what = [labels.model_dump(mode="json"), dataset.spec.model_dump(mode="json"), dataset_sha256]
    digest = hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()
    return study / FOLDER / digest[:16]


def mask_file(folder: Path, index: int) -> Path:
    """Return the file of an image by its position in the training split."""
    return folder / f"{index:06d}.png"


def write_masks(
    folder: Path,
    threshold: float,
    dataset: FolderDataset,
    indices: Sequence[int],
    load: Callable[[], Predictor],
) -> None:
    """Predict the masks that are not there yet; other processes wait for them.

    Args:
        folder: see :func:`masks_folder`.
        threshold: see :func:`sure_mask`.
        dataset: whose images are predicted.
        indices: positions of the images.
        load: returns the teacher's predictor; called if a mask is missing.
    """
    if not _missing(folder, indices):
        return
    ensure_writable(folder)
    # where a file system has no locks, a file that outlives a crash would count as one
    with FileLock(folder / ".lock", fallback_to_soft=False):
        missing = _missing(folder, indices)
        if not missing:
            return
        predictor = load()
        for index in missing:
            image = read_image(dataset.image_file(index), dataset.spec.upright)
            mask = sure_mask(predictor, image, threshold, dataset.spec.ignore_label)
            save = partial(Image.fromarray(mask).save, format="PNG")
            write_with(mask_file(folder, index), save)


def sure_mask(predictor: Predictor, image: np.ndarray, threshold: float, ignore: int) -> np.ndarray:
    """Return the predicted class of every sure pixel: H×W, uint8 or uint16.

    Args:
        predictor: of the teacher.
        image: H×W×3 uint8.
        threshold: least probability of the class, 0..1.
        ignore: id of the other pixels.
    """
    prediction = predictor.predict(image)
    assert prediction.probabilities is not None
    sure = prediction.probabilities.max(axis=0) >= threshold
    return np.where(sure, prediction.mask, ignore).astype(mask_type(ignore))


def describe_masks(paths: Iterable[Path], ignore: int) -> PseudoLabelsRecord:
    """Return what a record says of predicted masks.

    Args:
        paths: their files.
        ignore: id of the pixels below the threshold.

    Raises:
        InputError: a file is damaged.
    """
    digest, images, sure, pixels = hashlib.sha256(), 0, 0, 0
    for path in paths:
        mask = read_sure_mask(path, ignore)
        digest.update(f"{path.name} {mask.shape}".encode() + mask.tobytes())
        images += 1
        sure += int((mask != ignore).sum())
        pixels += mask.size
    return PseudoLabelsRecord(
        n_images=images, share_of_pixels=sure / pixels, masks_sha256=digest.hexdigest()
    )


def _missing(folder: Path, indices: Iterable[int]) -> list[int]:
    return [index for index in indices if not mask_file(folder, index).exists()]
