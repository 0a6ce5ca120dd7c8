"""What the pixels of mask files mean: ids, 0 and 255, or colours."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from encoder_ablations.data.datasets.reading import FileProblem, opened, read_ids
from encoder_ablations.data.datasets.sample import IGNORE, WIDE_IGNORE
from encoder_ablations.utils.errors import InputError

THREADS = 4
MOST_CLASSES = 255
COUNTED_COLORS = 20_000
"""So many colours are smoothed edges at most; pictures have more."""
Color = tuple[int, int, int]
NEAR_WHITE, NEAR_BLACK = 224, 31
"""A JPEG of black and white has other greys only along its edges."""


@dataclass(frozen=True)
class MaskContent:
    """One mask file: its values, or its colours when it has several channels, each with its number of pixels."""

    values: Counter[int] = field(default_factory=Counter)
    colors: Counter[Color] = field(default_factory=Counter)
    palette: tuple[tuple[int, Color], ...] = ()
    lossy: bool = False
    problem: str = ""


@dataclass(frozen=True)
class Meaning:
    """How mask files become class ids.

    Attributes:
        kind: in words, for the head of the YAML.
        values: value in the file -> pixels, over all masks; grey levels of colour files that are grey.
        colors: colours, the most frequent first; empty when masks hold values.
        by_file: the same of each mask file: its values or its colours, with their pixels.
        convert: whether files must be rewritten, as a value map is not enough.
        threshold: masks are JPEGs of black and white.
        problems: file -> why it cannot be used.
        palette: value -> its colour, where the masks have palettes that agree.
    """

    kind: str
    values: Counter[int]
    colors: Counter[Color]
    by_file: Mapping[Path, Mapping[int, int] | Mapping[Color, int]]
    convert: bool
    threshold: bool
    problems: dict[Path, str]
    palette: Mapping[int, Color] = field(default_factory=dict)


def study_masks(paths: Sequence[Path], progress: Callable[[int, int], object]) -> Meaning:
    """Reads all mask files.

    Raises:
        InputError: none can be used, or they are no masks.
    """
    contents: dict[Path, MaskContent] = {}
    with ThreadPoolExecutor(THREADS) as pool:
        for path, content in zip(paths, pool.map(_read, paths), strict=True):
            contents[path] = content
            progress(len(contents), len(paths))
    problems = {path: content.problem for path, content in contents.items() if content.problem}
    usable = {path: content for path, content in contents.items() if not content.problem}
    if not usable:
        path, problem = next(iter(problems.items()))
        raise InputError(f"no mask can be used ({len(paths)} found): {path}: {problem}.")
    colored = [content for content in usable.values() if content.colors]
    gray = all(
        len({red, green, blue}) == 1 for content in colored for red, green, blue in content.colors
    )
    if any(content.lossy for content in usable.values()):
        return _black_and_white(usable, problems)
    if colored and not gray:
        return _by_color(usable, problems)
    if _palettes_differ(usable.values()):
        shown = {path: _through_palette(content) for path, content in usable.items()}
        return _by_color(shown, problems, "palettes that differ by file")
    by_file = {path: content.values or _grey(content.colors) for path, content in usable.items()}
    values = _sum(by_file.values())
    kind = "grey pictures of several channels" if colored else "one channel of values"
    palette = {value: color for content in usable.values() for value, color in content.palette}
    return Meaning(kind, values, Counter(), by_file, bool(colored), False, problems, palette)


def _read(path: Path) -> MaskContent:
    try:
        with opened(path) as image:
            lossy = image.format in ("JPEG", "MPO", "WEBP")
            palette = image.getpalette("RGB") if image.mode == "P" else None
            several = len(image.getbands()) > 1
            if lossy or several:
                pixels = np.asarray(image.convert("L" if lossy else "RGB"))
        if lossy:
            return MaskContent(values=_count(pixels), lossy=True)
        if several:
            return MaskContent(colors=_count_colors(pixels))
        values = _count(read_ids(path))
    except FileProblem as problem:
        return MaskContent(
            problem=str(problem).removeprefix(f"{path} ").partition(";")[0].rstrip(".")
        )
    if values and (min(values) < 0 or max(values) > 65535):
        return MaskContent(problem="values beyond 0..65535")
    table = list(zip(palette[::3], palette[1::3], palette[2::3], strict=True)) if palette else []
    return MaskContent(
        values=values,
        palette=tuple((value, table[value]) for value in values if value < len(table)),
    )


def _count(pixels: np.ndarray) -> Counter[int]:
    values, counts = np.unique(pixels, return_counts=True)
    return Counter(dict(zip(values.tolist(), counts.tolist(), strict=True)))


def _count_colors(pixels: np.ndarray) -> Counter[Color]:
    packed = pixels.astype(np.int64) @ np.array([65536, 256, 1])
    return Counter(
        {(key >> 16, key >> 8 & 255, key & 255): count for key, count in _count(packed).items()}
    )


def _grey(colors: Counter[Color]) -> Counter[int]:
    return Counter({red: count for (red, _, _), count in colors.items()})


def _sum(counters: Iterable[Counter[int]]) -> Counter[int]:
    total: Counter[int] = Counter()
    for counter in counters:
        total.update(counter)
    return total


def _black_and_white(usable: dict[Path, MaskContent], problems: dict[Path, str]) -> Meaning:
    values = _sum(content.values for content in usable.values())
    clear = sum(count for value, count in values.items() if not NEAR_BLACK < value < NEAR_WHITE)
    if clear < 0.97 * values.total():
        raise InputError(
            "the masks are JPEGs of more than black and white: JPEG mixes class ids along every edge, and nothing "
            "brings them back. Export them again as PNG."
        )
    by_file = {path: _cut(content.values) for path, content in usable.items()}
    kind = "JPEGs of black and white, cut at half"
    return Meaning(kind, _sum(by_file.values()), Counter(), by_file, True, True, problems)


def _cut(values: Counter[int]) -> Counter[int]:
    dark = sum(count for value, count in values.items() if value < 128)
    return Counter({0: dark, 255: values.total() - dark})


def _by_color(
    usable: dict[Path, MaskContent], problems: dict[Path, str], kind: str = "colours"
) -> Meaning:
    colors: Counter[Color] = Counter()
    by_file: dict[Path, Counter[Color]] = {}
    for path, content in usable.items():
        by_file[path] = content.colors or Counter(
            {(value,) * 3: count for value, count in content.values.items()}
        )
        colors.update(by_file[path])
        if len(colors) > COUNTED_COLORS:
            raise too_many(len(colors), "colours")
    ordered = Counter(dict(sorted(colors.items(), key=lambda each: (-each[1], each[0]))))
    return Meaning(kind, Counter(), ordered, by_file, True, False, problems)


def _palettes_differ(usable: Iterable[MaskContent]) -> bool:
    """Whether a value has several colours, and one of them is another value's elsewhere."""
    seen: dict[int, set[Color]] = {}
    for content in usable:
        for value, color in content.palette:
            seen.setdefault(value, set()).add(color)
    owners = Counter(color for colors in seen.values() for color in colors)
    return any(
        len(colors) > 1 and any(owners[color] > 1 for color in colors) for colors in seen.values()
    )


