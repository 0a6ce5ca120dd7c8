"""What the pixels of mask files mean: ids, 0 and 255, or colours."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from encoder_ablations.data.datasets.reading import FileProblem, opened, read_ids
from encoder_ablations.data.datasets.sample import IGNORE, WIDE_IGNORE
from encoder_ablations.data.datasets.spec import LARGEST_VALUE
from encoder_ablations.data.intake.layouts.codes import (
    Color,
    add_counts,
    color_of,
    count_pixels,
    pack,
)
from encoder_ablations.utils.errors import InputError

THREADS = 4
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
        values: of a file with one channel.
        colors: of a file with several channels.
        palette: (value, its colour), for the values in the file.
        lossy: whether the file's format changes values.
        problem: why the file cannot be used; empty if it can.
    """

    values: Counter[int] = field(default_factory=Counter)
    colors: Counter[Color] = field(default_factory=Counter)
    palette: tuple[tuple[int, Color], ...] = ()
    lossy: bool = False
    problem: str = ""

    @property
    def colorful(self) -> bool:
        """Whether any pixel is not grey."""
        return any(len(set(color)) > 1 for color in self.colors)


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
        return (np.asarray(image.convert("L")) >= 128) * np.uint8(255)


@dataclass(frozen=True)
class Meaning:
    """How mask files become class ids.

    Attributes:
        kind: in words, for the head of the YAML.
        by_file: the values or the colours of each mask file, with their pixels.
        problems: file -> why it cannot be used.
        values: value in the file -> pixels, over all masks; grey levels of colour files that are
            grey.
        colors: colours, the most frequent first; empty when masks hold values.
        convert: whether files must be rewritten because a value map is not enough.
        read: returns the H×W codes of a file, as they stand in ``by_file``.
        palette: value -> its colour, where the masks have palettes that agree.
    """

    kind: str
    by_file: Mapping[Path, Mapping[int, int] | Mapping[Color, int]]
    problems: dict[Path, str]
    values: Counter[int] = field(default_factory=Counter)
    colors: Counter[Color] = field(default_factory=Counter)
    convert: bool = False
    read: Callable[[Path], np.ndarray] = read_values
    palette: Mapping[int, Color] = field(default_factory=dict)


Contents = dict[Path, MaskContent]


def study_masks(paths: Sequence[Path], progress: Callable[[int, int], object]) -> Meaning:
    """Read all mask files and return what their pixels mean.

    Args:
        progress: called with the number of files read and of all files.

    Raises:
        InputError: no file can be used, or the files are no masks.
    """
    contents = _read_all(paths, progress)
    problems = {path: content.problem for path, content in contents.items() if content.problem}
    usable = {path: content for path, content in contents.items() if not content.problem}
    if not usable:
        path, problem = next(iter(problems.items()))
        raise InputError(f"no mask can be used ({len(paths)} found): {path}: {problem}.")
    if any(content.lossy for content in usable.values()):
        return _black_and_white(usable, problems)
    if any(content.colorful for content in usable.values()):
        return _by_color("colours", _colors(usable), problems)
    if _palettes_differ(usable.values()):
        return _by_color("palettes that differ by file", _colors(usable), problems)
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
    palette: list[int] = []
    with opened(path) as image:
        if image.format in LOSSY_FORMATS:
            return MaskContent(values=count_pixels(np.asarray(image.convert("L"))), lossy=True)
        if len(image.getbands()) > 1:
            codes = count_pixels(pack(np.asarray(image.convert("RGB"))))
            return MaskContent(
                colors=Counter({color_of(code): count for code, count in codes.items()})
            )
        if image.mode == "P":
            palette = image.getpalette("RGB") or []
    values = count_pixels(read_ids(path))
    if min(values) < 0 or max(values) > LARGEST_VALUE:
        return MaskContent(problem=f"values beyond 0..{LARGEST_VALUE}")
    table = list(zip(palette[::3], palette[1::3], palette[2::3], strict=True))
    used = tuple((value, table[value]) for value in values if value < len(table))
    return MaskContent(values=values, palette=used)


