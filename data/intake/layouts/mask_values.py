"""What the pixels of mask files mean: ids, 0 and 255, or colours."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from itertools import chain
from pathlib import Path

import numpy as np

from encoder_ablations.data.datasets.reading import FileProblem, opened, read_ids
from encoder_ablations.data.datasets.sample import IGNORE, WIDE_IGNORE
from encoder_ablations.data.datasets.spec import LARGEST_VALUE
from encoder_ablations.data.intake.layouts.codes import (
    add_counts,
    count_pixels,
    pack,
)
from encoder_ablations.utils.errors import InputError

THREADS = 4
GREY = 0x010101
"""The codes of greys are multiples of it."""
MOST_CLASSES = 255
COUNTED_COLORS = 20_000
"""Masks with smoothed edges have at most this many colours; pictures have more."""
LOSSY_FORMATS = ("JPEG", "MPO", "WEBP")
NEAR_WHITE, NEAR_BLACK = 224, 31
"""A JPEG of black and white has other greys only along its edges."""
BLACK_AND_WHITE = 0.97
"""Smallest share of nearly black and nearly white pixels in a JPEG that is a mask."""


@dataclass(frozen=True)
class MaskContent:
    """The values of one mask file, or its colours, each with its number of pixels.

    Attributes:
        codes: values, or R·65536 + G·256 + B; 0 and 255 in formats that change values.
        channels: 1 for values, 3 for colours.
        palette: value -> code of its colour, for the values in the file.
        lossy: whether the file's format changes values.
        unclear: pixels that are neither nearly black nor nearly white, in such formats.
        problem: why the file cannot be used; empty if it can.
    """

    codes: Counter[int] = field(default_factory=Counter)
    channels: int = 1
    palette: Mapping[int, int] = field(default_factory=dict)
    lossy: bool = False
    unclear: int = 0
    problem: str = ""

    @property
    def colorful(self) -> bool:
        """Whether any pixel is not grey."""
        return self.channels == 3 and any(code % GREY for code in self.codes)

    @property
    def values(self) -> Counter[int]:
        """The pixels of each value; of each grey level where a file of three channels is grey."""
        unit = {1: 1, 3: GREY}[self.channels]
        return Counter({code // unit: count for code, count in self.codes.items()})

    @property
    def colors(self) -> Counter[int]:
        """The pixels of each colour; values are seen through the palette, else as grey levels."""
        if self.channels == 3:
            return self.codes
        found: Counter[int] = Counter()
        for value, count in self.codes.items():
            found[self.palette.get(value, value * GREY)] += count
        return found


def read_values(path: Path) -> np.ndarray:
    """Return H×W values of a file of one channel, or of a grey picture of several."""
    with opened(path) as image:
        if len(image.getbands()) > 1:
            return np.asarray(image.convert("RGB"))[..., 0]
    return read_ids(path)


def read_codes(path: Path) -> np.ndarray:
    """Return H×W codes of the colours of a file."""
    with opened(path) as image:
        return pack(np.asarray(image.convert("RGB")))


def read_black_and_white(path: Path) -> np.ndarray:
    """Return H×W grey levels, cut at half to 0 and 255."""
    with opened(path) as image:
        return cut(np.asarray(image.convert("L")))


def cut(levels: np.ndarray) -> np.ndarray:
    """Return 0 below 128, else 255."""
    black_and_white: np.ndarray = (levels >= 128) * np.uint8(255)
    return black_and_white


def count_unclear(levels: np.ndarray) -> int:
    """Return how many pixels are neither nearly black nor nearly white."""
    return int(np.count_nonzero((levels > NEAR_BLACK) & (levels < NEAR_WHITE)))


@dataclass(frozen=True)
class Meaning:
    """How mask files become class ids.

    Attributes:
        kind: in words, for the head of the YAML.
        by_file: pixels of each code in every mask file.
        problems: file -> why it cannot be used.
        channels: 1 where codes are values, 3 where they are colours.
        convert: whether files must be rewritten because a value map is not enough.
        read: returns the H×W codes of a file, as they stand in ``by_file``.
        palette: value -> code of its colour, where the masks have palettes that agree.
    """

    kind: str
    by_file: Mapping[Path, Mapping[int, int]]
    problems: dict[Path, str]
    channels: int = 1
    convert: bool = True
    read: Callable[[Path], np.ndarray] = read_values
    palette: Mapping[int, int] = field(default_factory=dict)

    @cached_property
    def pixels(self) -> Counter[int]:
        """Code -> pixels over all masks, the most frequent first."""
        counts = add_counts(self.by_file.values())
        return Counter(dict(sorted(counts.items(), key=lambda each: (-each[1], each[0]))))


Contents = dict[Path, MaskContent]


def study_masks(paths: Sequence[Path], progress: Callable[[int, int], object]) -> Meaning:
    """Read all mask files and return what their pixels mean.

    Args:
        paths: the mask files.
        progress: called with the number of files read and of all files.

    Raises:
        InputError: no file can be used, or the files are no masks.
    """
    contents = _read_all(paths, progress)
    problems = {path: content.problem for path, content in contents.items() if content.problem}
    usable = {path: content for path, content in contents.items() if path not in problems}
    if not usable:
        path, problem = next(iter(problems.items()))
        raise InputError(f"no mask can be used ({len(paths)} found): {path}: {problem}.")
    found = usable.values()
    if any(content.lossy for content in found):
        return _black_and_white(usable, problems)
    if any(content.colorful for content in found):
        return _by_color("colours", usable, problems)
    if _palettes_differ(found):
        return _by_color("palettes that differ by file", usable, problems)
    return _by_value(usable, problems)


def _read_all(paths: Sequence[Path], progress: Callable[[int, int], object]) -> Contents:
    contents: Contents = {}
    with ThreadPoolExecutor(THREADS) as pool:
        for path, content in zip(paths, pool.map(_read, paths), strict=True):
            contents[path] = content
            progress(len(contents), len(paths))
    return contents


def _read(path: Path) -> MaskContent:
    try:
        return _content(path)
    except FileProblem as problem:
        reason = str(problem).removeprefix(f"{path} ").partition(";")[0]
        return MaskContent(problem=reason.rstrip("."))


def _content(path: Path) -> MaskContent:
    channels: list[int] = []
    with opened(path) as image:
        if image.format in LOSSY_FORMATS:
            levels = np.asarray(image.convert("L"))
            unclear = count_unclear(levels)
            return MaskContent(count_pixels(cut(levels)), lossy=True, unclear=unclear)
        if len(image.getbands()) > 1:
            return MaskContent(count_pixels(pack(np.asarray(image.convert("RGB")))), channels=3)
        if image.mode == "P":
            channels = image.getpalette("RGB") or []
    values = count_pixels(read_ids(path))
    if min(values) < 0 or max(values) > LARGEST_VALUE:
        return MaskContent(problem=f"values beyond 0..{LARGEST_VALUE}")
    table = dict(enumerate(pack(np.array(channels, int).reshape(-1, 3)).tolist()))
    used = {value: table[value] for value in values.keys() & table.keys()}
    return MaskContent(values, palette=used)


def _by_value(usable: Contents, problems: dict[Path, str]) -> Meaning:
    """Return the meaning of files of one channel, or of several that are all grey."""
    kinds = {1: "one channel of values", 3: "grey pictures of several channels"}
    channels = max(content.channels for content in usable.values())
    palettes = (content.palette.items() for content in usable.values())
    by_file = {path: content.values for path, content in usable.items()}
    palette = dict(chain.from_iterable(palettes))
    return Meaning(kinds[channels], by_file, problems, convert=channels == 3, palette=palette)


def _by_color(kind: str, usable: Contents, problems: dict[Path, str]) -> Meaning:
    by_file = {path: content.colors for path, content in usable.items()}
    meaning = Meaning(kind, by_file, problems, channels=3, read=read_codes)
    if len(meaning.pixels) > COUNTED_COLORS:
        raise too_many(len(meaning.pixels), "colours")
    return meaning


def _black_and_white(usable: Contents, problems: dict[Path, str]) -> Meaning:
    by_file = {path: content.codes for path, content in usable.items()}
    unclear = sum(content.unclear for content in usable.values())
    if unclear > (1 - BLACK_AND_WHITE) * add_counts(by_file.values()).total():
        raise InputError(
            "the masks are JPEGs of more than black and white: JPEG mixes class ids along every "
            "edge, and nothing brings them back. Export them again as PNG."
        )
    kind = "JPEGs of black and white, cut at half"
    return Meaning(kind, by_file, problems, read=read_black_and_white)


def _palettes_differ(usable: Iterable[MaskContent]) -> bool:
    """Return whether a value has several colours, one of which is another value's elsewhere."""
    pairs = set(chain.from_iterable(content.palette.items() for content in usable))
    colors_of = Counter(value for value, _ in pairs)
    values_of = Counter(color for _, color in pairs)
    return any(colors_of[value] > 1 and values_of[color] > 1 for value, color in pairs)


