"""Read all images of a classification dataset and report what is wrong with them."""

from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from encoder_ablations.data.checks.facts import Content, PairFacts
from encoder_ablations.data.checks.image_classes.training_check import Copies, find_copies
from encoder_ablations.data.checks.lint import THREADS, LintReport
from encoder_ablations.data.checks.rules import SEVERITIES, Finding, Rule, finding
from encoder_ablations.data.datasets.folder import FolderDataset
from encoder_ablations.data.datasets.pixel_counts import MaskScan, scan_masks
from encoder_ablations.data.datasets.preparation import prepare_dataset
from encoder_ablations.data.datasets.reading import FileProblem, read_image
from encoder_ablations.data.datasets.spec import DatasetSpec, Split
from encoder_ablations.utils.errors import InputError

UNCHECKED = "checked are labels, damaged files, equal files and empty classes; not what images show"
"""What this lint does not look at, of what the one of masks does."""
TWO_CLASSES = Rule(
    code="image-two-classes",
    severity="error",
    title="the same image is in two classes",
    fix="Remove it from one of them.",
)
CLASS_EMPTY = Rule(
    code="class-empty",
    severity="error",
    title="a class has no training image",
    fix="Add images, or take the name out of classes in the dataset's YAML.",
)


@dataclass(frozen=True, eq=False)
class ClassesReport(LintReport):
    """As of masks, with images in place of pixels.

    Attributes:
        images: how many of each class, by split.
    """

    images: dict[Split, list[int]]

    def class_pixels(self) -> dict[str, dict[str, int]]:
        """Return the images of every class, by split."""
        names = self.spec.classes
        return {split: dict(zip(names, own, strict=True)) for split, own in self.images.items()}


def lint_image_classes(
    spec: DatasetSpec, progress: Callable[[int, int], object] = lambda done, total: None
) -> ClassesReport:
    """Read every image of every split.

    Args:
        spec: the dataset.
        progress: called after each image with the number of images done and in total.

    Raises:
        InputError: the labels or the folders cannot be read.
    """
    prepare_dataset(spec)
    datasets = {split: FolderDataset(spec, split) for split in spec.splits}
    facts = [PairFacts(split, pair) for split, own in datasets.items() for pair in own.pairs]
    found: list[Finding] = []
    with ThreadPoolExecutor(THREADS) as pool:
        for done, problems in enumerate(pool.map(_unreadable, facts), 1):
            found += problems
            progress(done, len(facts))
    images: dict[Split, list[int]] = {}
    if not found:
        scans = {split: scan_masks(dataset) for split, dataset in datasets.items()}
        images = {split: scan.pixels for split, scan in scans.items()}
        found += [_about(spec, copies) for copies in find_copies(datasets, scans)]
        found += _empty_classes(spec, scans)
    found.sort(key=lambda each: (SEVERITIES.index(each.rule.severity), each.rule.code))
    return ClassesReport(Content(spec, facts), found, images)


def _unreadable(facts: PairFacts) -> list[Finding]:
    try:
        read_image(facts.pair.image)
    except FileProblem as problem:
        return [finding(problem.rule, facts.pair.image, facts.split, str(problem))]
    except InputError as problem:
        return [finding("unreadable", facts.pair.image, facts.split, str(problem))]
    return []


def _about(spec: DatasetSpec, copies: Copies) -> Finding:
    """Return the worst thing about two equal files."""
    first, second = copies
    detail = f"the same as {first.path}"
    if copies.in_two_classes:
        names = [spec.classes[each.class_id] for each in copies]
        return Finding(TWO_CLASSES, second.path, second.split, f"{detail}: {' and '.join(names)}")
    if copies.in_two_splits:
        return finding("image-leaked", second.path, second.split, detail)
    return finding("image-repeated", second.path, second.split, detail)


def _empty_classes(spec: DatasetSpec, scans: dict[Split, MaskScan]) -> Iterator[Finding]:
    for split, scan in scans.items():
        for place in np.flatnonzero(np.equal(scan.pixels, 0)):
            name = spec.classes[place]
            if split == "train":
                yield Finding(CLASS_EMPTY, None, split, name)
            else:
                yield finding("class-absent", None, split, name)


def counted(report: ClassesReport) -> str:
    """Return a line of how many images the largest and the smallest class have in training."""
    train = Counter(report.class_pixels().get("train", {}))
    if not train:
        return UNCHECKED
    (largest, most), *_, (smallest, fewest) = train.most_common()
    return f"training images of a class: {fewest} ({smallest}) to {most} ({largest})\n{UNCHECKED}"
