"""What only shows when pairs are compared: copies, leaks between splits, palettes, brightness."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from itertools import chain, combinations

import numpy as np

from encoder_ablations.data.checks.class_balance import class_findings
from encoder_ablations.data.checks.facts import (
    ImageFacts,
    PairFacts,
    equal_images,
    with_image,
    with_mask,
)
from encoder_ablations.data.checks.rules import Finding, finding
from encoder_ablations.data.checks.scene_leaks import scene_findings
from encoder_ablations.data.datasets.sample import IGNORE
from encoder_ablations.data.datasets.spec import DatasetSpec

HASH_DISTANCE = 10
"""Bits of 64 in which the hashes of nearly equal images may differ."""
CORRELATION = 0.985
"""Smallest correlation of their thumbnails."""
FLAT = 2
"""A thumbnail with a smaller standard deviation, of 255 levels, resembles every other one."""
NATURAL_MEAN = (0.485, 0.456, 0.406)
NATURAL_STD = 0.226
"""ImageNet's statistics, RGB 0..1."""
USUAL_TO_ODD = 10
"""Grey images are taken for a mistake if there are this many others to each, and so are coloured."""
BLOCK = 256

_Images = list[tuple[PairFacts, ImageFacts]]


def compare(spec: DatasetSpec, facts: list[PairFacts]) -> list[Finding]:
    """Return the findings about all pairs together."""
    return list(
        chain(
            _copies(facts),
            _near_duplicates(facts),
            _repeated_masks(facts),
            _palettes(facts),
            _modes(facts),
            _binaries(spec, facts),
            _pixels(facts),
            scene_findings(spec, facts),
            class_findings(spec, facts),
        )
    )


def _copies(facts: list[PairFacts]) -> Iterator[Finding]:
    """Equal pixels: a leak across splits; within one a waste, or masks that contradict."""
    for group in equal_images(facts):
        first_of: dict[str, PairFacts] = {}
        for each in group:
            first = first_of.setdefault(each.split, each)
            if first is not each:
                digests = {mask.digest for _, mask in with_mask([first, each])}
                code = "masks-contradict" if len(digests) > 1 else "image-repeated"
                yield each.about_image(code, f"equal to {first.name}")
        leader, *others = first_of.values()
        for other in others:
            yield other.about_image("image-leaked", f"equal to {leader.name}")


def _near_duplicates(facts: list[PairFacts]) -> Iterator[Finding]:
    """Images of different splits whose hashes and thumbnails agree, each with its nearest."""
    by_split: defaultdict[str, _Images] = defaultdict(list)
    for each, image in with_image(facts):
        if image.thumbnail.std() > FLAT:
            by_split[each.split].append((each, image))
    for first, second in combinations(by_split.values(), 2):
        signs, thumbnails = _signs(first), _normalized(first)
        for start in range(0, len(second), BLOCK):
            yield from _near_in_block(first, signs, thumbnails, second[start : start + BLOCK])


def _near_in_block(
    first: _Images, signs: np.ndarray, thumbnails: np.ndarray, block: _Images
) -> Iterator[Finding]:
    """Compare images of a block with those of ``first``, which have these signs and thumbnails."""
    # a product of signs is 64 minus twice the number of different bits
    close = _signs(block) @ signs.T >= 64 - 2 * HASH_DISTANCE
    if not close.any():
        return
    likeness = np.where(close, _normalized(block) @ thumbnails.T, -1)
    nearest, correlations = likeness.argmax(axis=1), likeness.max(axis=1)
    for row in np.flatnonzero(correlations >= CORRELATION).tolist():
        (each, image), (other, its_image) = block[row], first[int(nearest[row])]
        if image.digest != its_image.digest:
            detail = f"like {other.name} (correlation {correlations[row]:.3f})"
            yield each.about_image("near-duplicate", detail)


