"""Values in masks that are blends of two others, as smoothed edges and resizing leave them, and no classes."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np

from encoder_ablations.data.datasets.reading import opened, read_ids
from encoder_ablations.data.intake.layouts.regions import between_neighbours, inside_areas
from encoder_ablations.utils.errors import InputError

Color = tuple[int, int, int]
Value = TypeVar("Value", int, Color)

FILES, PIXELS = 48, 200_000_000
"""So many masks are read once more, at most: for each value those that show most of it."""
IN_AREAS = 0.05
"""Smallest share of a class's pixels whose eight neighbours are of the class, too."""
GAP = 8
"""Smallest distance of two values between which there are blends."""
SURELY = 3
"""From so many blended values on they are no thin classes."""
MOST_BLENDED = 0.3
"""Largest share of blended pixels; pictures have more."""
FEW = 16
"""So many values are masks, even if each pixel is a class of its own."""
ECHO, RARER = 16, 20
"""A value this near to one that is so many times as frequent is an echo of it, as JPEG leaves them."""


@dataclass(frozen=True)
class Blends:
    """What was found.

    Attributes:
        real: codes that form areas, rising.
        blended: codes that only lie between two of them.
        share: of all pixels that are blended.
        rough: share of all pixels whose codes are of neither kind.
    """

    real: tuple[int, ...]
    blended: tuple[int, ...]
    share: float
    rough: float

    @property
    def sure(self) -> bool:
        return len(self.blended) >= SURELY


def find_blends(by_file: Mapping[Path, Mapping[int, int]], channels: int) -> Blends:
    """Looks where the pixels of every value lie.

    Args:
        by_file: pixels of each code in every file; a code is a value, or a packed colour.
        channels: 1 for values, 3 for colours.
    """
    totals: Counter[int] = Counter()
    for counts in by_file.values():
        totals.update(counts)
    seen, inside, between = _look(by_file, channels)
    codes = sorted(totals)
    real = {code for code in codes if seen[code] and inside[code] >= IN_AREAS * seen[code]}
    thin = {code for code in codes if code not in real and 2 * between[code] >= seen[code] > 0}
    blended = {code for code in thin if _bracketed(code, real, channels)}
    if len(blended) >= SURELY:
        real, blended = _without_echoes(real, blended, totals, channels)
        # smoothing makes tips and specks, too, that have no neighbours on one side
        blended |= {code for code in codes if code not in real and _bracketed(code, real, channels)}
    share = sum(totals[code] for code in blended) / totals.total()
    rough = 1 - share - sum(totals[code] for code in real) / totals.total()
    return Blends(tuple(sorted(real)), tuple(sorted(blended)), share, rough)


def _look(
    by_file: Mapping[Path, Mapping[int, int]], channels: int
) -> tuple[Counter[int], Counter[int], Counter[int]]:
    """Pixels of each code in the files that were read: all, inside areas, between their neighbours."""
    seen: Counter[int] = Counter()
    inside: Counter[int] = Counter()
    between: Counter[int] = Counter()
    pixels_left = PIXELS
    for path in _telling_files(by_file):
        if pixels_left < 0:
            break
        pixels = _read(path, channels)
        codes = pack(pixels)
        pixels_left -= codes.size
        for counter, where in (
            (seen, np.ones(codes.shape, bool)),
            (inside, inside_areas(codes)),
            (between, between_neighbours(pixels)),
        ):
            values, counts = np.unique(codes[where], return_counts=True)
            counter.update(dict(zip(values.tolist(), counts.tolist(), strict=True)))
    return seen, inside, between


def _telling_files(by_file: Mapping[Path, Mapping[int, int]]) -> list[Path]:
    """The files that show most of some value; those of several values first."""
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
    """H×W×1 values or H×W×3 colours of a file."""
    with opened(path) as image:
        if channels == 3 or len(image.getbands()) > 1:
            pixels = np.asarray(image.convert("RGB")).astype(np.int32)
            return pixels if channels == 3 else pixels[..., :1]
    return read_ids(path).astype(np.int32)[..., None]


def pack(pixels: np.ndarray) -> np.ndarray:
    """H×W codes: values as they are, colours as R·65536 + G·256 + B."""
    if pixels.shape[-1] == 1:
        return pixels[..., 0]
    return pixels @ np.array([65536, 256, 1], np.int32)


def unpack(codes: Sequence[int], channels: int) -> np.ndarray:
    """N×C of N codes."""
    column = np.array(codes, np.int64).reshape(-1, 1)
    return column if channels == 1 else column >> np.array([16, 8, 0]) & 255


def _bracketed(code: int, real: set[int], channels: int) -> bool:
    """Whether a value lies between two real ones, in every channel, that are far enough from each other."""
    if len(real) < 2:
        return False
    if channels == 1:
        below, above = (
            max((r for r in real if r < code), default=code),
            min((r for r in real if r > code), default=code),
        )
        return below < code < above and above - below >= GAP
    point, ends = unpack([code], channels)[0], unpack(sorted(real), channels)
    low, high = np.minimum(ends[:, None], ends[None]), np.maximum(ends[:, None], ends[None])
    wide = (high - low).max(axis=2) >= GAP
    return bool((wide & (low <= point).all(axis=2) & (point <= high).all(axis=2)).any())


def _without_echoes(
    real: set[int], blended: set[int], totals: Counter[int], channels: int
) -> tuple[set[int], set[int]]:
    """Takes rare values beside frequent ones for blends as well."""
    echoes = set()
    for code in real:
        near = [
            other
            for other in real
            if totals[other] > RARER * totals[code]
            and np.abs(unpack([other], channels) - unpack([code], channels)).max() <= ECHO
        ]
        if near:
            echoes.add(code)
    return real - echoes, blended | echoes


def nearest_real(code: int, real: Sequence[int], channels: int) -> int:
    """The real value that a blend has most of."""
    distance = np.abs(unpack(real, channels) - unpack([code], channels)).sum(axis=1)
    return real[int(distance.argmin())]


def refuse_pictures(blends: Blends, kinds: int, what: str) -> None:
    """
    Raises:
        InputError: what forms no areas is too much for smoothed edges.
    """
    if max(blends.share, blends.rough) > MOST_BLENDED and kinds > FEW:
        raise InputError(
            f"the masks hold {kinds} {what}, of which only {len(blends.real)} form areas: they are photographs, "
            "instance ids, or were resized with interpolation. Export them again, resized with 'nearest'; if these are "
            "soft edges after all: --blends."
        )
