"""Cutting rasters and their masks into tiles that training reads, a row of tiles at a time."""

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
from encoder_ablations.data.intake.raster import Raster, opened_raster
from encoder_ablations.data.intake.raster_reading import READ_AS_IT_IS, Reading
from encoder_ablations.utils.errors import InputError

THREADS = 4


def stretches(pixels: int, largest: int) -> list[tuple[int, int]]:
    """Return the stretches of a side, of at most ``largest`` pixels and as equal as can be.

    Each is its first pixel and its last + 1.
    """
    count = math.ceil(pixels / largest)
    edges = [round(number * pixels / count) for number in range(count + 1)]
    return list(pairwise(edges))


class Outline(NamedTuple):
    """What the headers of a pair say.

    Attributes:
        tiles: number of tiles that the pair gives.
        spare_bands: bands of the image that are not taken.
        void: which number stands for "no data", in a mask of ids or its image; "" if none does.
    """

    tiles: int
    spare_bands: list[int]
    void: str


def outline(pair: Pair, largest: int, reading: Reading = READ_AS_IT_IS) -> Outline:
    """Look at the headers of a pair before it is cut.

    Raises:
        InputError: a file cannot be cut, or the two differ in size.
    """
    with (
        opened_raster(pair.image, "images", reading) as image,
        opened_raster(pair.mask, "masks", reading) as mask,
    ):
        _require_equal_sizes(image, mask)
        tiles = math.prod(len(stretches(side, largest)) for side in image.size)
        void = ""
        for each in (image, mask):  # the mask's number goes first
            if mask.ignore is not None and each.nodata is not None:
                void = f"{each.nodata:g} in {each.path}"
        return Outline(tiles, image.spare_bands, void)


def held_ids(path: Path) -> set[int]:
    """Return all ids of a mask, without pixels that have no data; empty for a mask of colours."""
    found: set[int] = set()
    with opened_raster(path, "masks") as mask:
        if mask.ignore is None:
            return found
        for first, last in stretches(mask.size[0], 512):
            ids = mask.rows(first, last)[~mask.void(first, last)]
            found.update(np.unique(ids).tolist())
    return found


def cut(
    pair: Pair,
    folder: Path,
    split: str,
    largest: int,
    reading: Reading = READ_AS_IT_IS,
    advance: Callable[[int], object] = lambda count: None,
) -> None:
    """Write the tiles ``images/SPLIT/ID_y00000_x00000.png``, … and ``masks/SPLIT/…``.

    Each pixel lies in exactly one tile. Colours, palettes and values of masks stay as they are,
    except for ids where there is no data. Two rows of tiles are in memory at once.

    Args:
        pair: the image and its mask.
        folder: where ``images`` and ``masks`` lie.
        split: sub-folder of both.
        largest: longest side of a tile in pixels.
        reading: what the files do not say themselves.
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
        for kind in KINDS:
            (folder / kind / split).mkdir(parents=True, exist_ok=True)
        columns = stretches(image.size[1], largest)
        for top, bottom in stretches(image.size[0], largest):
            ids = mask.rows(top, bottom)
            if mask.ignore is not None:
                ids[image.void(top, bottom)] = mask.ignore
            work = []
            rows = (image.rows(top, bottom), image.palette), (ids, mask.palette)
            for kind, (pixels, palette) in zip(KINDS, rows, strict=True):
                for left, right in columns:
                    path = folder / kind / split / f"{tile_id(pair.id, top, left)}.png"
                    work.append(pool.submit(_save, pixels[:, left:right], palette, path))
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
            f"{mask.path} has {mask.size[1]}×{mask.size[0]} pixels (width × height), but its image "
            f"{image.path} has {image.size[1]}×{image.size[0]}. Export the mask again on the "
            "image's grid."
        )
