"""What reading images and masks has shown, and how it is compared."""

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TypeVar

import numpy as np

from encoder_ablations.data.checks.content.measures import ImageContent, PairContent
from encoder_ablations.data.checks.rules import Finding, finding
from encoder_ablations.data.datasets.orientation import Drawn
from encoder_ablations.data.datasets.pairing import Pair
from encoder_ablations.data.datasets.spec import DatasetSpec, Split

Item = TypeVar("Item")
Key = TypeVar("Key", bound=Hashable)


@dataclass(slots=True)
class ImageFacts:
    """An image that could be read.

    Attributes:
        size: (H, W), as training reads it: upright, unless masks_drawn_on says otherwise.
        gray: whether it is stored without colour.
        sums: 2×3 float64: mean and mean square of each channel in 0..1.
        digest: of the pixels, whatever the format.
        thumbnail: 16×16 uint8, grey.
        phash: perceptual hash of 64 bits (lowest frequencies of a 32×32 version against their
            median).
        content: what is compared with images of other splits.
        orientation: in its EXIF data, 1..8; 1 = upright.
    """

    size: tuple[int, int]
    gray: bool
    sums: np.ndarray
    digest: bytes
    thumbnail: np.ndarray
    phash: int
    content: ImageContent
    orientation: int = 1


@dataclass(slots=True)
class MaskFacts:
    """A mask that could be read.

    Attributes:
        size: (H, W) as stored.
        values: value in the file -> pixels.
        counts: K int64, pixels of each class; ``ignored`` pixels count for none.
        ignored: pixels without a class.
        digest: of the ids.
        palette: value -> its colour, where the file holds a palette.
    """

    size: tuple[int, int]
    values: dict[int, int]
    counts: np.ndarray
    ignored: int
    digest: bytes
    palette: dict[int, tuple[int, ...]]


@dataclass(slots=True)
class Notes:
    """What is wrong with files of a split.

    Attributes:
        split: the split.
        findings: what was noted.
    """

    split: Split
    findings: list[Finding] = field(default_factory=list, kw_only=True)

    def note(self, code: str, path: Path | None, detail: str, when: bool = True) -> None:
        """Add a finding about a file, or about the split, if ``when`` holds."""
        if when:
            self.findings.append(finding(code, path, self.split, detail))


@dataclass(slots=True)
class PairFacts(Notes):
    """Everything about a pair; what could not be read is None.

    Attributes:
        drawn_on: which pixels the mask was drawn on, for an image that EXIF data turn; None = not
            known, or the image is not turned.
        content: how image and mask go together; None where they do not fit each other in size, or
            the mask has values without a class.
    """

    pair: Pair
    image: ImageFacts | None = None
    mask: MaskFacts | None = None
    drawn_on: Drawn | None = None
    content: PairContent | None = None

    @property
    def name(self) -> str:
        """The image's split and file name, for messages."""
        return f"{self.split}/{self.pair.image.name}"

    def about_image(self, code: str, detail: str) -> Finding:
        """Return a finding about the image that comparing pairs has shown."""
        return finding(code, self.pair.image, self.split, detail)

    def about_mask(self, code: str, detail: str) -> Finding:
        """Return a finding about the mask that comparing pairs has shown."""
        return finding(code, self.pair.mask, self.split, detail)


@dataclass(frozen=True)
class Content:
    """Everything that was read of a dataset.

    Attributes:
        spec: the dataset.
        pairs: every pair whose two files were found, by split in the order of ``spec.splits``.
    """

    spec: DatasetSpec
    pairs: list[PairFacts]

    @cached_property
    def images(self) -> list[tuple[PairFacts, ImageFacts]]:
        """The pairs whose image was read, each with what it holds."""
        return [(each, each.image) for each in self.pairs if each.image is not None]

    @cached_property
    def masks(self) -> list[tuple[PairFacts, MaskFacts]]:
        """The pairs whose mask was read, each with what it holds."""
        return [(each, each.mask) for each in self.pairs if each.mask is not None]

    @cached_property
    def class_pixels(self) -> dict[Split, np.ndarray]:
        """The pixels of every class, K int64, in each split of which a mask was read."""
        by_split = grouped(self.masks, lambda read: read[0].split)
        return {
            split: np.sum([mask.counts for _, mask in masks], axis=0)
            for split, masks in by_split.items()
        }


def differ(*files: ImageFacts | MaskFacts | None) -> bool:
    """Return whether some of the files that could be read hold other pixels than the rest."""
    return len({each.digest for each in files if each is not None}) > 1


def grouped(items: Iterable[Item], key: Callable[[Item], Key]) -> dict[Key, list[Item]]:
    """Return the items by their keys, in the order of each key's first item."""
    groups: defaultdict[Key, list[Item]] = defaultdict(list)
    for item in items:
        groups[key(item)].append(item)
    return dict(groups)


def repeats(items: Iterable[Item], key: Callable[[Item], Hashable]) -> Iterator[tuple[Item, Item]]:
    """Yield every item whose key an earlier one has, after the first item of that key."""
    for first, *others in grouped(items, key).values():
        yield from ((first, other) for other in others)
