"""Corrects the ids of masks, where what is wrong with them leaves no doubt about what is right."""

from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from encoder_ablations.data.checks.comparisons import usual_palette
from encoder_ablations.data.checks.facts import MaskFacts, PairFacts
from encoder_ablations.data.checks.headers import ORIENTATION
from encoder_ablations.data.checks.lint import LintReport
from encoder_ablations.data.checks.rules import Finding
from encoder_ablations.data.datasets.decoding import class_table
from encoder_ablations.data.datasets.reading import opened, read_ids
from encoder_ablations.data.datasets.sample import IGNORE
from encoder_ablations.data.datasets.spec import LARGEST_VALUE

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
        # -1, which stands for no value at all, finds the entry at the end
        self._class_of = np.append(class_table(report.spec), -1)
        classes, values = np.unique(self._class_of, return_index=True)
        self._value_of = dict(zip(classes.tolist(), values.tolist(), strict=True))

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
        if codes and self._spec.mask_format != "ids":
            raise self._broken.hopeless(path)
        if facts.mask is None:
            ids = self._read_anew(path, codes)
            done.append("mask saved as ids")
        elif self._all_binary and facts.mask.values.keys() <= {0, IGNORE}:
            ids = (read_ids(path) > 0).astype(np.uint8)
            done.append("255 became class 1")
        elif codes & INCURABLE:
            raise self._broken.hopeless(path)
        elif codes & CURABLE:
            ids = self._in_order(read_ids(path), facts.mask, codes, done)
        else:
            return None
        return _fitted(ids, path, size, codes, done)

    def _read_anew(self, path: Path, codes: frozenset[str]) -> np.ndarray:
        """Return the ids of a mask that is a colour picture or holds floating-point numbers."""
        readers = {"mask-color": self._from_colors, "mask-float": _from_floats}
        found = [read for code, read in readers.items() if code in codes]
        if not found:
            raise self._broken.hopeless(path)
        ids = found[0](path)
        if (self._class_of[ids] < 0).any():
            raise Hopeless(f"{self._broken.hopeless(path)}; what it holds are no class ids")
        return ids

    def _from_colors(self, path: Path) -> np.ndarray:
        """Return the ids of a picture that is grey after all, or has only the classes' colours.

        Other colours become -1.
        """
        with opened(path) as image:
            pixels = np.asarray(image.convert("RGB"))
        if (pixels == pixels[..., :1]).all():
            return pixels[..., 0]
        ids = np.full(pixels.shape[:2], -1)
        # black that is no class is ignored
        ids[(pixels == 0).all(axis=-1)] = self._value_of.get(self._spec.ignore_label, -1)
        for number, color in enumerate(self._spec.colors or ()):
            ids[(pixels == color).all(axis=-1)] = self._value_of[number]
        return ids

    def _in_order(
        self, ids: np.ndarray, mask: MaskFacts, codes: frozenset[str], done: list[str]
    ) -> np.ndarray:
        """Give each colour of the palette the id that it has in most masks."""
        if "mask-palette" not in codes:
            return ids
        done.append("palette set in order")
        table = np.arange(LARGEST_VALUE + 1)
        for value, color in mask.palette.items():
            table[value] = self._place_of.get(color, value)
        ordered: np.ndarray = table[ids]
        return ordered


def _from_floats(path: Path) -> np.ndarray:
    """Return the ids of a mask of whole numbers 0..65535 that are stored as floating-point ones.

    Other numbers become -1.
    """
    with opened(path) as image:
        numbers = np.asarray(image)
    right = (numbers == np.round(numbers)) & (numbers >= 0) & (numbers <= LARGEST_VALUE)
    return np.where(right, numbers, -1).astype(np.int64)


def _fitted(
    ids: np.ndarray, path: Path, size: tuple[int, int], codes: frozenset[str], done: list[str]
) -> np.ndarray:
    """Return a mask turned and resized as its image is."""
    if "mask-rotated" in codes:
        ids = _upright(ids, path, size)
        done.append("mask turned upright")
    if ids.shape != size:
        ids = _resized(ids, size)
        done.append("mask resized by the nearest pixel")
    return ids


def _upright(ids: np.ndarray, path: Path, size: tuple[int, int]) -> np.ndarray:
    """Turn a mask by its EXIF data, where sizes show that its image is upright."""
    with opened(path) as image:
        orientation = image.getexif()[ORIENTATION]
    carrier = Image.fromarray(ids.astype(np.int32))
    carrier.getexif()[ORIENTATION] = orientation
    turned = np.asarray(ImageOps.exif_transpose(carrier))
    if ids.shape == size or turned.shape != size:
        raise Hopeless(
            "the mask's EXIF data turn it, and its size does not tell whether that is meant"
        )
    return turned


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
