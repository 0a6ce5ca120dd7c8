"""Images on which an exported model is compared with its run."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from encoder_ablations.data.datasets.folder import FolderDataset
from encoder_ablations.data.datasets.sample import Sample
from encoder_ablations.data.views.resampling import Span, resize, resize_mask
from encoder_ablations.experiments.runs.spec import RunSpec
from encoder_ablations.utils.errors import InputError
from encoder_ablations.utils.texts import plural

IMAGES = 4
"""At most so many images are compared."""


@dataclass(frozen=True)
class CheckImages:
    """The images, and what they are.

    Attributes:
        samples: at least one; without masks where they are random.
        source: what they are, for a sentence.
    """

    samples: Sequence[Sample]
    source: str

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) of the first image."""
        height, width = self.samples[0].image.shape[:2]
        return height, width

    def at(self, size: tuple[int, int] | None) -> "CheckImages":
        """Return the images resized to (H, W); None = as they are."""
        if size is None:
            return self
        resized = [_resized(sample, size) for sample in self.samples]
        source = self.source
        if any(sample.image.shape[:2] != size for sample in self.samples):
            source = f"{source}, resized to {size[0]}×{size[1]} pixels"
        return CheckImages(resized, source)


def check_images(spec: RunSpec) -> CheckImages:
    """Return the first images of the run's validation split, or random ones without its dataset."""
    try:
        images = FolderDataset(spec.dataset, "val")
        samples = [images[index] for index in range(min(IMAGES, len(images)))]
    except InputError as error:
        return CheckImages(
            [_random(number, spec.recipe.augmentation.crop) for number in range(2)],
            f"2 images of random pixels, because the run's dataset cannot be used here: {error}",
        )
    return CheckImages(samples, f"{plural(len(samples), 'validation image')} of the run's dataset")


def _random(number: int, size: tuple[int, int]) -> Sample:
    pixels = np.random.default_rng(number).integers(0, 256, (*size, 3), np.uint8)
    return Sample(pixels, None, f"random{number}", size, "")


def _resized(sample: Sample, size: tuple[int, int]) -> Sample:
    """Return the sample resized to (H, W), the mask by the nearest pixel."""
    rows, columns = (
        Span(0, source, length) for source, length in zip(sample.image.shape[:2], size, strict=True)
    )
    mask = sample.mask
    if mask is not None:
        mask = resize_mask(mask, rows, columns)
    return replace(sample, image=resize(sample.image, rows, columns), mask=mask)
