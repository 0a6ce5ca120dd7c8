"""What only shows when pairs are compared: copies, leaks between splits, classes, brightness."""

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator
from itertools import combinations

import numpy as np

from encoder_ablations.data.checks.inspection import PairFacts
from encoder_ablations.data.checks.rules import Finding, finding
from encoder_ablations.data.checks.training_check import MOST_CLASSES
from encoder_ablations.data.datasets.class_names import invented_names
from encoder_ablations.data.datasets.sample import IGNORE
from encoder_ablations.data.datasets.scene_names import likely_scenes
from encoder_ablations.data.datasets.spec import DatasetSpec
from encoder_ablations.utils.texts import plural

HASH_DISTANCE = 10
"""Bits of 64 in which the hashes of nearly equal images may differ."""
CORRELATION = 0.985
"""Smallest correlation of their thumbnails."""
RARE = 0.0005
"""A class with a smaller share of the labelled training pixels is reported."""
NATURAL_MEAN = (0.485, 0.456, 0.406)
NATURAL_STD = 0.226
"""Of ImageNet."""
BLOCK = 256


def compare(spec: DatasetSpec, facts: list[PairFacts]) -> list[Finding]:
    """Findings about all pairs together."""
    found: list[Finding] = []
    for rule in (
        _copies,
        _near_duplicates,
        _repeated_masks,
        _scenes,
        _palettes,
        _modes,
        _binaries,
        _pixels,
    ):
        found += rule(spec, facts)
    return found + list(_classes(spec, facts))


def _grouped(
    facts: Iterable[PairFacts], key: Callable[[PairFacts], Hashable]
) -> list[list[PairFacts]]:
    """Lists of two and more with one key; a key of None stands for nothing."""
    groups = defaultdict(list)
    for each in facts:
        value = key(each)
        if value is not None:
            groups[value].append(each)
    return [group for group in groups.values() if len(group) > 1]


def _name(each: PairFacts) -> str:
    return f"{each.split}/{each.pair.image.name}"


def _copies(_spec: DatasetSpec, facts: list[PairFacts]) -> Iterator[Finding]:
    """Equal pixels: across splits a leak, within a split a waste, or a contradiction when the masks differ."""
    for group in _grouped(facts, lambda each: each.image and each.image.digest):
        first_of: dict[str, PairFacts] = {}
        for each in group:
            first = first_of.setdefault(each.split, each)
            if first is not each:
                same = (
                    first.mask is None or each.mask is None or first.mask.digest == each.mask.digest
                )
                code = "image-repeated" if same else "masks-contradict"
                yield finding(code, each.pair.image, each.split, f"equal to {_name(first)}")
        leaders = list(first_of.values())
        for other in leaders[1:]:
            yield finding(
                "image-leaked", other.pair.image, other.split, f"equal to {_name(leaders[0])}"
            )


def _near_duplicates(_spec: DatasetSpec, facts: list[PairFacts]) -> Iterator[Finding]:
    """Images of different splits whose hashes and thumbnails agree, each with its nearest."""
    by_split = defaultdict(list)
    for each in facts:
        if each.image is not None and each.image.thumbnail.std() > 2:
            by_split[each.split].append(each)
    for first, second in combinations(by_split.values(), 2):
        bits, thumbnails = _signs(first), _normalized(first)
        for start in range(0, len(second), BLOCK):
            block = second[start : start + BLOCK]
            close = _signs(block) @ bits.T >= 64 - 2 * HASH_DISTANCE
            if not close.any():
                continue
            likeness = np.where(close, _normalized(block) @ thumbnails.T, -1)
            for row, best in enumerate(likeness.argmax(axis=1)):
                one, other = first[int(best)].image, block[row].image
                if (
                    likeness[row, best] >= CORRELATION
                    and one
                    and other
                    and one.digest != other.digest
                ):
                    detail = (
                        f"like {_name(first[int(best)])} (correlation {likeness[row, best]:.3f})"
                    )
                    yield finding("near-duplicate", block[row].pair.image, block[row].split, detail)


def _signs(facts: list[PairFacts]) -> np.ndarray:
    """N×64 float32, +1 and -1: a product of two rows is 64 minus twice the number of different bits."""
    return np.stack([each.image.phash for each in facts if each.image]).astype(np.float32) * 2 - 1