def _by_value(usable: Contents, problems: dict[Path, str]) -> Meaning:
    """Return the meaning of files of one channel, or of several that are all grey."""
    by_file = {path: content.values or _grey(content.colors) for path, content in usable.items()}
    several = any(content.colors for content in usable.values())
    kind = "grey pictures of several channels" if several else "one channel of values"
    palette: dict[int, Color] = {}
    for content in usable.values():
        palette |= content.palette
    values = add_counts(by_file.values())
    return Meaning(kind, by_file, problems, values, convert=several, palette=palette)


def _grey(colors: Counter[Color]) -> Counter[int]:
    return Counter({red: count for (red, _, _), count in colors.items()})


def _black_and_white(usable: Contents, problems: dict[Path, str]) -> Meaning:
    values = add_counts(content.values for content in usable.values())
    unclear = sum(values[value] for value in range(NEAR_BLACK + 1, NEAR_WHITE))
    if values.total() - unclear < BLACK_AND_WHITE * values.total():
        raise InputError(
            "the masks are JPEGs of more than black and white: JPEG mixes class ids along every "
            "edge, and nothing brings them back. Export them again as PNG."
        )
    by_file = {path: _cut(content.values) for path, content in usable.items()}
    return Meaning(
        "JPEGs of black and white, cut at half",
        by_file,
        problems,
        add_counts(by_file.values()),
        convert=True,
        read=read_black_and_white,
    )


def _cut(values: Counter[int]) -> Counter[int]:
    """Return the pixels of black (below 128) and of white."""
    dark = sum(values[value] for value in range(128))
    return Counter({0: dark, 255: values.total() - dark})


def _colors(usable: Contents) -> dict[Path, Counter[Color]]:
    """Return the colours of each file; values are seen through the file's palette, else as grey."""
    found = {}
    for path, content in usable.items():
        table = dict(content.palette)
        found[path] = content.colors.copy()
        for value, count in content.values.items():
            found[path][table.get(value, (value, value, value))] += count
    return found


def _by_color(kind: str, by_file: dict[Path, Counter[Color]], problems: dict[Path, str]) -> Meaning:
    colors: Counter[Color] = Counter()
    for counts in by_file.values():
        colors.update(counts)
        if len(colors) > COUNTED_COLORS:
            raise too_many(len(colors), "colours")
    ordered = Counter(dict(sorted(colors.items(), key=lambda each: (-each[1], each[0]))))
    return Meaning(kind, by_file, problems, colors=ordered, convert=True, read=read_codes)


def _palettes_differ(usable: Iterable[MaskContent]) -> bool:
    """Return whether a value has several colours, one of which is another value's elsewhere."""
    pairs = {pair for content in usable for pair in content.palette}
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
    if found in ([0, IGNORE], [IGNORE]):
        return {0: 0, IGNORE: 1}, False
    labelled = _labelled(found, names)
    if _are_ids(labelled, names):
        return {value: value for value in range(max(labelled[-1] + 1, names))}, True
    return {value: number for number, value in enumerate(labelled)}, False


def _labelled(found: list[int], names: int) -> list[int]:
    """Return the rising values without those that mean "not labelled"."""
    kept = [value for value in found if value != IGNORE] or found
    ids = kept[-1] < max(names, 1.5 * len(kept))
    if not ids and (_is_spread(found) or names == len(found)):
        kept = found
    if len(kept) > 2 and kept[-1] == WIDE_IGNORE and kept[-2] < IGNORE:
        return kept[:-1]
    return kept


def _are_ids(values: list[int], names: int) -> bool:
    # without names, 0 and 1 are ids
    if values[-1] < (names or 2):
        return True
    # ids may have gaps, but most of them are there
    return values[0] == 0 and values[-1] < min(IGNORE, 1.5 * len(values))


def _is_spread(values: Sequence[int]) -> bool:
    """Return whether values are equal steps from 0 to 255, as in masks made visible: 0, 127, 255."""
    steps = np.linspace(0, IGNORE, len(values))
    return len(values) > 2 and bool((np.abs(np.array(values) - steps) <= 1).all())
