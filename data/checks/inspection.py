"""Reads one pair completely and says what is wrong with it. A finding about a file never hides one about another."""

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from scipy.fft import dctn

from encoder_ablations.data.checks.rules import Finding, finding
from encoder_ablations.data.datasets.decoding import class_table, read_values
from encoder_ablations.data.datasets.orientation import Drawn, drawn_on
from encoder_ablations.data.datasets.pairing import Pair
from encoder_ablations.data.datasets.reading import IMAGE_SUFFIXES, FileProblem, opened, read_image
from encoder_ablations.data.datasets.sample import IGNORE
from encoder_ablations.data.datasets.spec import LARGEST_VALUE, DatasetSpec, Split
from encoder_ablations.utils.errors import InputError
from encoder_ablations.utils.texts import plural

SMALL = 32
ORIENTATION = 0x0112
SUFFIXES = {
    "JPEG": {".jpg", ".jpeg"}, "MPO": {".jpg", ".jpeg"}, "PNG": {".png"}, "BMP": {".bmp"}, "DIB": {".bmp"},
    "TIFF": {".tif", ".tiff"}, "WEBP": {".webp"},
}  # fmt: skip
THUMBNAIL = 16


@dataclass
class ImageFacts:
    """An image that could be read.

    Attributes:
        size: (H, W), as training reads it: upright, unless masks_drawn_on says otherwise.
        orientation: in its EXIF data, 1..8; 1 = upright.
        gray: whether it is stored without colour.
        sums: 2×3 float64: mean and mean square of each channel in 0..1.
        digest: of the pixels, whatever the format.
        thumbnail: 16×16 uint8, grey.
        phash: 64 bools, perceptual hash (lowest frequencies of a 32×32 version against their median).
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
        drawn_on: which pixels of an image that EXIF data turn the mask was drawn on; None = not known, or not turned.
    """

    split: Split
    pair: Pair
    image: ImageFacts | None = None
    mask: MaskFacts | None = None
    drawn_on: Drawn | None = None
    findings: list[Finding] = field(default_factory=list)

    def note(self, code: str, path: Path, detail: str) -> None:
        self.findings.append(finding(code, path, self.split, detail))


