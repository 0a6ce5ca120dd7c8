"""Values in masks that are blends of two others, as smoothed edges and resizing leave them."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from encoder_ablations.data.datasets.reading import opened, read_ids
from encoder_ablations.data.intake.layouts.codes import add_counts, count_pixels, pack, unpack
from encoder_ablations.data.intake.layouts.regions import between_neighbours, inside_areas
from encoder_ablations.utils.errors import InputError

FILES, PIXELS = 48, 200_000_000
"""Largest number of masks, and of their pixels, that are read once more."""
IN_AREAS = 0.05
"""Smallest share of a class's pixels whose eight neighbours are of the class, too."""
GAP = 8
"""Smallest distance of two values between which there are blends."""
SURELY = 3
"""This many blended values, or more, are no thin classes."""
MOST_BLENDED = 0.3
"""Largest share of blended pixels in masks; pictures have more."""
FEW = 16
"""Files with at most this many values are masks, even if each pixel is a class of its own."""
ECHO, RARER = 16, 20
"""A value this near to one that is this many times as frequent is an echo of it, as in JPEGs."""

ByFile = Mapping[Path, Mapping[int, int]]
"""Pixels of each code in every file."""


@dataclass(frozen=True)
class Blends:
    """The values that are classes, and those that are blends of them.

    Attributes:
        real: codes that form areas, rising.
        blended: codes that only lie between two of them, rising.
        share: share of all pixels that are blended, 0..1.
        rough: share of all pixels whose codes are of neither kind, 0..1.
    """

    real: tuple[int, ...]
    blended: tuple[int, ...]
    share: float
    rough: float

    @property
    def sure(self) -> bool:
        """Whether the blended values are too many to be thin classes."""
        return len(self.blended) >= SURELY


@dataclass(frozen=True)
class Places:
    """Where the pixels of each code lie, in the files that were read.

    Attributes:
        seen: number of pixels.
        inside: number of pixels inside areas of the same code.
        between: number of pixels between their neighbours' codes.
    """

    seen: Counter[int]
    inside: Counter[int]
    between: Counter[int]


def find_blends(by_file: ByFile, channels: int) -> Blends:
    """Return which values are blends, from where the pixels of every value lie.

    Args:
        by_file: pixels of each code in every file; a code is a value, or a packed colour.
        channels: 1 for values, 3 for colours.
    """
    totals = add_counts(by_file.values())
    places = _look(by_file, channels)
    real, thin = set(), set()
    for code, seen in places.seen.items():
        if places.inside[code] >= IN_AREAS * seen:
            real.add(code)
        elif 2 * places.between[code] >= seen:
            thin.add(code)
    blended = _bracketed(thin, real, channels)
    if len(blended) >= SURELY:
        echoes = _echoes(real, totals, channels)
        real -= echoes
        # smoothing makes tips and specks, too, that have no neighbours on one side
        blended |= echoes | _bracketed(set(totals) - real, real, channels)
    share = sum(totals[code] for code in blended) / totals.total()
    rough = 1 - share - sum(totals[code] for code in real) / totals.total()
    return Blends(tuple(sorted(real)), tuple(sorted(blended)), share, rough)


def _look(by_file: ByFile, channels: int) -> Places:
    places = Places(Counter(), Counter(), Counter())
    pixels_left = PIXELS
    for path in _telling_files(by_file):
        if pixels_left < 0:
            break
        pixels = _read(path, channels)
        codes = pack(pixels)
        pixels_left -= codes.size
        places.seen.update(count_pixels(codes))
        places.inside.update(count_pixels(codes[inside_areas(codes)]))
        places.between.update(count_pixels(codes[between_neighbours(pixels)]))
    return places


def _telling_files(by_file: ByFile) -> list[Path]:
    """Return the files that show most of some value; those of several values first."""
    best: dict[int, tuple[int, Path]] = {}
    for path, counts in by_file.items():
        for code, count in counts.items():
            if code not in best or count > best[code][0]:
                best[code] = (count, path)
    told: defaultdict[Path, int] = defaultdict(int)
    for _, path in best.values():
        told[path] += 1
    return sorted(told, key=lambda path: -told[path])[:FILES]


def _read(path: Path, channels: int) -> np.ndarray:
    """Return the H×W×1 values or H×W×3 colours of a file."""
    with opened(path) as image:
        if channels == 3 or len(image.getbands()) > 1:
            pixels = np.asarray(image.convert("RGB")).astype(np.int32)
            return pixels[..., :channels]
    return read_ids(path).astype(np.int32)[..., None]


def _bracketed(codes: set[int], real: set[int], channels: int) -> set[int]:
    """Return the codes that lie between two real ones, far enough apart, in every channel."""
    if len(real) < 2:
        return set()
    if channels == 1:
        return _between_values(codes, real)
    ends = unpack(sorted(real), channels)
    low, high = np.minimum(ends[:, None], ends[None]), np.maximum(ends[:, None], ends[None])
    wide = (high - low).max(axis=2) >= GAP
    low, high = low[wide], high[wide]
    found = set()
    for code, point in zip(codes, unpack(list(codes), channels), strict=True):
        if ((low <= point) & (point <= high)).all(axis=1).any():
            found.add(code)
    return found


def _between_values(codes: set[int], real: set[int]) -> set[int]:
    """Return the values strictly between two neighbours among the real ones that are apart."""
    found = set()
    for below, above in pairwise(sorted(real)):
        if above - below >= GAP:
            found |= {code for code in codes if below < code < above}
    return found


def _echoes(real: set[int], totals: Counter[int], channels: int) -> set[int]:
    """Return the rare values beside frequent ones, which are blends as well."""
    echoes = set()
    for code in real:
        often = [other for other in real if totals[other] > RARER * totals[code]]
        distance = np.abs(unpack(often, channels) - unpack([code], channels)).max(axis=1)
        if (distance <= ECHO).any():
            echoes.add(code)
    return echoes


def nearest_real(code: int, real: Sequence[int], channels: int) -> int:
    """Return the real value that a blend has most of."""
    distance = np.abs(unpack(real, channels) - unpack([code], channels)).sum(axis=1)
    return real[int(distance.argmin())]


def refuse_pictures(blends: Blends, kinds: int, what: str) -> None:
    """Refuse files in which too many pixels form no areas.

    Args:
        kinds: number of values in all files.
        what: "values" or "colours".

    Raises:
        InputError: these are too many pixels for smoothed edges.
    """
    if max(blends.share, blends.rough) > MOST_BLENDED and kinds > FEW:
        raise InputError(
            f"the masks hold {kinds} {what}, of which only {len(blends.real)} form areas: they "
            "are photographs, instance ids, or were resized with interpolation. Export them "
            "again, resized with 'nearest'; if these are soft edges after all: --blends."
        )
