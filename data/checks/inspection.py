"""Reads one pair completely and says what is wrong with it.

A finding about one file never hides one about another.
"""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from encoder_ablations.data.checks.facts import ImageFacts, MaskFacts, PairFacts
from encoder_ablations.data.checks.image_statistics import moments, perceptual_hash
from encoder_ablations.data.datasets.decoding import class_table, read_values
from encoder_ablations.data.datasets.listing import IMAGE_SUFFIXES
from encoder_ablations.data.datasets.orientation import drawn_on
from encoder_ablations.data.datasets.pairing import Pair
from encoder_ablations.data.datasets.reading import FileProblem, opened, read_image
from encoder_ablations.data.datasets.sample import IGNORE
from encoder_ablations.data.datasets.spec import LARGEST_VALUE, DatasetSpec, Split
from encoder_ablations.utils.errors import InputError
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
ORIENTATION = 0x0112
SUFFIXES = {
    "JPEG": {".jpg", ".jpeg"},
    "MPO": {".jpg", ".jpeg"},
    "PNG": {".png"},
    "BMP": {".bmp"},
    "DIB": {".bmp"},
    "TIFF": {".tif", ".tiff"},
    "WEBP": {".webp"},
}
TURN_RULES = {"upright": "image-rotated", "stored": "exif-contradicts", None: "exif-unclear"}
"""What it means that EXIF data turn an image, by the pixels that its mask was drawn on."""


class Inspector:
    """Inspects pairs of one dataset; used by several threads at once."""

    def __init__(self, spec: DatasetSpec) -> None:
        self._spec = spec
        self._class_of = class_table(spec)

    def __call__(self, split: Split, pair: Pair) -> PairFacts:
        """Return what the two files hold, with findings in place of errors."""
        facts = PairFacts(split, pair)
        with _noting_problems(pair.image, facts):
            _require_content(pair.image)
            self._read_image(pair.image, facts)
        with _noting_problems(pair.mask, facts):
            _require_content(pair.mask)
            self._read_mask(pair.mask, facts)
        self._note_turn(facts)
        self._compare_sizes(facts)
        return facts

    def _note_turn(self, facts: PairFacts) -> None:
        """Say whether the mask fits an image that EXIF data turn."""
        if facts.image is None or facts.image.orientation <= 1:
            return
        said = self._spec.masks_drawn_on
        facts.drawn_on = said or facts.drawn_on
        detail = f"orientation {facts.image.orientation}"
        code = "image-rotated"
        if said is not None:
            detail += f"; masks_drawn_on: {said}"
        elif facts.mask is not None and not _notes(facts, "mask-rotated"):
            code = TURN_RULES[facts.drawn_on]
        facts.note(code, facts.pair.image, detail)

    def _compare_sizes(self, facts: PairFacts) -> None:
        """Say that mask and image differ in size, unless a turn explains it."""
        if facts.image is None or facts.mask is None or facts.image.size == facts.mask.size:
            return
        if facts.drawn_on == "stored" and self._spec.upright:
            return
        mask, image = facts.mask.size, facts.image.size
        name = facts.pair.image.name
        text = f"{_pixels(mask)} (width × height), its image {name} has {image[1]}×{image[0]}"
        if mask == image[::-1]:
            text += ": one of them lies on its side"
        facts.note("size-differs", facts.pair.mask, text)

    def _read_image(self, path: Path, facts: PairFacts) -> None:
        header = _header(path)
        pixels = read_image(path, self._spec.upright)
        image = Image.fromarray(pixels)
        thumbnail, phash = perceptual_hash(image)
        facts.image = ImageFacts(
            size=(pixels.shape[0], pixels.shape[1]),
            gray=header.mode in ("1", "L", "LA") or header.is_deep,
            sums=moments(image),
            digest=_digest(pixels),
            thumbnail=thumbnail,
            phash=phash,
            orientation=header.orientation,
        )
        _note_format(header, path, facts)
        _note_header(header, path, facts)
        _note_levels(header, pixels, path, facts)
        if min(pixels.shape[:2]) < SMALL:
            facts.note("image-small", path, _pixels((header.height, header.width)))

    def _read_mask(self, path: Path, facts: PairFacts) -> None:
        header = _header(path) if path.suffix.lower() in IMAGE_SUFFIXES else None
        ids = read_values(path, self._spec)
        values = _count(ids)
        colors = header.palette if header is not None and self._spec.mask_format == "ids" else {}
        palette = {value: colors[value] for value in values if value in colors}
        counts, ignored, unknown = self._classify(values)
        size = (ids.shape[0], ids.shape[1])
        facts.mask = MaskFacts(size, values, counts, ignored, _digest(ids), palette)
        if facts.image and facts.image.orientation > 1 and self._spec.masks_drawn_on is None:
            classes = self._class_of[ids.clip(0, LARGEST_VALUE)]
            facts.drawn_on = drawn_on(facts.pair.image, classes)
        if header is not None:
            _note_mask_file(header, path, facts)
        if unknown:
            self._note_unknown(unknown, ids.size, path, facts)
        else:
            self._note_few_classes(facts.mask, path, facts)

    def _note_few_classes(self, mask: MaskFacts, path: Path, facts: PairFacts) -> None:
        """Say that a mask shows no class, or only one of several."""
        shown = np.flatnonzero(mask.counts)
        if len(shown) == 0:
            facts.note("mask-unlabelled", path, f"all {mask.ignored} pixels are ignored")
        elif len(shown) == 1 < len(mask.counts) and set(mask.values) != {0, IGNORE}:
            facts.note("mask-constant", path, f"only {self._spec.classes[shown[0]]}")

    def _classify(self, values: dict[int, int]) -> tuple[np.ndarray, int, dict[int, int]]:
        """Return the pixels of each class, the ignored ones, and those of values without a class.

        Args:
            values: value in the mask file -> pixels.
        """
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
        """Many strange values on few pixels are the edges of a mask that was resized."""
        share = sum(unknown.values()) / pixels
        known = f"classes are 0..{len(self._spec.classes) - 1}"
        if self._spec.value_map is not None:
            known = f"value_map knows {plural(len(self._spec.value_map), 'other')}"
        shown = first_names(sorted(unknown), 5)
        blurred = len(unknown) >= MANY_STRANGE and share < SMALL_SHARE
        code = "mask-interpolated" if blurred else "mask-ids"
        facts.note(code, path, f"{shown} on {100 * share:.3g} % of the pixels; {known}")


