"""Cuts rasters and their masks into tiles that everything here reads, a row of tiles at a time."""

import math
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

import numpy as np
from PIL import Image

from encoder_ablations.data.pairing import KINDS, Pair
from encoder_ablations.data.raster import Range, Raster, opened_raster
from encoder_ablations.data.tile_names import tile_id
from encoder_ablations.utils.errors import InputError

THREADS = 4


def stretches(pixels: int, largest: int) -> list[tuple[int, int]]:
    """Divides a side into stretches of at most ``largest`` pixels, as equal as can be: their first and last + 1."""
    count = math.ceil(pixels / largest)
    edges = [round(number * pixels / count) for number in range(count + 1)]
    return list(pairwise(edges))


def tile_count(pair: Pair, largest: int, scale: Range | None = None) -> int:
    """How many tiles a pair gives, from the headers of its files.

    Raises:
        InputError: a file cannot be cut, or the two differ in size.
    """
    with opened_raster(pair.image, "images", scale) as image, opened_raster(pair.mask, "masks") as mask:
        _require_equal_sizes(image, mask)
        return math.prod(len(stretches(side, largest)) for side in image.size)


def cut(
    pair: Pair,
    folder: Path,
    split: str,
    largest: int,
    scale: Range | None = None,
    advance: Callable[[int], object] = lambda count: None,
) -> None:
    """Writes ``images/SPLIT/ID_y00000_x00000.png``, … and ``masks/SPLIT/…``; each pixel lies in exactly one tile.

    Values, colours and palettes of masks stay as they are. Two rows of tiles are in memory at once.

    Args:
        largest: longest side of a tile in pixels.
        advance: called with the number of tiles that are written.

    Raises:
        InputError: as :func:`tile_count`, or a file is damaged further on.
    """
    with (
        opened_raster(pair.image, "images", scale) as image,
        opened_raster(pair.mask, "masks") as mask,
        ThreadPoolExecutor(THREADS) as pool,
    ):
        _require_equal_sizes(image, mask)
        columns = stretches(image.size[1], largest)
        for top, bottom in stretches(image.size[0], largest):
            work = []
            for kind, raster in zip(KINDS, (image, mask), strict=True):
                target = folder / kind / split
                target.mkdir(parents=True, exist_ok=True)
                for name, pixels in _row(pair.id, raster, (top, bottom), columns):
                    work.append(pool.submit(_save, pixels, raster.palette, target / f"{name}.png"))
            for each in work:
                each.result()
            advance(len(columns))


def _row(
    identity: str, raster: Raster, rows: tuple[int, int], columns: list[tuple[int, int]]
) -> Iterator[tuple[str, np.ndarray]]:
    pixels = raster.rows(*rows)
    for left, right in columns:
        yield tile_id(identity, rows[0], left), pixels[:, left:right]


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
