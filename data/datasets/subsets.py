"""Nested k % subsets: for one seed 1 % lies within 5 % and 5 % within 10 %, for every encoder."""

import hashlib
import math
from collections.abc import Collection, Iterable, Sequence

import numpy as np

from encoder_ablations.data.datasets.sample import Task
from encoder_ablations.utils.errors import InputError
from encoder_ablations.utils.seeding import numpy_stream


def nested_order(presence: np.ndarray, seed: int) -> list[int]:
    """Return an order of all images that shows as many classes as possible as early as possible.

    The image that adds most classes to those already shown comes next, until all are shown (greedy
    maximum coverage: Nemhauser, Wolsey & Fisher, 1978); the rest follows at random. A seeded
    permutation decides ties.

    Args:
        presence: N×K, nonzero where an image shows a class (bool, or pixel counts).
        seed: of the permutation.
    """
    shuffled = numpy_stream(seed, "subset").permutation(len(presence))
    shows = np.asarray(presence)[shuffled] > 0
    missing = shows.any(axis=0)
    chosen: list[int] = []
    while missing.any():
        best = int((shows & missing).sum(axis=1).argmax())
        chosen.append(best)
        missing &= ~shows[best]
    rest = sorted(set(range(len(shuffled))) - set(chosen))
    return [int(shuffled[position]) for position in chosen + rest]


def stratified_order(presence: np.ndarray, seed: int) -> list[int]:
    """Return an order of all images whose every beginning holds the classes in their shares.

    One image of each class comes first. A seeded permutation decides which images of a class come
    earlier, and ties.

    Args:
        presence: N×K, nonzero for the one class of each image.
        seed: of the permutation.
    """
    shuffled = numpy_stream(seed, "subset").permutation(len(presence))
    classes = np.asarray(presence)[shuffled].argmax(axis=1)
    # the share of its class that comes before each image
    before = np.zeros(len(shuffled))
    for class_id, count in enumerate(np.bincount(classes)):
        before[classes == class_id] = np.arange(count) / max(1, count)
    return [int(shuffled[position]) for position in np.argsort(before, kind="stable")]


def training_order(task: Task, presence: np.ndarray, seed: int) -> list[int]:
    """Return the order of which a fraction of the training images is the beginning.

    Args:
        task: of the dataset.
        presence: N×K, nonzero where an image shows a class.
        seed: of the run.
    """
    if task == "classification":
        return stratified_order(presence, seed)
    return nested_order(presence, seed)


def subset(order: Sequence[int], fraction: float) -> list[int]:
    """Return the first ``fraction`` (in 0..1) of ``order`` in whole images, as sorted indices.

    Raises:
        InputError: the fraction is outside 0..1, or so small that no image is left.
    """
    if not 0 < fraction <= 1:
        raise InputError(
            f"the fraction {fraction:g} is impossible; "
            "allowed: more than 0, at most 1 (1 = all images)."
        )
    if fraction * len(order) < 0.5:
        smallest = math.ceil(0.5 / len(order) * 1e6) / 1e6
        raise InputError(
            f"the fraction {fraction:g} of {len(order)} training images is less than half an "
            f"image; the smallest fraction here is {smallest:g}."
        )
    return sorted(order[: max(1, round(fraction * len(order)))])


def left_out(images: int, labelled: Collection[int]) -> list[int]:
    """Return the training images without labels, as positions in the split, sorted.

    Args:
        images: how many training images the dataset has.
        labelled: positions of those with labels.
    """
    return sorted(set(range(images)) - set(labelled))


def fingerprint(ids: Iterable[str]) -> str:
    """Return the SHA-256 of the sorted ids, one a line, as 64 hexadecimal digits."""
    return hashlib.sha256("\n".join(sorted(ids)).encode("utf-8", "surrogateescape")).hexdigest()