@contextmanager
def _noting_problems(path: Path, facts: PairFacts) -> Iterator[None]:
    """Turn what fails while a file is read into a finding about it."""
    try:
        yield
    except InputError as problem:
        rule = problem.rule if isinstance(problem, FileProblem) else "mask-format"
        detail = str(problem).removeprefix(f"{path} ").removeprefix(f"cannot read {path}: ")
        facts.note(rule, path, detail.partition(";")[0].rstrip("."))
    except OSError as error:
        facts.note("unreadable", path, error.strerror or str(error))
    except MemoryError:
        facts.note("too-large", path, "does not fit into memory")


def _require_content(path: Path) -> None:
    if path.stat().st_size == 0:
        raise FileProblem("file-empty", "")


def _notes(facts: PairFacts, code: str) -> bool:
    """Whether a rule is among the findings."""
    return any(each.rule.code == code for each in facts.findings)


@dataclass(frozen=True)
class _Header:
    """What Pillow knows of a file before it decodes it; ``palette`` is index -> colour."""

    format: str
    mode: str
    width: int
    height: int
    frames: int
    orientation: int
    palette: dict[int, tuple[int, ...]]

    @property
    def is_deep(self) -> bool:
        """Whether pixels are integers of more than 8 bits."""
        return self.mode.startswith("I")


def _header(path: Path) -> _Header:
    with opened(path) as image:
        colors: list[int] = []
        if image.mode == "P":
            colors = image.getpalette("RGB") or []
        return _Header(
            image.format or "",
            image.mode,
            *image.size,
            getattr(image, "n_frames", 1),
            image.getexif().get(ORIENTATION, 1),
            dict(enumerate(zip(colors[::3], colors[1::3], colors[2::3], strict=True))),
        )


def _note_header(header: _Header, path: Path, facts: PairFacts) -> None:
    """Say what is odd about how an image is stored."""
    # the further frames of an MPO are previews
    if header.frames > 1 and header.format != "MPO":
        facts.note("image-frames", path, f"{header.frames} frames")
    if header.width * header.height > (Image.MAX_IMAGE_PIXELS or np.inf):
        facts.note("very-large", path, _pixels((header.height, header.width)))
    if header.mode in ("RGBA", "LA", "PA"):
        with opened(path) as stored:
            lowest = int(np.asarray(stored.getchannel("A")).min())
        if lowest < 255:
            facts.note("image-alpha", path, f"opacity goes down to {lowest / 2.55:.0f} %")


def _note_levels(header: _Header, pixels: np.ndarray, path: Path, facts: PairFacts) -> None:
    """Say that an image is dark for its number of bits, or constant."""
    extrema = np.array(Image.fromarray(pixels).getextrema())
    spread = int((extrema[:, 1] - extrema[:, 0]).max())
    if header.is_deep and pixels.max() < DIM:
        brightest = f"the brightest pixel has {pixels.max() / 2.55:.0f} % of 16 bits"
        facts.note("image-dim", path, brightest)
    elif spread <= FLAT:
        facts.note("image-constant", path, f"RGB {tuple(int(value) for value in pixels[0, 0])}")


def _note_mask_file(header: _Header, path: Path, facts: PairFacts) -> None:
    """Say what is odd about how a mask is stored."""
    if header.orientation > 1:
        facts.note("mask-rotated", path, f"orientation {header.orientation}")
    if header.frames > 1:
        facts.note("mask-frames", path, f"{header.frames} frames")
    _note_format(header, path, facts)


def _note_format(header: _Header, path: Path, facts: PairFacts) -> None:
    if path.suffix.lower() not in SUFFIXES.get(header.format, set()):
        facts.note("format-differs", path, f"the content is {header.format}")


def _pixels(size: tuple[int, int]) -> str:
    """Return (H, W) in words."""
    return f"{size[1]}×{size[0]} pixels"


def _digest(pixels: np.ndarray) -> bytes:
    return hashlib.blake2b(np.ascontiguousarray(pixels).data, digest_size=16).digest()


def _count(ids: np.ndarray) -> dict[int, int]:
    """Return value -> pixels."""
    if ids.dtype == np.uint8:
        counts = np.bincount(ids.ravel(), minlength=256)
        return {int(value): int(counts[value]) for value in counts.nonzero()[0]}
    values, counts = np.unique(ids, return_counts=True)
    return dict(zip(values.tolist(), counts.tolist(), strict=True))