class Inspector:
    """Inspects pairs of one dataset; used by several threads at once."""

    def __init__(self, spec: DatasetSpec) -> None:
        self._spec = spec
        self._class_of = class_table(spec)

    def __call__(self, split: Split, pair: Pair) -> PairFacts:
        facts = PairFacts(split, pair)
        for path, read in ((pair.image, self._read_image), (pair.mask, self._read_mask)):
            try:
                if path.stat().st_size == 0:
                    facts.note("file-empty", path, "")
                    continue
                read(path, facts)
            except InputError as problem:
                rule = problem.rule if isinstance(problem, FileProblem) else "mask-format"
                detail = str(problem).removeprefix(f"{path} ").removeprefix(f"cannot read {path}: ")
                facts.note(rule, path, detail.partition(";")[0].rstrip("."))
            except OSError as error:
                facts.note("unreadable", path, error.strerror or str(error))
            except MemoryError:
                facts.note("too-large", path, "does not fit into memory")
        if facts.image and facts.image.orientation > 1:
            self._note_turn(facts, facts.image.orientation)
        explained = facts.drawn_on == "stored" and self._spec.upright
        if facts.image and facts.mask and facts.image.size != facts.mask.size and not explained:
            facts.note(
                "size-differs", pair.mask, _compare(facts.mask.size, facts.image.size, pair.image)
            )
        return facts

    def _note_turn(self, facts: PairFacts, orientation: int) -> None:
        """Says whether the mask fits an image that EXIF data turn."""
        said = self._spec.masks_drawn_on
        mask_is_turned = any(each.rule.code == "mask-rotated" for each in facts.findings)
        facts.drawn_on = said or facts.drawn_on
        detail = f"orientation {orientation}" + (f"; masks_drawn_on: {said}" if said else "")
        code = "image-rotated"
        if said is None and facts.mask is not None and not mask_is_turned:
            code = {"upright": "image-rotated", "stored": "exif-contradicts"}.get(
                facts.drawn_on or "", "exif-unclear"
            )
        facts.note(code, facts.pair.image, detail)

    def _read_image(self, path: Path, facts: PairFacts) -> None:
        header = _header(path)
        pixels = read_image(path, self._spec.upright)
        image = Image.fromarray(pixels)
        facts.image = ImageFacts(
            (pixels.shape[0], pixels.shape[1]),
            header.mode in ("1", "L", "LA") or header.mode.startswith("I"),
            moments(image),
            hashlib.blake2b(np.ascontiguousarray(pixels).data, digest_size=16).digest(),
            *perceptual_hash(image),
            header.orientation,
        )
        _note_format(header, path, facts)
        _note_image(header, pixels, path, facts)

    def _read_mask(self, path: Path, facts: PairFacts) -> None:
        spec = self._spec
        header = _header(path) if path.suffix.lower() in IMAGE_SUFFIXES else None
        ids = read_values(path, spec)
        values = _count(ids)
        colors = header.palette if header and spec.mask_format == "ids" else []
        palette = {value: colors[value] for value in values if 0 <= value < len(colors)}
        counts, ignored, unknown = self._classify(values)
        digest = hashlib.blake2b(np.ascontiguousarray(ids).data, digest_size=16).digest()
        facts.mask = MaskFacts(
            (ids.shape[0], ids.shape[1]), values, counts, ignored, digest, palette
        )
        if facts.image and facts.image.orientation > 1 and self._spec.masks_drawn_on is None:
            classes = self._class_of[ids.clip(0, LARGEST_VALUE)]
            facts.drawn_on = drawn_on(facts.pair.image, classes)
        if header and header.orientation > 1:
            facts.note("mask-rotated", path, f"orientation {header.orientation}")
        if header and header.frames > 1:
            facts.note("mask-frames", path, f"{header.frames} frames")
        if header:
            _note_format(header, path, facts)
        if unknown:
            self._note_unknown(unknown, ids.size, path, facts)
        elif ignored == ids.size:
            facts.note("mask-unlabelled", path, f"all {ids.size} pixels are ignored")
        elif (counts > 0).sum() == 1 and len(counts) > 1 and set(values) != {0, IGNORE}:
            facts.note("mask-constant", path, f"only {self._spec.classes[int(counts.argmax())]}")

    def _classify(self, values: dict[int, int]) -> tuple[np.ndarray, int, dict[int, int]]:
        """Pixels of each class, ignored pixels, and those of values that have no class."""
        counts = np.zeros(len(self._spec.classes), np.int64)
        ignored, unknown = 0, {}
        for value, pixels in values.items():
            target = int(self._class_of[value]) if 0 <= value <= LARGEST_VALUE else -1
            if target < 0:
                unknown[value] = pixels
            elif target == self._spec.ignore_label:
                ignored += pixels
            else:
                counts[target] += pixels
        return counts, ignored, unknown

    def _note_unknown(
        self, unknown: dict[int, int], pixels: int, path: Path, facts: PairFacts
    ) -> None:
        """Many strange values on few pixels are the edges of a mask that was resized or compressed."""
        share = sum(unknown.values()) / pixels
        shown = ", ".join(map(str, sorted(unknown)[:5])) + (", …" if len(unknown) > 5 else "")
        text = f"{shown} on {100 * share:.3g} % of the pixels; classes are 0..{len(self._spec.classes) - 1}"
        if self._spec.value_map is not None:
            known = plural(len(self._spec.value_map), "other")
            text = f"{shown} on {100 * share:.3g} % of the pixels; value_map knows {known}"
        blurred = len(unknown) >= 8 and share < 0.3
        facts.note("mask-interpolated" if blurred else "mask-ids", path, text)


@dataclass(frozen=True)
class _Header:
    format: str
    mode: str
    width: int
    height: int
    frames: int
    orientation: int
    palette: list[tuple[int, ...]]


