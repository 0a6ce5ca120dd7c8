"""Check a dataset before anything is trained on it."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from filecmp import cmp
from itertools import combinations, compress

import numpy as np

from encoder_ablations.data.checks.image_classes.training_check import (
    absent_image_classes,
    check_image_classes,
)
from encoder_ablations.data.datasets.folder import FolderDataset
from encoder_ablations.data.datasets.pixel_counts import MaskScan, scan_masks
from encoder_ablations.data.datasets.preparation import prepare_dataset
from encoder_ablations.data.datasets.sample import IGNORE
from encoder_ablations.data.datasets.spec import MOST_CLASSES, DatasetSpec, Split
from encoder_ablations.data.datasets.subsets import fingerprint
from encoder_ablations.utils.errors import InputError
from encoder_ablations.utils.texts import first_names, plural

MOST_NAMED = 20
"""Most absent classes that a warning names, in datasets of more classes than 8 bits hold."""


@dataclass(frozen=True, eq=False)
class CheckedDataset:
    """A dataset whose masks have all been read.

    Attributes:
        datasets: by split.
        scans: what the masks hold, by split.
        warnings: sentences about what is allowed but makes a result doubtful.
    """

    datasets: dict[Split, FolderDataset]
    scans: dict[Split, MaskScan]
    warnings: list[str]

    @property
    def fingerprint(self) -> str:
        """SHA-256 of what was read.

        That is every image by its split, name and size of file, the class of each pixel, and that
        of the whole image where it has one.
        """
        lines: list[str] = []
        for split, dataset in self.datasets.items():
            digests = self.scans[split].digests.tolist()
            for index, (mask, size) in enumerate(digests):
                line = f"{split} {dataset.ids[index]} {mask:08x} {size}"
                if dataset.image_classes is not None:
                    line += f" {dataset.image_classes[index]}"
                lines.append(line)
        return fingerprint(lines)


def check_dataset(spec: DatasetSpec) -> CheckedDataset:
    """Read every mask of every split.

    Raises:
        InputError: the first thing that is wrong with the files, or a training split that shows a
            single class, or more classes than can be trained on here.
    """
    checked = check_splits(spec, spec.splits)
    if spec.task == "segmentation":
        require_two_classes(spec, checked.scans["train"].pixels)
    return checked


def check_splits(spec: DatasetSpec, splits: Collection[Split]) -> CheckedDataset:
    """Read every mask of some splits; the others need not be there.

    Raises:
        InputError: the first thing that is wrong with the files, or more classes than can be
            trained on here.
    """
    if len(spec.classes) > MOST_CLASSES:
        raise InputError(
            f"dataset '{spec.name}' has {len(spec.classes)} classes; training here takes up to "
            f"{MOST_CLASSES}. Join rare ones with value_map, or ignore them with ignore_others."
        )
    prepare_dataset(spec)
    datasets = {split: FolderDataset(spec, split) for split in splits}
    scans = {split: scan_masks(dataset) for split, dataset in datasets.items()}
    warnings: list[str] = []
    if spec.task == "classification":
        warnings += check_image_classes(spec, datasets, scans)
        return CheckedDataset(datasets, scans, warnings)
    for first, second in combinations(datasets.values(), 2):
        warnings += _overlap(first, second)
    warnings += absent_image_classes(spec, datasets)
    for split, scan in scans.items():
        warnings += _orientations(datasets[split], scan)
        warnings += _absences(spec, split, scan)
    return CheckedDataset(datasets, scans, warnings)


def require_two_classes(spec: DatasetSpec, pixels: Sequence[int]) -> None:
    """Refuse training masks of a single class, such as masks of 0 and 255 where 255 is ignored.

    Args:
        spec: the dataset.
        pixels: of each class in all training masks together.

    Raises:
        InputError: only one class has pixels.
    """
    seen = list(compress(spec.classes, pixels))
    if len(seen) < 2 <= len(spec.classes):
        ignored = ", ".join(map(str, spec.ignore_ids))
        shown = "".join(f"only the class {name!r}" for name in seen) or "no class"
        raise InputError(
            f"dataset '{spec.name}': the training masks show {shown}, everything else in them is "
            f"ignored (ids {ignored}). If 255 is a class write value_map: {{0: 0, 255: 1}} in its "
            "YAML; otherwise correct ignore_ids or the masks."
        )


def _overlap(first: FolderDataset, second: FolderDataset) -> Iterator[str]:
    """Warn if images with equal stems are also equal byte for byte."""
    pairs = dict(zip(first.ids, first.pairs, strict=True))
    others = dict(zip(second.ids, second.pairs, strict=True))
    alike = sorted(pairs.keys() & others.keys())
    same = [name for name in alike if cmp(pairs[name].image, others[name].image, shallow=False)]
    if same:
        yield (
            f"dataset '{first.spec.name}': the splits {first.split} and {second.split} share "
            f"{plural(len(same), 'image')} ({first_names(same)}); "
            f"scores on {second.split} will be better than on new images."
        )


def _orientations(dataset: FolderDataset, scan: MaskScan) -> Iterator[str]:
    """Warn if images are turned and nothing shows that their masks are, too."""
    names = list(compress(dataset.ids, scan.unsure))
    if names:
        turned = plural(len(names), "image", "is/are turned")
        yield (
            f"dataset '{dataset.spec.name}', split '{dataset.split}': {turned} by EXIF data "
            f"({first_names(names)}), and neither sizes nor edges tell whether the masks are, too. "
            "Look at them, and write masks_drawn_on: upright or masks_drawn_on: stored in the "
            "dataset's YAML."
        )


def _absences(spec: DatasetSpec, split: Split, scan: MaskScan) -> Iterator[str]:
    """Warn about classes without pixels, and masks without labels."""
    label = f"dataset '{spec.name}', split '{split}'"
    absent = np.array(spec.classes)[np.equal(scan.pixels, 0)].tolist()
    shown = ", ".join(absent)
    if len(spec.classes) > IGNORE and len(absent) > MOST_NAMED:
        shown = f"{', '.join(absent[:MOST_NAMED])} and {len(absent) - MOST_NAMED} other classes"
    if absent:
        yield f"{label}: no mask shows {shown}."
    unlabelled = int((~scan.present.any(axis=1)).sum())
    if unlabelled:
        masks = plural(len(scan.counts), "mask")
        yield f"{label}: in {unlabelled} of {masks} no pixel is labelled."