def _normalized(facts: list[PairFacts]) -> np.ndarray:
    """N×256 float32 of mean 0 and length 1: a product of two rows is the correlation of two thumbnails."""
    rows = np.stack([each.image.thumbnail.ravel() for each in facts if each.image]).astype(
        np.float32
    )
    rows -= rows.mean(axis=1, keepdims=True)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def _repeated_masks(_spec: DatasetSpec, facts: list[PairFacts]) -> Iterator[Finding]:
    """Masks of several classes that are equal to the pixel, on images that are not."""
    several = [each for each in facts if each.mask is not None and len(each.mask.values) > 1]
    for group in _grouped(several, lambda each: each.mask and (each.mask.digest, each.mask.size)):
        first, *others = group
        for each in others:
            if each.image and first.image and each.image.digest != first.image.digest:
                yield finding(
                    "mask-repeated",
                    each.pair.mask,
                    each.split,
                    f"equal to the mask of {_name(first)}",
                )


def _scenes(spec: DatasetSpec, facts: list[PairFacts]) -> Iterator[Finding]:
    if spec.scene_pattern is None:
        yield from _likely_scenes(facts)
        return
    splits_of: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for each in facts:
        match = re.search(spec.scene_pattern, each.pair.id)
        if match is None or match[1] is None:
            yield finding(
                "scene-unnamed",
                each.pair.image,
                each.split,
                f"scene_pattern '{spec.scene_pattern}'",
            )
        else:
            splits_of[match[1]][each.split] += 1
    for scene, splits in sorted(splits_of.items()):
        if len(splits) > 1:
            shares = ", ".join(
                f"{plural(count, 'image')} in {split}" for split, count in splits.items()
            )
            yield finding("scene-leaked", None, "", f"scene '{scene}': {shares}")


def _likely_scenes(facts: list[PairFacts]) -> Iterator[Finding]:
    """Scenes that only names speak of, and that several splits share."""
    read = [each for each in facts if each.mask is not None]
    found = likely_scenes(
        [each.pair.id for each in read], np.array([each.mask.counts for each in read if each.mask])
    )
    if found is None or not found.sure:
        return
    splits_of: defaultdict[str, set[str]] = defaultdict(set)
    for each in read:
        if match := re.search(found.pattern, each.pair.id):
            splits_of[match[1]].add(each.split)
    shared = sorted(scene for scene, splits in splits_of.items() if len(splits) > 1)
    if shared:
        names = ", ".join(shared[:3]) + (", …" if len(shared) > 3 else "")
        detail = f"{len(shared)} of {plural(found.scenes, 'group')} by '{found.pattern}' ({names})"
        yield finding("scene-likely", None, "", detail)


def _palettes(_spec: DatasetSpec, facts: list[PairFacts]) -> Iterator[Finding]:
    """Palette masks whose colours stand at other places than in most masks: their ids are shuffled."""
    usual = usual_palette(facts)
    place_of = {color: value for value, color in usual.items()}
    for each in facts:
        colors = each.mask.palette if each.mask else {}
        moved = {
            value: place_of[color]
            for value, color in colors.items()
            if color in place_of and place_of[color] != value and usual.get(value) != color
        }
        if moved:
            value, place = next(iter(moved.items()))
            detail = f"the colour {colors[value]} is id {value} here and {place} in most masks"
            yield finding("mask-palette", each.pair.mask, each.split, detail)


def usual_palette(facts: Iterable[PairFacts]) -> dict[int, tuple[int, ...]]:
    """The colour that most palette masks give to each value."""
    votes: defaultdict[int, Counter[tuple[int, ...]]] = defaultdict(Counter)
    for each in facts:
        for value, color in (each.mask.palette if each.mask else {}).items():
            votes[value][color] += 1
    return {value: counter.most_common(1)[0][0] for value, counter in votes.items()}


def _modes(_spec: DatasetSpec, facts: list[PairFacts]) -> Iterator[Finding]:
    """The few that are grey among colour images, or the other way round; a half-and-half set is meant so."""
    known = [each for each in facts if each.image is not None]
    gray = [each for each in known if each.image and each.image.gray]
    if 0 < len(gray) <= len(known) / 10:
        for each in gray:
            yield finding(
                "image-mode", each.pair.image, each.split, "grey, most others have colour"
            )
    elif len(known) * 9 / 10 <= len(gray) < len(known):
        for each in known:
            if each.image and not each.image.gray:
                yield finding(
                    "image-mode", each.pair.image, each.split, "colour, most others are grey"
                )


