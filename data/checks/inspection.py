"""Reads one pair completely and says what is wrong with it.

A finding about one file never hides one about another.
"""

import hashlib
from pathlib import Path

import numpy as np
from PIL import Image

from encoder_ablations.data.checks.content.measures import image_content, pair_content
from encoder_ablations.data.checks.facts import ImageFacts, MaskFacts, PairFacts
from encoder_ablations.data.checks.headers import (
    WITHOUT_COLOR,
    Header,
    in_pixels,
    note_image_header,
    note_mask_header,
    noting_problems,
    read_header,
    require_content,
)
from encoder_ablations.data.checks.image_statistics import moments, perceptual_hash
from encoder_ablations.data.datasets.decoding import class_table, read_values
from encoder_ablations.data.datasets.orientation import drawn_on
from encoder_ablations.data.datasets.reading import read_image
from encoder_ablations.data.datasets.sample import IGNORE, mask_type
from encoder_ablations.data.datasets.spec import LARGEST_VALUE, DatasetSpec
from encoder_ablations.utils.texts import first_names, plural

SMALL = 32
"""Images with a shorter side are reported."""
DIM = 64
"""16-bit images whose brightest level, reduced to 8 bits, is below this are reported."""
FLAT = 2
"""Images whose levels differ by no more than this are constant."""
MANY_STRANGE = 8
"""So many values without a class, on a small share of the pixels, come from interpolation."""
SMALL_SHARE = 0.3
TURN_RULES = {"upright": "image-rotated", "stored": "exif-contradicts", None: "exif-unclear"}
"""What it means that EXIF data turn an image, by the pixels that its mask was drawn on."""


