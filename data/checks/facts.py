"""What reading one image and its mask has shown."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from encoder_ablations.data.checks.rules import Finding, finding
from encoder_ablations.data.datasets.orientation import Drawn
from encoder_ablations.data.datasets.pairing import Pair
from encoder_ablations.data.datasets.spec import Split


@dataclass
class ImageFacts:
    """An image that could be read.

    Attributes:
        size: (H, W), as training reads it: upright, unless masks_drawn_on says otherwise.
        gray: whether it is stored without colour.
        sums: 2×3 float64: mean and mean square of each channel in 0..1.
        digest: of the pixels, whatever the format.
        thumbnail: 16×16 uint8, grey.
        phash: 64 bools, perceptual hash (lowest frequencies of a 32×32 version against their
            median).
        orientation: in its EXIF data, 1..8; 1 = upright.
    """

    size: tuple[int, int]
    gray: bool
    sums: np.ndarray
    digest: bytes
    thumbnail: np.ndarray
    phash: np.ndarray
    orientation: int = 1


@dataclass
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


@dataclass
class PairFacts:
    """Everything about a pair; what could not be read is None.

    Attributes:
        drawn_on: which pixels the mask was drawn on, for an image that EXIF data turn; None = not
            known, or the image is not turned.
        findings: what is wrong with the two files.
    """

    split: Split
    pair: Pair
    image: ImageFacts | None = None
    mask: MaskFacts | None = None
    drawn_on: Drawn | None = None
    findings: list[Finding] = field(default_factory=list)

    @property
    def name(self) -> str:
        """The image's split and file name, for messages."""
        return f"{self.split}/{self.pair.image.name}"

    def note(self, code: str, path: Path, detail: str) -> None:
        """Add a finding about one of the two files."""
        self.findings.append(finding(code, path, self.split, detail))

    def about_image(self, code: str, detail: str) -> Finding:
        """Return a finding about the image that comparing pairs has shown."""
        return finding(code, self.pair.image, self.split, detail)

    def about_mask(self, code: str, detail: str) -> Finding:
        """Return a finding about the mask that comparing pairs has shown."""
        return finding(code, self.pair.mask, self.split, detail)


def with_image(facts: Iterable[PairFacts]) -> list[tuple[PairFacts, ImageFacts]]:
    """Return the pairs whose image was read, each with what it holds."""
    return [(each, each.image) for each in facts if each.image is not None]


def with_mask(facts: Iterable[PairFacts]) -> list[tuple[PairFacts, MaskFacts]]:
    """Return the pairs whose mask was read, each with what it holds."""
    return [(each, each.mask) for each in facts if each.mask is not None]


def equal_images(facts: Iterable[PairFacts]) -> list[list[PairFacts]]:
    """Return groups of two and more pairs whose images are equal to the pixel."""
    groups = defaultdict(list)
    for each, image in with_image(facts):
        groups[image.digest].append(each)
    return [group for group in groups.values() if len(group) > 1]