def _binaries(spec: DatasetSpec, facts: list[PairFacts]) -> Iterator[Finding]:
    if spec.value_map is not None or IGNORE not in spec.ignore_ids or spec.mask_format != "ids":
        return
    masks = [each for each in facts if each.mask is not None]
    binary = [each for each in masks if each.mask and set(each.mask.values) == {0, IGNORE}]
    if 0 < len(binary) < len(masks) / 2:
        for each in binary:
            yield finding(
                "mask-binary", each.pair.mask, each.split, "only 0 and 255, which is ignored"
            )


def _pixels(_spec: DatasetSpec, facts: list[PairFacts]) -> Iterator[Finding]:
    sums = [each.image.sums for each in facts if each.image is not None and each.split == "train"]
    if not sums:
        return
    mean, square = np.mean(sums, axis=0)
    std = np.sqrt(np.maximum(square - mean**2, 0))
    far = np.abs(mean - NATURAL_MEAN).max() > 0.3
    if far or std.mean() < NATURAL_STD / 3 or std.mean() > NATURAL_STD * 1.9:
        numbers = [" ".join(f"{value:.2f}" for value in row) for row in (mean, std)]
        detail = f"mean {numbers[0]}, std {numbers[1]} (RGB 0..1); ImageNet has 0.49 0.46 0.41 and 0.23 0.22 0.23"
        yield finding("unusual-pixels", None, "train", detail)


def _classes(spec: DatasetSpec, facts: list[PairFacts]) -> Iterator[Finding]:
    if len(spec.classes) > MOST_CLASSES:
        yield finding(
            "many-classes", None, "", f"{len(spec.classes)}, at most {MOST_CLASSES} can be"
        )
    if invented := invented_names(spec.classes):
        names = ", ".join(invented[:8]) + (", …" if len(invented) > 8 else "")
        yield finding("class-unnamed", None, "", f"{plural(len(invented), 'class')}: {names}")
    totals: dict[str, np.ndarray] = {}
    for split in spec.splits:
        masks = [each.mask for each in facts if each.mask is not None and each.split == split]
        if not masks:
            continue
        totals[split] = np.sum([mask.counts for mask in masks], axis=0)
        every = sum(sum(mask.values.values()) for mask in masks)
        if totals[split].sum() < every / 2:
            share = 100 * (1 - totals[split].sum() / every)
            yield finding(
                "mostly-unlabelled", None, split, f"{share:.0f} % of the pixels have no class"
            )
    if "train" in totals:
        yield from _training_classes(spec, facts, totals)


def _training_classes(
    spec: DatasetSpec, facts: list[PairFacts], totals: dict[str, np.ndarray]
) -> Iterator[Finding]:
    shown = totals["train"] > 0
    if len(spec.classes) > 1 and shown.sum() < 2:
        only = f"only '{spec.classes[int(shown.argmax())]}'" if shown.any() else "no class"
        yield finding(
            "single-class",
            None,
            "train",
            f"{only}; ignored are the ids {', '.join(map(str, spec.ignore_ids))}",
        )
    values = Counter(value for each in facts if each.mask for value in each.mask.values)
    one_more = len(spec.classes)
    plain = spec.value_map is None and not spec.reduce_zero_label and not spec.ignore_others
    if plain and values[0] == 0 and values[one_more] and one_more not in spec.ignore_ids:
        yield finding(
            "off-by-one", None, "", f"no mask holds 0, {values[one_more]} hold {one_more}"
        )
    for number, name in enumerate(spec.classes):
        elsewhere = [split for split, counts in totals.items() if counts[number]]
        if elsewhere and not shown[number]:
            yield finding(
                "class-unseen",
                None,
                "train",
                f"'{name}' is shown in {' and '.join(elsewhere)} and not in train",
            )
            continue
        for split, counts in totals.items():
            if not counts[number]:
                yield finding("class-absent", None, split, f"no mask shows '{name}'")
    shares = totals["train"] / max(1, totals["train"].sum())
    for number in map(int, np.flatnonzero(shown & (shares < RARE))):
        yield finding(
            "class-imbalance",
            None,
            "train",
            f"'{spec.classes[number]}' has {100 * shares[number]:.2g} % of the pixels",
        )