class Inspector:
    """Inspects pairs of one dataset; used by several threads at once."""

    def __init__(self, spec: DatasetSpec) -> None:
        self._spec = spec
        self._class_of = class_table(spec)
        # images of each split are looked for in those before it (`shared_views`)
        self._first_split = next(iter(spec.splits))

    def inspect(self, facts: PairFacts) -> None:
        """Fill in what the two files of a pair hold, with findings in place of errors."""
        pixels = classes = None
        with noting_problems(facts.pair.image, facts):
            require_content(facts.pair.image)
            pixels = read_image(facts.pair.image, self._spec.upright)
            facts.image = self._image_facts(pixels, facts)
        with noting_problems(facts.pair.mask, facts):
            require_content(facts.pair.mask)
            ids = read_values(facts.pair.mask, self._spec)
            classes = self._class_of[ids.clip(0, LARGEST_VALUE)]
            facts.mask = self._mask_facts(ids, classes, facts)
        if pixels is not None and classes is not None:
            self._compare_content(pixels, classes, facts)
        if facts.image is not None:
            self._note_turn(facts.image, facts)
            self._compare_sizes(facts.image, facts)

    def _compare_content(self, pixels: np.ndarray, classes: np.ndarray, facts: PairFacts) -> None:
        """Measure how image and mask go together, if they fit each other."""
        if pixels.shape[:2] == classes.shape and classes.min() >= 0:
            ignore = self._spec.ignore_label
            facts.content = pair_content(pixels, classes.astype(mask_type(ignore)), ignore)

    def _image_facts(self, pixels: np.ndarray, facts: PairFacts) -> ImageFacts:
        path = facts.pair.image
        header = read_header(path)
        size = (pixels.shape[0], pixels.shape[1])
        image = Image.fromarray(pixels)
        thumbnail, phash = perceptual_hash(image)
        note_image_header(header, facts)
        _note_levels(header, pixels, facts)
        small = min(size) < SMALL
        facts.note("image-small", path, in_pixels((header.height, header.width)), small)
        return ImageFacts(
            size=size,
            gray=header.mode in WITHOUT_COLOR or header.is_deep,
            sums=moments(image),
            digest=_digest(pixels),
            thumbnail=thumbnail,
            phash=phash,
            content=image_content(pixels, mirror=facts.split != self._first_split),
            orientation=header.orientation,
        )

    def _mask_facts(self, ids: np.ndarray, classes: np.ndarray, facts: PairFacts) -> MaskFacts:
        palette = self._palette(facts.pair.mask, facts)
        values, pixels = _count(ids)
        held = dict(zip(values.tolist(), pixels.tolist(), strict=True))
        counts, ignored, unknown = self._classify(values, pixels)
        mask = MaskFacts(
            size=(ids.shape[0], ids.shape[1]),
            values=held,
            counts=counts,
            ignored=ignored,
            digest=_digest(ids),
            palette={value: palette[value] for value in sorted(palette.keys() & held.keys())},
        )
        turned = facts.image is not None and facts.image.orientation > 1
        if turned and self._spec.masks_drawn_on is None:
            facts.drawn_on = drawn_on(facts.pair.image, classes)
        self._note_classes(mask, values[unknown], pixels[unknown], facts)
        return mask

    def _palette(self, path: Path, facts: PairFacts) -> dict[int, tuple[int, ...]]:
        """Note what is odd about how a mask is stored, and return the colours of its ids."""
        # annotations in JSON have no header
        if self._spec.mask_format == "supervisely":
            return {}
        header = read_header(path)
        note_mask_header(header, facts)
        return {"ids": header.palette}.get(self._spec.mask_format, {})

    def _classify(
        self, values: np.ndarray, pixels: np.ndarray
    ) -> tuple[np.ndarray, int, np.ndarray]:
        """Return the pixels of each class, the ignored ones, and which values have no class.

        Args:
            values: V integers in the mask file.
            pixels: V int64, how many pixels hold each of them.
        """
        inside = values.clip(0, LARGEST_VALUE)
        targets = np.where(inside == values, self._class_of[inside], -1)
        ignore = self._spec.ignore_label
        # values without a class, -1, are added up in one more place, at the end
        totals = np.zeros(ignore + 2, np.int64)
        np.add.at(totals, targets, pixels)
        # a copy: a view would keep the places of all possible ids in memory
        counts = totals[: len(self._spec.classes)].copy()
        return counts, int(totals[ignore]), targets < 0

    def _note_classes(
        self, mask: MaskFacts, values: np.ndarray, pixels: np.ndarray, facts: PairFacts
    ) -> None:
        """Note values without a class, or else that a mask shows no class, or one of several.

        Args:
            mask: what was read.
            values: those that have no class.
            pixels: how many pixels hold each of them.
            facts: get the finding.
        """
        path = facts.pair.mask
        shown = [self._spec.classes[number] for number in np.flatnonzero(mask.counts)]
        one_of_many = len(shown) == 1 < len(mask.counts) and set(mask.values) != {0, IGNORE}
        if len(values):
            self._note_unknown(values, pixels.sum() / np.prod(mask.size), facts)
        elif not shown:
            facts.note("mask-unlabelled", path, f"all {mask.ignored} pixels are ignored")
        elif one_of_many:
            facts.note("mask-constant", path, f"only {shown[0]}")

    def _note_unknown(self, values: np.ndarray, share: float, facts: PairFacts) -> None:
        """Many strange values on few pixels are the edges of a mask that was resized."""
        known = f"classes are 0..{len(self._spec.classes) - 1}"
        if self._spec.value_map is not None:
            known = f"value_map knows {plural(len(self._spec.value_map), 'other')}"
        shown = first_names(values.tolist(), 5)
        code = "mask-ids"
        if len(values) >= MANY_STRANGE and share < SMALL_SHARE:
            code = "mask-interpolated"
        detail = f"{shown} on {100 * share:.3g} % of the pixels; {known}"
        facts.note(code, facts.pair.mask, detail)

    def _note_turn(self, image: ImageFacts, facts: PairFacts) -> None:
        """Note that EXIF data turn an image, and whether its mask was drawn on it like that."""
        said = self._spec.masks_drawn_on
        rotated = any(each.rule.code == "mask-rotated" for each in facts.findings)
        detail = f"orientation {image.orientation}"
        code = TURN_RULES[facts.drawn_on]
        if said is not None:
            detail += f"; masks_drawn_on: {said}"
        # who says how masks were drawn, and a mask that is missing or turned itself, leave no doubt
        if said is not None or facts.mask is None or rotated:
            code = "image-rotated"
        facts.note(code, facts.pair.image, detail, image.orientation > 1)

    def _compare_sizes(self, image: ImageFacts, facts: PairFacts) -> None:
        """Note that mask and image differ in size, unless a turn explains it."""
        turned = facts.drawn_on == "stored" and self._spec.upright
        if facts.mask is None or facts.mask.size == image.size or turned:
            return
        size, name = facts.mask.size, facts.pair.image.name
        text = f"{in_pixels(size)} (width × height), its image {name} has "
        text += f"{image.size[1]}×{image.size[0]}"
        if size == image.size[::-1]:
            text += ": one of them lies on its side"
        facts.note("size-differs", facts.pair.mask, text)


def _note_levels(header: Header, pixels: np.ndarray, facts: PairFacts) -> None:
    """Note that an image is dark for its number of bits, or constant."""
    path = facts.pair.image
    extrema = np.array(Image.fromarray(pixels).getextrema())
    spread = int((extrema[:, 1] - extrema[:, 0]).max())
    if header.is_deep and pixels.max() < DIM:
        brightest = f"the brightest pixel has {pixels.max() / 2.55:.0f} % of 16 bits"
        facts.note("image-dim", path, brightest)
    elif spread <= FLAT:
        facts.note("image-constant", path, f"RGB {tuple(pixels[0, 0].tolist())}")


def _digest(pixels: np.ndarray) -> bytes:
    return hashlib.blake2b(np.ascontiguousarray(pixels).data, digest_size=16).digest()


def _count(ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the values of a mask, ascending, and how many pixels hold each of them."""
    if ids.dtype != np.uint8:
        return np.unique(ids, return_counts=True)
    # seven times as fast, for nearly all masks
    counts = np.bincount(ids.ravel(), minlength=256)
    values = np.flatnonzero(counts)
    return values, counts[values]