def too_many(count: int, what: str) -> InputError:
    """Return the error for masks that hold more values or colours than classes can be."""
    return InputError(
        f"the masks hold {count} and more different {what}: they are photographs, instance ids, "
        "or were resized with interpolation. A mask holds one value for each class; masks that "
        "number objects are read with --objects; for more than 255 classes write the YAML "
        "yourself, with ignore_ids: [65535]."
    )


def class_values(values: Iterable[int], names: int) -> tuple[dict[int, int], bool]:
    """Return value -> class id, and whether values are class ids already.

    Values that mean "not labelled" are left out: 255, and 65535 among ids, as ``ablate tile``
    writes it into 16-bit masks. 255 is a class where values are spread evenly over 0..255. It is
    also a class where values are no ids and there is a name for it.

    Args:
        values: all values of all masks.
        names: number of class names that are known; 0 = unknown.
    """
    found = sorted(values)
    top = found[-1]
    if top in (IGNORE, WIDE_IGNORE) and set(found) <= {0, top}:
        return {0: 0, top: 1}, False
    labelled = _labelled(found)
    if _are_ids(labelled, names):
        return {value: value for value in range(max(labelled[-1] + 1, names))}, True
    if _is_spread(found) or names == len(found):
        labelled = found
    return {value: number for number, value in enumerate(labelled)}, False


def _labelled(found: Sequence[int]) -> list[int]:
    """Return the rising values without 255, and without 65535 where the others have 8 bits."""
    wide = WIDE_IGNORE
    if any(IGNORE < value < WIDE_IGNORE for value in found):
        wide = IGNORE
    return [value for value in found if value not in (IGNORE, wide)] or list(found)


def _are_ids(values: Sequence[int], names: int) -> bool:
    # ids may have gaps, but most of them are there
    complete = values[0] == 0 and values[-1] < min(IGNORE, 1.5 * len(values))
    # without names, 0 and 1 are ids
    return complete or values[-1] < (names or 2)


def _is_spread(values: Sequence[int]) -> bool:
    """Return whether values are equal steps from 0 to 255, as in visible masks: 0, 127, 255."""
    steps = np.linspace(0, IGNORE, len(values))
    return len(values) > 2 and np.allclose(values, steps, rtol=0, atol=1)
