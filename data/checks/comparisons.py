"""What only shows when pairs are compared: copies, leaks between splits, palettes, brightness."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from itertools import chain

import numpy as np
from threadpoolctl import threadpool_limits

from encoder_ablations.data.checks.class_balance import (
    many_classes,
    shown_classes,
    unlabelled_splits,
    unnamed_classes,
)
from encoder_ablations.data.checks.facts import (
    Content,
    ImageFacts,
    PairFacts,
    differ,
    grouped,
    repeats,
)
from encoder_ablations.data.checks.outliers import outliers
from encoder_ablations.data.checks.rules import Finding, finding
from encoder_ablations.data.checks.scene_leaks import scene_findings
from encoder_ablations.data.checks.shared_views import similar_images
from encoder_ablations.data.datasets.sample import IGNORE

NATURAL_MEAN = (0.485, 0.456, 0.406)
NATURAL_STD = 0.226
"""ImageNet's statistics, RGB 0..1."""
USUAL_TO_ODD = 10
"""Grey images are taken for a mistake if each has this many others, and so are coloured."""
BINARY = "only 0 and 255, which is ignored"


def compare(content: Content) -> list[Finding]:
    """Return the findings about all pairs together."""
    # the matrices are small: further threads of BLAS would wait for each other, at full load
    with threadpool_limits(1, "blas"):
        return list(chain.from_iterable(check(content) for check in CHECKS))


def _repeated_images(content: Content) -> Iterator[Finding]:
    """Equal pixels within a split: a waste, or masks that contradict."""
    for (first, _), (each, _) in repeats(content.images, _split_and_pixels):
        code = "image-repeated"
        if differ(first.mask, each.mask):
            code = "masks-contradict"
        yield each.about_image(code, f"equal to {first.name}")


def _leaked_images(content: Content) -> Iterator[Finding]:
    """Equal pixels in several splits; each split is named once."""
    distinct = [group[0] for group in grouped(content.images, _split_and_pixels).values()]
    for (first, _), (each, _) in repeats(distinct, lambda read: read[1].digest):
        yield each.about_image("image-leaked", f"equal to {first.name}")


def _split_and_pixels(read: tuple[PairFacts, ImageFacts]) -> tuple[str, bytes]:
    pair, image = read
    return pair.split, image.digest


def _repeated_masks(content: Content) -> Iterator[Finding]:
    """Masks of several classes that are equal to the pixel, on images that are not."""
    telling = [read for read in content.masks if len(read[1].values) > 1]
    for (first, _), (each, _) in repeats(telling, lambda read: (read[1].digest, read[1].size)):
        if differ(first.image, each.image):
            yield each.about_mask("mask-repeated", f"equal to the mask of {first.name}")


def _palettes(content: Content) -> Iterator[Finding]:
    """Palette masks whose colours have other ids than in most masks."""
    usual = usual_palette(content)
    place_of = {color: value for value, color in usual.items()}
    for each, mask in content.masks:
        # a colour that most masks have at two ids is right at both
        unusual = sorted(mask.palette.items() - usual.items())
        moved = [(value, color) for value, color in unusual if color in place_of]
        for value, color in moved[:1]:
            place = place_of[color]
            detail = f"the colour {color} is id {value} here and {place} in most masks"
            yield each.about_mask("mask-palette", detail)


def usual_palette(content: Content) -> dict[int, tuple[int, ...]]:
    """Return the colour that most palette masks give to each value, by ascending values."""
    palettes = [mask.palette.items() for _, mask in content.masks]
    votes = Counter(chain.from_iterable(palettes)).most_common()
    # the most frequent colour of a value comes last and stays
    return dict(sorted(dict(entry for entry, _ in reversed(votes)).items()))


def _modes(content: Content) -> Iterator[Finding]:
    """The few that are grey among colour images, or the other way round; halves are meant so."""
    kinds = {True: "grey, most others have colour", False: "colour, most others are grey"}
    for gray, alike in grouped(content.images, lambda read: read[1].gray).items():
        if USUAL_TO_ODD * len(alike) <= len(content.images):
            yield from (each.about_image("image-mode", kinds[gray]) for each, _ in alike)


def _binaries(content: Content) -> Iterator[Finding]:
    """Masks of 0 and 255 in a dataset that ignores 255, where they are the smaller part."""
    spec = content.spec
    binary = [each for each, mask in content.masks if set(mask.values) == {0, IGNORE}]
    # such a mask is right where 255 has a meaning, and where most masks are like it
    ignored = spec.value_map is None and IGNORE in spec.ignore_ids
    if ignored and 2 * len(binary) < len(content.masks):
        yield from (each.about_mask("mask-binary", BINARY) for each in binary)


def _pixels(content: Content) -> Iterator[Finding]:
    """Training pixels whose statistics are far from those of natural images."""
    sums = [image.sums for each, image in content.images if each.split == "train"]
    if not sums:
        return
    mean, square = np.mean(sums, axis=0)
    std = np.sqrt(np.maximum(square - mean**2, 0))
    # colours far from the usual ones, or a contrast that is a third or twice the usual one
    far = np.abs(mean - NATURAL_MEAN).max() > 0.3
    if far or not NATURAL_STD / 3 <= std.mean() <= NATURAL_STD * 1.9:
        found = "mean {:.2f} {:.2f} {:.2f}, std {:.2f} {:.2f} {:.2f}".format(*mean, *std)
        detail = f"{found} (RGB 0..1); ImageNet has 0.49 0.46 0.41 and 0.23 0.22 0.23"
        yield finding("unusual-pixels", None, "train", detail)


CHECKS: tuple[Callable[[Content], Iterable[Finding]], ...] = (
    _repeated_images,
    _leaked_images,
    similar_images,
    _repeated_masks,
    _palettes,
    _modes,
    _binaries,
    _pixels,
    scene_findings,
    many_classes,
    unnamed_classes,
    unlabelled_splits,
    shown_classes,
    outliers,
)
"""All that is looked for in the dataset as a whole. Each yields its findings."""
