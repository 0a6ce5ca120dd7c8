"""Cuts rasters and their masks into tiles that everything here reads, a row of tiles at a time."""

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from encoder_ablations.data.datasets.pairing import KINDS, Pair
from encoder_ablations.data.datasets.tile_names import tile_id
from encoder_ablations.data.intake.raster import READ_AS_IT_IS, Raster, Reading, opened_raster
from encoder_ablations.utils.errors import InputError

THREADS = 4


def stretches(pixels: int, largest: int) -> list[tuple[int, int]]:
    """Divides a side into stretches of at most ``largest`` pixels, as equal as can be: their first and last + 1."""
    count = math.ceil(pixels / largest)
    edges = [round(number * pixels / count) for number in range(count + 1)]
    return list(pairwise(edges))


class Outline(NamedTuple):
    """What the headers of a pair say.

    Attributes:
        tiles: how many it gives.
        spare_bands: bands of the image that are not taken.
        void: which number is declared to be none, in a mask of ids or its image; "" for nothing of the kind.
    """

    tiles: int
    spare_bands: list[int]
    void: str


def outline(pair: Pair, largest: int, reading: Reading = READ_AS_IT_IS) -> Outline:
    """Looks at a pair before it is cut.

    Raises:
        InputError: a file cannot be cut, or the two differ in size.
    """
    with (
        opened_raster(pair.image, "images", reading) as image,
        opened_raster(pair.mask, "masks", reading) as mask,
    ):
        _require_equal_sizes(image, mask)
        tiles = math.prod(len(stretches(side, largest)) for side in image.size)
        declaring = (
            [each for each in (mask, image) if each.nodata is not None]
            if mask.ignore is not None
            else []
        )
        void = f"{declaring[0].nodata:g} in {declaring[0].path}" if declaring else ""
        return Outline(tiles, image.spare_bands, void)


def held_ids(path: Path) -> set[int]:
    """All ids of a mask but the one that is declared to be none; an empty set for one of colours."""
    found: set[int] = set()
    with opened_raster(path, "masks") as mask:
        for first, last in stretches(mask.size[0], 512) if mask.ignore is not None else ():
            ids = mask.rows(first, last)
            void = mask.void(first, last)
            found.update(np.unique(ids if void is None else ids[~void]).tolist())
    return found


def cut(
    pair: Pair,
    folder: Path,
    split: str,
    largest: int,
    reading: Reading = READ_AS_IT_IS,
    advance: Callable[[int], object] = lambda count: None,
) -> None:
    """Writes ``images/SPLIT/ID_y00000_x00000.png``, … and ``masks/SPLIT/…``; each pixel lies in exactly one tile.

    Colours, palettes and values of masks stay as they are, but for ids where there is no data. Two rows of tiles are in
    memory at once.

    Args:
        largest: longest side of a tile in pixels.
        advance: called with the number of tiles that are written.

    Raises:
        InputError: as :func:`outline`, or a file is damaged further on.
    """
    with (
        opened_raster(pair.image, "images", reading) as image,
        opened_raster(pair.mask, "masks", reading) as mask,
        ThreadPoolExecutor(THREADS) as pool,
    ):
        _require_equal_sizes(image, mask)
        columns = stretches(image.size[1], largest)
        for top, bottom in stretches(image.size[0], largest):
            work = []
            void = image.void(top, bottom) if mask.ignore is not None else None
            for kind, raster in zip(KINDS, (image, mask), strict=True):
                target = folder / kind / split
                target.mkdir(parents=True, exist_ok=True)
                pixels = raster.rows(top, bottom)
                if raster is mask and void is not None:
                    pixels[void] = mask.ignore
                for left, right in columns:
                    path = target / f"{tile_id(pair.id, top, left)}.png"
                    work.append(pool.submit(_save, pixels[:, left:right], raster.palette, path))
            for each in work:
                each.result()
            advance(len(columns))


def _save(pixels: np.ndarray, palette: list[int] | None, path: Path) -> None:
    picture = Image.fromarray(np.ascontiguousarray(pixels))
    if palette is not None:
        picture.putpalette(palette)
    picture.save(path, compress_level=4)


def _require_equal_sizes(image: Raster, mask: Raster) -> None:
    if image.size != mask.size:
        raise InputError(
            f"{mask.path} has {mask.size[1]}×{mask.size[0]} pixels (width × height), but its image {image.path} has "
            f"{image.size[1]}×{image.size[0]}. Export the mask again on the image's grid."
        )
