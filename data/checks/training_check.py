"""Checks a dataset before anything is trained on it."""

import filecmp
from dataclasses import dataclass
from itertools import combinations

from encoder_ablations.data.datasets.folder import FolderDataset
from encoder_ablations.data.datasets.pixel_counts import MaskScan, scan_masks
from encoder_ablations.data.datasets.preparation import prepare_dataset
from encoder_ablations.data.datasets.sample import IGNORE
from encoder_ablations.data.datasets.spec import DatasetSpec, Split
from encoder_ablations.data.datasets.subsets import fingerprint
from encoder_ablations.utils.errors import InputError
from encoder_ablations.utils.texts import plural

MOST_CLASSES = 2000
"""More make a confusion matrix, which every record holds, too large to work with."""
MOST_NAMED = 20
"""Most absent classes that a warning names, in datasets of more classes than 8 bits hold."""


@dataclass(frozen=True, eq=False)
class CheckedDataset:
    """A dataset whose masks have all been read.

    Attributes:
        datasets, scans: by split.
        warnings: sentences about what is allowed but makes a result doubtful.
    """

    datasets: dict[Split, FolderDataset]
    scans: dict[Split, MaskScan]
    warnings: list[str]

    @property
    def fingerprint(self) -> str:
        """SHA-256 of what was read: every split's images by name and size of file, and the class of each pixel."""
        return fingerprint(
            f"{split} {identity} {mask:08x} {size}"
            for split, dataset in self.datasets.items()
            for identity, (mask, size) in zip(
                dataset.ids, self.scans[split].digests.tolist(), strict=True
            )
        )


def check_dataset(spec: DatasetSpec) -> CheckedDataset:
    """Reads every mask of every split.

    Raises:
        InputError: the first thing that is wrong with the files, or a training split that shows a single class, or
            more classes than can be trained on here.
    """
    if len(spec.classes) > MOST_CLASSES:
        raise InputError(
            f"dataset '{spec.name}' has {len(spec.classes)} classes; training here takes up to {MOST_CLASSES}. "
            "Join rare ones with value_map, or ignore them with ignore_others."
        )
    prepare_dataset(spec)
    datasets = {split: FolderDataset(spec, split) for split in spec.splits}
    scans = {split: scan_masks(dataset) for split, dataset in datasets.items()}
    _require_two_classes(spec, scans["train"])
    warnings = []
    for first, second in combinations(datasets.values(), 2):
        warnings += _overlap(first, second)
    for split, scan in scans.items():
        warnings += _orientations(datasets[split], scan)
        warnings += _absences(spec, split, scan)
    return CheckedDataset(datasets, scans, warnings)


def _require_two_classes(spec: DatasetSpec, scan: MaskScan) -> None:
    """Masks of 0 and 255 read as "background and nothing else" would otherwise be trained on without a word."""
    seen = [name for name, pixels in zip(spec.classes, scan.pixels, strict=True) if pixels]
    if len(spec.classes) > 1 and len(seen) < 2:
        ignored = ", ".join(map(str, spec.ignore_ids))
        raise InputError(
            f"dataset '{spec.name}': the training masks show {f'only the class {seen[0]!r}' if seen else 'no class'}, "
            f"everything else in them is ignored (ids {ignored}). If 255 is a class write value_map: {{0: 0, 255: 1}} "
            "in its YAML; otherwise correct ignore_ids or the masks."
        )


def _overlap(first: FolderDataset, second: FolderDataset) -> list[str]:
    """A warning if images with equal stems are also equal byte for byte."""
    image_of = {pair.id: pair.image for pair in second.pairs}
    same = [
        pair.id
        for pair in first.pairs
        if pair.id in image_of
        and (
            pair.image == image_of[pair.id]
            or filecmp.cmp(pair.image, image_of[pair.id], shallow=False)
        )
    ]
    if not same:
        return []
    names = ", ".join(same[:3]) + (", …" if len(same) > 3 else "")
    count = plural(len(same), "image")
    return [
        f"dataset '{first.spec.name}': the splits {first.split} and {second.split} share {count} ({names}); "
        f"scores on {second.split} will be better than on new images."
    ]


def _orientations(dataset: FolderDataset, scan: MaskScan) -> list[str]:
    """A warning if images are turned and nothing shows that their masks are, too."""
    names = [
        identity
        for identity, unsure in zip(dataset.ids, scan.unsure.tolist(), strict=True)
        if unsure
    ]
    if not names:
        return []
    shown = ", ".join(names[:3]) + (", …" if len(names) > 3 else "")
    return [
        f"dataset '{dataset.spec.name}', split '{dataset.split}': {plural(len(names), 'image', 'is/are turned')} by "
        f"EXIF data ({shown}), and neither sizes nor edges tell whether the masks are, too. Look at them, and write "
        "masks_drawn_on: upright or masks_drawn_on: stored in the dataset's YAML."
    ]


def _absences(spec: DatasetSpec, split: Split, scan: MaskScan) -> list[str]:
    label = f"dataset '{spec.name}', split '{split}'"
    warnings = []
    absent = [name for name, pixels in zip(spec.classes, scan.pixels, strict=True) if not pixels]
    if len(spec.classes) > IGNORE and len(absent) > MOST_NAMED:
        shown = f"{', '.join(absent[:MOST_NAMED])} and {len(absent) - MOST_NAMED} other classes"
        warnings.append(f"{label}: no mask shows {shown}.")
    elif absent:
        warnings.append(f"{label}: no mask shows {', '.join(absent)}.")
    unlabelled = int((~scan.present.any(axis=1)).sum())
    if unlabelled:
        warnings.append(
            f"{label}: in {unlabelled} of {plural(len(scan.counts), 'mask')} no pixel is labelled."
        )
    return warnings