def _signs(images: _Images) -> np.ndarray:
    """Return the hashes as N×64 float32 of +1 and -1."""
    return np.stack([image.phash for _, image in images]).astype(np.float32) * 2 - 1


def _normalized(images: _Images) -> np.ndarray:
    """Return the thumbnails as N×256 float32 of mean 0 and length 1: products are correlations."""
    rows = np.stack([image.thumbnail.ravel() for _, image in images]).astype(np.float32)
    rows -= rows.mean(axis=1, keepdims=True)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def _repeated_masks(facts: list[PairFacts]) -> Iterator[Finding]:
    """Masks of several classes that are equal to the pixel, on images that are not."""
    groups: defaultdict[tuple[bytes, tuple[int, int]], list[PairFacts]] = defaultdict(list)
    for each, mask in with_mask(facts):
        if len(mask.values) > 1:
            groups[mask.digest, mask.size].append(each)
    for first, *others in groups.values():
        for each in others:
            if each.image and first.image and each.image.digest != first.image.digest:
                yield each.about_mask("mask-repeated", f"equal to the mask of {first.name}")


def _palettes(facts: list[PairFacts]) -> Iterator[Finding]:
    """Palette masks whose colours have other ids than in most masks."""
    usual = usual_palette(facts)
    place_of = {color: value for value, color in usual.items()}
    for each, mask in with_mask(facts):
        for value, color in mask.palette.items():
            # a colour that most masks have at two ids is right at both
            if color in place_of and usual.get(value) != color:
                place = place_of[color]
                detail = f"the colour {color} is id {value} here and {place} in most masks"
                yield each.about_mask("mask-palette", detail)
                break


def usual_palette(facts: Iterable[PairFacts]) -> dict[int, tuple[int, ...]]:
    """Return the colour that most palette masks give to each value."""
    votes: defaultdict[int, Counter[tuple[int, ...]]] = defaultdict(Counter)
    for _, mask in with_mask(facts):
        for value, color in mask.palette.items():
            votes[value][color] += 1
    return {value: counter.most_common(1)[0][0] for value, counter in votes.items()}


def _modes(facts: list[PairFacts]) -> Iterator[Finding]:
    """The few that are grey among colour images, or the other way round; halves are meant so."""
    images = with_image(facts)
    kinds = {True: "grey, most others have colour", False: "colour, most others are grey"}
    for gray, detail in kinds.items():
        odd = [each for each, image in images if image.gray == gray]
        if USUAL_TO_ODD * len(odd) <= len(images):
            yield from (each.about_image("image-mode", detail) for each in odd)


def _binaries(spec: DatasetSpec, facts: list[PairFacts]) -> Iterator[Finding]:
    """Masks of 0 and 255 in a dataset that ignores 255, where they are the smaller part."""
    if spec.value_map is not None or IGNORE not in spec.ignore_ids or spec.mask_format != "ids":
        return
    masks = with_mask(facts)
    binary = [each for each, mask in masks if set(mask.values) == {0, IGNORE}]
    if len(binary) < len(masks) / 2:
        for each in binary:
            yield each.about_mask("mask-binary", "only 0 and 255, which is ignored")


def _pixels(facts: list[PairFacts]) -> Iterator[Finding]:
    """Training pixels whose statistics are far from those of natural images."""
    sums = [image.sums for each, image in with_image(facts) if each.split == "train"]
    if not sums:
        return
    mean, square = np.mean(sums, axis=0)
    std = np.sqrt(np.maximum(square - mean**2, 0))
    far = np.abs(mean - NATURAL_MEAN).max() > 0.3
    if far or not NATURAL_STD / 3 <= std.mean() <= NATURAL_STD * 1.9:
        means, stds = (" ".join(f"{value:.2f}" for value in row) for row in (mean, std))
        usual = "ImageNet has 0.49 0.46 0.41 and 0.23 0.22 0.23"
        detail = f"mean {means}, std {stds} (RGB 0..1); {usual}"
        yield finding("unusual-pixels", None, "train", detail)
