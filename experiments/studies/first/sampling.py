"""Fractions and seeds that a new dataset bears."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import compress

import numpy as np

from encoder_ablations.data.datasets.folder import FolderDataset
from encoder_ablations.data.datasets.pixel_counts import scan_masks
from encoder_ablations.data.datasets.spec import DatasetSpec
from encoder_ablations.data.datasets.subsets import subset, training_order
from encoder_ablations.utils.errors import InputError
from encoder_ablations.utils.texts import first_names, plural

CANDIDATES = (0.1, 0.2, 0.25, 0.5)
"""Shares of the images at which a label curve may begin, the usual one first."""
SEEDS = (0, 1, 2)
FEW_IMAGES = 20
"""With fewer training images their choice matters much, so that there are more seeds."""
MORE_SEEDS = (0, 1, 2, 3, 4)


@dataclass(frozen=True)
class Sampling:
    """Fractions and seeds of a first study, and why they are not the usual ones.

    Attributes:
        remarks: sentences for the person who runs the study.
    """

    fractions: tuple[float, ...] = (CANDIDATES[0], 1.0)
    seeds: tuple[int, ...] = SEEDS
    remarks: tuple[str, ...] = ()


def sampling_of(spec: DatasetSpec) -> Sampling:
    """Return the fractions and seeds that the training images of a dataset bear.

    Where masks cannot be read nothing is said; ``ablate lint`` names what is wrong with them.
    """
    try:
        present = scan_masks(FolderDataset(spec, "train")).present
    except InputError:
        return Sampling()
    return propose_sampling(present, spec.classes)


def propose_sampling(present: np.ndarray, classes: Sequence[str]) -> Sampling:
    """Return fractions whose images show all classes, and seeds for so few images.

    Args:
        present: N×K, whether a training image shows a class.
        classes: names of the K classes.
    """
    images = len(present)
    remarks = [f"no training image shows {first_names(_absent(present, classes), 5)}"]
    if present.any(axis=0).all():
        remarks = []
    missing = {fraction: _left_out(present, classes, fraction) for fraction in CANDIDATES}
    complete = [fraction for fraction, names in missing.items() if not names]
    fractions = (*complete[:1], 1.0)
    usual = CANDIDATES[0]
    if missing[usual]:
        shown = plural(_count(images, usual), "training image")
        names = first_names(missing[usual], 5)
        remarks.append(
            f"{100 * usual:g} % are {shown}, and with some seeds none of them shows {names}; "
            f"the study takes the fractions {', '.join(f'{each:g}' for each in fractions)}"
        )
    seeds: tuple[int, ...] = SEEDS
    fewest = _count(images, fractions[0])
    if fewest < FEW_IMAGES:
        seeds = MORE_SEEDS
        remarks.append(
            f"{plural(fewest, 'training image')} at the fraction {fractions[0]:g}: scores depend "
            f"much on their choice, so the study has {len(seeds)} seeds"
        )
    return Sampling(fractions, seeds, tuple(remarks))


def _count(images: int, fraction: float) -> int:
    return max(1, round(fraction * images))


def _absent(present: np.ndarray, classes: Sequence[str]) -> list[str]:
    shown = np.asarray(present.any(axis=0))
    return list(compress(classes, ~shown))


def _left_out(present: np.ndarray, classes: Sequence[str], fraction: float) -> list[str]:
    """Return the classes that training images show, but those of a fraction do not for a seed."""
    found = dict[str, None]()
    known = _absent(present, classes)
    for seed in SEEDS:
        order = training_order("segmentation", present, seed)
        try:
            chosen = subset(order, fraction)
        except InputError:
            chosen = []  # less than half an image
        found |= dict.fromkeys(_absent(present[chosen], classes))
    return [name for name in found if name not in known]
