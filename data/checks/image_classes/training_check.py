"""Check a classification dataset before anything is trained on it."""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from filecmp import cmp
from itertools import compress, pairwise
from pathlib import Path
from typing import NamedTuple

from encoder_ablations.data.datasets.folder import FolderDataset
from encoder_ablations.data.datasets.pixel_counts import MaskScan
from encoder_ablations.data.datasets.spec import DatasetSpec, Split
from encoder_ablations.utils.errors import InputError
from encoder_ablations.utils.texts import first_names, plural

CRC = 2**32


class Labelled(NamedTuple):
    """An image file with its split and its class id."""

    path: Path
    split: Split
    class_id: int


class Copies(NamedTuple):
    """Two files that are equal byte for byte."""

    first: Labelled
    second: Labelled

    @property
    def in_two_classes(self) -> bool:
        """Whether their classes differ."""
        return self.first.class_id != self.second.class_id

    @property
    def in_two_splits(self) -> bool:
        """Whether one of them lies in another split."""
        return self.first.split != self.second.split


def find_copies(
    datasets: Mapping[Split, FolderDataset], scans: Mapping[Split, MaskScan]
) -> Iterator[Copies]:
    """Yield the files that are equal byte for byte, each with the one before.

    Args:
        datasets: a classification dataset, by split.
        scans: what was read of it, by split.
    """
    alike: defaultdict[tuple[int, int], list[Labelled]] = defaultdict(list)
    for split, dataset in datasets.items():
        digests = scans[split].digests.tolist()
        for pair, (content, size) in zip(dataset.pairs, digests, strict=True):
            class_id, checksum = divmod(content, CRC)
            alike[checksum, size].append(Labelled(pair.image, split, class_id))
    for files in alike.values():
        for copies in map(Copies._make, pairwise(files)):
            # splits may list one file twice, and checksums may collide
            if cmp(copies.first.path, copies.second.path, shallow=False):
                yield copies


def check_image_classes(
    spec: DatasetSpec, datasets: Mapping[Split, FolderDataset], scans: Mapping[Split, MaskScan]
) -> Iterator[str]:
    """Yield sentences about what is allowed but makes a result doubtful.

    Args:
        spec: the dataset.
        datasets: by split.
        scans: what was read, by split.

    Raises:
        InputError: a class has no training image, or an image has two classes.
    """
    label = f"dataset '{spec.name}'"
    for split, scan in scans.items():
        absent = list(compress(spec.classes, [not count for count in scan.pixels]))
        yield from _absent(
            label, split, absent, "Fill the class's folder, or take the name out of classes"
        )
    copies = list(find_copies(datasets, scans))
    _require_one_class(spec, copies)
    yield from _shared_images(label, copies)


def absent_image_classes(
    spec: DatasetSpec, datasets: Mapping[Split, FolderDataset]
) -> Iterator[str]:
    """Yield a sentence for each split beside training that lacks a class of whole images.

    Args:
        spec: a dataset with masks, and perhaps with classes of whole images.
        datasets: by split.

    Raises:
        InputError: a class has no training image.
    """
    label = f"dataset '{spec.name}'"
    for split, dataset in datasets.items():
        found = set(dataset.image_classes or ())
        names = enumerate(spec.image_classes or ())
        absent = [name for number, name in names if number not in found]
        yield from _absent(
            label, split, absent, "Label one in the CSV, or take the name out of image_classes"
        )


def _absent(label: str, split: Split, absent: list[str], way_out: str) -> Iterator[str]:
    """Yield a sentence if a split lacks classes; training must have all of them."""
    if absent and split == "train":
        raise InputError(
            f"{label}: no training image is of the class {first_names(absent)}. {way_out} in the "
            "dataset's YAML."
        )
    if absent:
        yield f"{label}, split '{split}': no image is of the class {first_names(absent)}."


def _require_one_class(spec: DatasetSpec, copies: list[Copies]) -> None:
    for each in copies:
        if each.in_two_classes:
            names = [spec.classes[file.class_id] for file in each]
            raise InputError(
                f"dataset '{spec.name}': {each.first.path} ({names[0]}) and {each.second.path} "
                f"({names[1]}) are the same image in two classes. Remove one of them."
            )


def _shared_images(label: str, copies: list[Copies]) -> Iterator[str]:
    """Warn if the same image is in two splits."""
    shared = [each.first.path.stem for each in copies if each.in_two_splits]
    if shared:
        yield (
            f"{label}: splits share {plural(len(shared), 'image')} ({first_names(shared)}); "
            "scores will be better than on new images."
        )
