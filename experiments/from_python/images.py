"""What a training from Python learns from and is validated on."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import compress

import numpy as np

from encoder_ablations.data.checks.training_check import check_dataset
from encoder_ablations.data.datasets.sample import ClassLabels, Labels
from encoder_ablations.data.datasets.spec import DatasetSpec
from encoder_ablations.data.loading.cache import for_evaluation, for_training
from encoder_ablations.data.loading.items import Samples
from encoder_ablations.data.loading.pairs import Pairs, PairSamples
from encoder_ablations.data.references import load_dataset
from encoder_ablations.engine.recipe import Recipe
from encoder_ablations.engine.training.data import TrainingData
from encoder_ablations.experiments.runs.preparation import learnt_from
from encoder_ablations.experiments.runs.spec import refuse_other_task
from encoder_ablations.segmenters.base import Segmenter
from encoder_ablations.utils.errors import InputError
from encoder_ablations.utils.references import Reference

Data = DatasetSpec | Reference | Pairs


@dataclass(frozen=True)
class Images:
    """Images that were all read once.

    Attributes:
        labels: the classes.
        train: what is learnt from.
        val: what the best checkpoint is chosen on.
        counts: N×K, pixels of each class in each training mask.
        digest: SHA-256 of all of them.
        name: what messages call them.
    """

    labels: Labels
    train: Samples
    val: Samples
    counts: np.ndarray
    digest: str
    name: str

    def for_recipe(self, recipe: Recipe) -> TrainingData:
        """Return the images that a recipe trains on.

        Raises:
            InputError: the recipe does not fit them.
        """
        everything = list(range(len(self.train)))
        train = learnt_from(recipe, self.name, everything, self.counts > 0)
        val, val_indices = self.val, list(range(len(self.val)))
        if recipe.overfit:
            val, val_indices = self.train, train
        pixels = [int(count) for count in self.counts[train].sum(axis=0)]
        return TrainingData(self.labels, self.train, train, val, val_indices, pixels)


def read_images(model: Segmenter, data: Data, val: Pairs | None, recipe: Recipe) -> Images:
    """Return the images of a training, after all of them have been read and checked.

    Args:
        model: gives the classes.
        data: a dataset of this package, or pairs (image, mask) to learn from.
        val: pairs to choose the best checkpoint on; only where ``data`` are pairs.
        recipe: says at which size images are read.

    Raises:
        InputError: images, masks or classes are not what they must be.
    """
    if not model.class_names:
        raise InputError("the model does not say how many classes it has. Use create_segmenter.")
    if isinstance(data, str | Mapping):
        data = load_dataset(data)
    if isinstance(data, DatasetSpec):
        if val is not None:
            raise InputError(
                f"the dataset '{data.name}' has a split val of its own. Leave val out."
            )
        return _of_dataset(model, data, recipe)
    if val is None:
        raise InputError(
            "val is missing: other pairs (image, mask), on which the best checkpoint is chosen. "
            "torch.utils.data.random_split divides a dataset."
        )
    return _of_pairs(model, data, val)


def _of_dataset(model: Segmenter, spec: DatasetSpec, recipe: Recipe) -> Images:
    """Return the splits train and val of a dataset."""
    numbered = tuple(map(str, range(len(spec.classes))))
    if model.class_names not in (spec.classes, numbered):
        raise InputError(
            f"the model has the classes {', '.join(model.class_names)}, but the dataset "
            f"'{spec.name}' has {', '.join(spec.classes)}. Create the model with these."
        )
    refuse_other_task(type(model.head).__name__, model.head.task, spec)
    checked = check_dataset(spec)
    model.class_names = spec.classes
    return Images(
        spec,
        for_training(checked.datasets["train"], recipe.augmentation),
        for_evaluation(checked.datasets["val"], recipe.augmentation, keep=True),
        checked.scans["train"].counts,
        checked.fingerprint,
        spec.name,
    )


def _of_pairs(model: Segmenter, train: Pairs, val: Pairs) -> Images:
    """Return pairs as samples."""
    if model.head.task == "classification":
        raise InputError("the model classifies whole images; pairs (image, mask) are not for it.")
    names = model.class_names
    samples, others = PairSamples(train, names, "data"), PairSamples(val, names, "val")
    counts, digest = _read(samples, names, "data")
    _, val_digest = _read(others, names, "val")
    shown = list(compress(names, counts.sum(axis=0)))
    if len(shown) < 2 <= len(names):
        raise InputError(
            f"the masks of data show {', '.join(shown) or 'no class'} and nothing else; at least "
            "two classes are needed."
        )
    both = hashlib.sha256(f"{digest} {val_digest}".encode()).hexdigest()
    return Images(ClassLabels(names), samples, others, counts, both, "data")


def _read(samples: PairSamples, classes: tuple[str, ...], name: str) -> tuple[np.ndarray, str]:
    """Return N×K pixels of each class in each mask, and the SHA-256 of all images and masks.

    Raises:
        InputError: there is no pair, or one that is not what it must be.
    """
    if not len(samples):
        raise InputError(f"{name} holds no pair (image, mask).")
    counts = np.zeros((len(samples), len(classes)), np.int64)
    digest = hashlib.sha256()
    for index in range(len(samples)):
        sample = samples[index]
        truth = sample.truth
        found = np.bincount(truth.reshape(-1), minlength=len(classes))
        counts[index] = found[: len(classes)]
        digest.update(f"{sample.size}".encode())
        digest.update(sample.image.tobytes())
        digest.update(truth.tobytes())
    return counts, digest.hexdigest()