def _header(path: Path) -> _Header:
    with opened(path) as image:
        colors = image.getpalette("RGB") if image.mode == "P" else None
        return _Header(
            image.format or "",
            image.mode,
            *image.size,
            getattr(image, "n_frames", 1),
            image.getexif().get(ORIENTATION, 1),
            list(zip(colors[::3], colors[1::3], colors[2::3], strict=True)) if colors else [],
        )


def _note_image(header: _Header, pixels: np.ndarray, path: Path, facts: PairFacts) -> None:
    if header.frames > 1 and header.format != "MPO":
        facts.note("image-frames", path, f"{header.frames} frames")
    if header.width * header.height > (Image.MAX_IMAGE_PIXELS or np.inf):
        facts.note("very-large", path, f"{header.width}×{header.height} pixels")
    if min(pixels.shape[:2]) < SMALL:
        facts.note("image-small", path, f"{header.width}×{header.height} pixels")
    extrema = np.array(Image.fromarray(pixels).getextrema())
    spread = int((extrema[:, 1] - extrema[:, 0]).max())
    if header.mode.startswith("I") and pixels.max() < 64:
        facts.note(
            "image-dim", path, f"the brightest pixel has {pixels.max() / 2.55:.0f} % of 16 bits"
        )
    elif spread <= 2:
        facts.note("image-constant", path, f"RGB {tuple(int(value) for value in pixels[0, 0])}")
    if header.mode in ("RGBA", "LA", "PA"):
        with opened(path) as stored:
            lowest = int(np.asarray(stored.getchannel("A")).min())
        if lowest < 255:
            facts.note("image-alpha", path, f"opacity goes down to {lowest / 2.55:.0f} %")


def _note_format(header: _Header, path: Path, facts: PairFacts) -> None:
    if path.suffix.lower() not in SUFFIXES.get(header.format, set()):
        facts.note("format-differs", path, f"the content is {header.format}")


def _count(ids: np.ndarray) -> dict[int, int]:
    if ids.dtype == np.uint8:
        counts = np.bincount(ids.ravel(), minlength=256)
        return {int(value): int(counts[value]) for value in counts.nonzero()[0]}
    values, counts = np.unique(ids, return_counts=True)
    return dict(zip(values.tolist(), counts.tolist(), strict=True))


def _compare(mask: tuple[int, int], image: tuple[int, int], path: Path) -> str:
    text = f"{mask[1]}×{mask[0]} pixels (width × height), its image {path.name} has {image[1]}×{image[0]}"
    if mask == image[::-1]:
        return f"{text}: one of them lies on its side"
    return text


def moments(image: Image.Image) -> np.ndarray:
    """2×3 float64: mean and mean square of each channel of an RGB image, in 0..1."""
    histogram = np.array(image.histogram(), np.float64).reshape(3, 256)
    levels = np.arange(256) / 255
    weights = histogram / histogram.sum(axis=1, keepdims=True)
    return np.stack([weights @ levels, weights @ levels**2])


def perceptual_hash(image: Image.Image) -> tuple[np.ndarray, np.ndarray]:
    """A 16×16 uint8 grey thumbnail, and 64 bools: signs of the lowest 8×8 frequencies about their median.

    The hash is pHash (Zauner, "Implementation and Benchmarking of Perceptual Image Hash Functions", 2010): it stays
    nearly the same when an image is compressed, resized or made brighter.
    """
    small = image.convert("L").resize(
        (2 * THUMBNAIL, 2 * THUMBNAIL), Image.Resampling.BOX, reducing_gap=2.0
    )
    pixels = np.asarray(small, np.float32)
    low: Any = dctn(pixels, norm="ortho")[:8, :8].ravel()
    thumbnail = pixels.reshape(THUMBNAIL, 2, THUMBNAIL, 2).mean(axis=(1, 3))
    return thumbnail.round().astype(np.uint8), low > np.median(low[1:])