def _through_palette(content: MaskContent) -> MaskContent:
    table = dict(content.palette)
    return MaskContent(
        colors=Counter({table.get(value, (value,) * 3): n for value, n in content.values.items()})
    )


def too_many(count: int, what: str) -> InputError:
    """The error for masks that hold more than classes can be."""
    return InputError(
        f"the masks hold {count} and more different {what}: they are photographs, instance ids, or were resized with "
        "interpolation. A mask holds one value for each class; masks that number objects are read with --objects; of "
        "more than 255 classes write the YAML yourself, with ignore_ids: [65535]."
    )


def class_values(values: Iterable[int], names: int) -> tuple[dict[int, int], bool]:
    """Value -> class id, and whether values are class ids already.

    Left out is what means "not labelled": 255, and 65535 among ids, as ``ablate tile`` writes it into 16-bit masks.
    255 is a class where values are spread evenly over 0..255, and among values that are no ids if there is a name
    for it.

    Args:
        values: all values of all masks.
        names: number of class names that are known; 0 = unknown.
    """
    found = sorted(values)
    if found in ([0, IGNORE], [IGNORE]):
        return {0: 0, IGNORE: 1}, False
    kept = [value for value in found if value != IGNORE] or found
    ids = kept[-1] < max(names, 1.5 * len(kept))
    if IGNORE in found and not ids and (_is_spread(found) or names == len(found)):
        kept = found
    if len(kept) > 2 and kept[-1] == WIDE_IGNORE and kept[-2] < IGNORE:
        kept = kept[:-1]
    highest = kept[-1]
    if (
        highest < names
        or (highest <= 1 and not names)
        or (kept[0] == 0 and highest < min(IGNORE, 1.5 * len(kept)))
    ):
        return {value: value for value in range(max(highest + 1, names))}, True
    return {value: number for number, value in enumerate(kept)}, False


def _is_spread(values: Sequence[int]) -> bool:
    """Whether values are steps of equal size from 0 to 255, as classes are made visible: 0, 127, 255."""
    steps = np.linspace(0, IGNORE, len(values))
    return len(values) > 2 and bool((np.abs(np.array(values) - steps) <= 1).all())
