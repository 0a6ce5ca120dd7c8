"""Check a dataset before anything is trained on it."""

import filecmp
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

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

        That is every image by its split, name and size of file, and the class of each pixel.
        """
        lines: list[str] = []
        for split, dataset in self.datasets.items():
            digests = self.scans[split].digests.tolist()
            for identity, (mask, size) in zip(dataset.ids, digests, strict=True):
                lines.append(f"{split} {identity} {mask:08x} {size}")
        return fingerprint(lines)


def check_dataset(spec: DatasetSpec) -> CheckedDataset:
    """Read every mask of every split.

    Raises:
        InputError: the first thing that is wrong with the files, or a training split that shows a
            single class, or more classes than can be trained on here.
    """
    if len(spec.classes) > MOST_CLASSES:
        raise InputError(
            f"dataset '{spec.name}' has {len(spec.classes)} classes; training here takes up to "
            f"{MOST_CLASSES}. Join rare ones with value_map, or ignore them with ignore_others."
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
    """Refuse training masks of a single class, such as masks of 0 and 255 where 255 is ignored."""
    seen = [name for name, pixels in zip(spec.classes, scan.pixels, strict=True) if pixels]
    if len(spec.classes) > 1 and len(seen) < 2:
        ignored = ", ".join(map(str, spec.ignore_ids))
        shown = f"only the class {seen[0]!r}" if seen else "no class"
        raise InputError(
            f"dataset '{spec.name}': the training masks show {shown}, everything else in them is "
            f"ignored (ids {ignored}). If 255 is a class write value_map: {{0: 0, 255: 1}} in its "
            "YAML; otherwise correct ignore_ids or the masks."
        )


def _overlap(first: FolderDataset, second: FolderDataset) -> list[str]:
    """Return a warning if images with equal stems are also equal byte for byte."""
    image_of = {pair.id: pair.image for pair in second.pairs}
    alike = [pair for pair in first.pairs if pair.id in image_of]
    same = [pair.id for pair in alike if _are_equal(pair.image, image_of[pair.id])]
    if not same:
        return []
    return [
        f"dataset '{first.spec.name}': the splits {first.split} and {second.split} share "
        f"{plural(len(same), 'image')} ({first_names(same)}); "
        f"scores on {second.split} will be better than on new images."
    ]


def _are_equal(first: Path, second: Path) -> bool:
    """Whether two files hold the same bytes."""
    return first == second or filecmp.cmp(first, second, shallow=False)


def _orientations(dataset: FolderDataset, scan: MaskScan) -> list[str]:
    """Return a warning if images are turned and nothing shows that their masks are, too."""
    names = [dataset.ids[index] for index in scan.unsure.nonzero()[0]]
    if not names:
        return []
    turned = plural(len(names), "image", "is/are turned")
    return [
        f"dataset '{dataset.spec.name}', split '{dataset.split}': {turned} by EXIF data "
        f"({first_names(names)}), and neither sizes nor edges tell whether the masks are, too. "
        "Look at them, and write masks_drawn_on: upright or masks_drawn_on: stored in the "
        "dataset's YAML."
    ]


def _absences(spec: DatasetSpec, split: Split, scan: MaskScan) -> list[str]:
    """Return warnings about classes without pixels, and masks without labels."""
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
