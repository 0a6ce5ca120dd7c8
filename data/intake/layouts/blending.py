"""Values in masks that are blends of two others, as smoothed edges and resizing leave them."""

import itertools
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from encoder_ablations.data.intake.layouts.codes import count_pixels, unpack
from encoder_ablations.data.intake.layouts.mask_values import Meaning
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


def find_blends(meaning: Meaning) -> Blends:
    """Return which values or colours are blends, from where the pixels of each lie."""
    totals, channels = meaning.pixels, meaning.channels
    places = _look(meaning)
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


def _look(meaning: Meaning) -> Places:
    places = Places(Counter(), Counter(), Counter())
    pixels_left = PIXELS
    for path in _telling_files(meaning.by_file):
        if pixels_left < 0:
            break
        codes = meaning.read(path).astype(np.int32)
        channels = unpack(codes.ravel(), meaning.channels).reshape(*codes.shape, -1)
        pixels_left -= codes.size
        places.seen.update(count_pixels(codes))
        places.inside.update(count_pixels(codes[inside_areas(codes)]))
        places.between.update(count_pixels(codes[between_neighbours(channels)]))
    return places


def _telling_files(by_file: ByFile) -> list[Path]:
    """Return the files that show most of some value; those of several values first."""
    best: dict[int, Path] = {}
    for path, counts in by_file.items():
        for code, count in counts.items():
            if count > by_file[best.setdefault(code, path)][code]:
                best[code] = path
    return [path for path, _ in Counter(best.values()).most_common(FILES)]


def _bracketed(codes: set[int], real: set[int], channels: int) -> set[int]:
    """Return the codes that lie between two real ones, far enough apart, in every channel."""
    if channels == 1:
        return _between_values(codes, real)
    ends = unpack(sorted(real), channels)
    low, high = np.minimum(ends[:, None], ends[None]), np.maximum(ends[:, None], ends[None])
    wide = (high - low).max(axis=2) >= GAP
    low, high = low[wide], high[wide]
    points = zip(codes, unpack(list(codes), channels), strict=True)
    return {code for code, point in points if ((low <= point) & (point <= high)).all(axis=1).any()}


def _between_values(codes: set[int], real: set[int]) -> set[int]:
    """Return the values strictly between two neighbours among the real ones that are apart."""
    found = set()
    for below, above in itertools.pairwise(sorted(real)):
        if above - below >= GAP:
            found |= codes.intersection(range(below + 1, above))
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
        blends: the real and the blended values.
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
