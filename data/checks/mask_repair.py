"""Corrects the ids of masks, where what is wrong with them leaves no doubt about what is right."""

from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from encoder_ablations.data.checks.comparisons import usual_palette
from encoder_ablations.data.checks.facts import PairFacts
from encoder_ablations.data.checks.headers import ORIENTATION
from encoder_ablations.data.checks.lint import LintReport
from encoder_ablations.data.checks.rules import Finding
from encoder_ablations.data.datasets.reading import opened, read_ids
from encoder_ablations.data.datasets.sample import IGNORE

HARMLESS = frozenset({"mask-constant", "mask-repeated", "mask-unlabelled"})
"""Rules about what a mask says and not about its file."""
INCURABLE = frozenset({"mask-ids", "mask-interpolated", "mask-frames", "mask-binary"})
"""Rules whose masks hold ids that nobody can correct, unless all masks are of 0 and 255."""
CURABLE = frozenset({"mask-palette", "mask-rotated", "size-differs", "format-differs"})


class Hopeless(Exception):
    """This pair cannot be corrected; the text says why."""


class BrokenRules:
    """The rules that each file breaks."""

    def __init__(self, findings: Iterable[Finding]) -> None:
        self._titles: defaultdict[Path | None, dict[str, str]] = defaultdict(dict)
        for each in findings:
            self._titles[each.path][each.rule.code] = each.rule.title

    def codes(self, path: Path) -> frozenset[str]:
        """Return the codes of the rules that a file breaks."""
        return frozenset(self._titles.get(path, ()))

    def hopeless(self, path: Path) -> Hopeless:
        """Return the error for a file that cannot be corrected."""
        titles = self._titles.get(path, {}).values()
        return Hopeless("; ".join(titles) or "cannot be read")


class MaskRepair:
    """Corrects masks of one dataset."""

    def __init__(self, report: LintReport, broken: BrokenRules) -> None:
        self._spec = report.spec
        self._broken = broken
        self._place_of = {color: value for value, color in usual_palette(report.content).items()}
        codes = {each.rule.code for each in report.findings}
        self._all_binary = len(report.spec.classes) == 2 and "single-class" in codes
        self._value_of = {target: value for value, target in (report.spec.value_map or {}).items()}

    def correct(
        self, facts: PairFacts, size: tuple[int, int], done: list[str]
    ) -> np.ndarray | None:
        """Return the corrected values, H×W; None when the file is right as it is.

        Args:
            facts: the pair.
            size: (H, W) of the image in the copy.
            done: what is done is added here.

        Raises:
            Hopeless: the mask cannot be corrected.
        """
        path = facts.pair.mask
        codes = self._broken.codes(path) - HARMLESS
        binary = self._is_binary(facts)
        if codes and self._spec.mask_format != "ids":
            raise self._broken.hopeless(path)
        if facts.mask is None:
            ids = self._read_anew(path, codes)
            done.append("mask saved as ids")
        elif binary:
            ids = (read_ids(path) > 0).astype(np.uint8)
            done.append("255 became class 1")
        elif codes & INCURABLE:
            raise self._broken.hopeless(path)
        elif codes & CURABLE:
            ids = read_ids(path)
        else:
            return None
        if "mask-palette" in codes:
            ids = self._reordered(ids, facts)
            done.append("palette set in order")
        if "mask-rotated" in codes:
            ids = _upright(ids, facts)
            done.append("mask turned upright")
        if ids.shape != size:
            ids = _resized(ids, size)
            done.append("mask resized by the nearest pixel")
        return ids

    def _is_binary(self, facts: PairFacts) -> bool:
        """Whether a mask holds 0 and 255 in a dataset where 255 must be the second class."""
        return self._all_binary and facts.mask is not None and set(facts.mask.values) <= {0, IGNORE}

    def _read_anew(self, path: Path, codes: frozenset[str]) -> np.ndarray:
        """Return the ids of a mask that is a colour picture or holds floating-point numbers."""
        ids = None
        if "mask-color" in codes:
            ids = self._from_colors(path)
        elif "mask-float" in codes:
            ids = _from_floats(path)
        if ids is None:
            raise self._broken.hopeless(path)
        known = {
            *range(len(self._spec.classes)),
            *self._spec.ignore_ids,
            *(self._spec.value_map or {}),
        }
        if set(np.unique(ids).tolist()) - known:
            raise Hopeless("the mask's values are no class ids")
        return ids

    def _from_colors(self, path: Path) -> np.ndarray | None:
        """Return the ids of a picture that is grey after all, or has only the classes' colours."""
        with opened(path) as image:
            pixels = np.asarray(image.convert("RGB"))
        if (pixels == pixels[..., :1]).all():
            return pixels[..., 0]
        if self._spec.colors is None:
            return None
        ids = np.full(pixels.shape[:2], -1)
        for number, color in enumerate(self._spec.colors):
            ids[(pixels == color).all(axis=-1)] = self._value_of.get(number, number)
        # black that is no class is ignored
        if self._spec.ignore_ids:
            ids[(ids < 0) & (pixels == 0).all(axis=-1)] = self._spec.ignore_ids[0]
        return None if ids.min() < 0 else ids

    def _reordered(self, ids: np.ndarray, facts: PairFacts) -> np.ndarray:
        """Give each colour of the palette the id that it has in most masks."""
        table = np.arange(65536)
        for value, color in (facts.mask.palette if facts.mask else {}).items():
            table[value] = self._place_of.get(color, value)
        return table[ids]


def _upright(ids: np.ndarray, facts: PairFacts) -> np.ndarray:
    """Turn a mask by its EXIF data, where sizes show that its image is upright."""
    with opened(facts.pair.mask) as image:
        orientation = image.getexif()[ORIENTATION]
    carrier = Image.fromarray(ids.astype(np.int32))
    carrier.getexif()[ORIENTATION] = orientation
    turned = np.asarray(ImageOps.exif_transpose(carrier))
    size = facts.image.size if facts.image else None
    if ids.shape == size or turned.shape != size:
        raise Hopeless(
            "the mask's EXIF data turn it, and its size does not tell whether that is meant"
        )
    return turned


def _from_floats(path: Path) -> np.ndarray | None:
    """Return the ids of a mask of whole numbers 0..65535 that are stored as floating-point ones."""
    with opened(path) as image:
        numbers = np.asarray(image)
    if not np.isfinite(numbers).all() or (numbers != np.round(numbers)).any():
        return None
    if numbers.min() < 0 or numbers.max() > 65535:
        return None
    return numbers.astype(np.int64)


def _resized(ids: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Return the nearest pixel's id, for masks of the image's proportions."""
    rows, columns = ids.shape
    if abs(rows * size[1] - columns * size[0]) > max(rows, columns, *size):
        raise Hopeless("the mask has another shape than its image")
    nearest = [
        ((np.arange(to) + 0.5) * of / to).astype(int)
        for of, to in zip(ids.shape, size, strict=True)
    ]
    return ids[np.ix_(*nearest)]
