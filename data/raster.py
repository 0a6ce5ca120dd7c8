"""Rasters of any size, read some rows at a time and never whole: aerial and satellite images, mosaics of scans."""

import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from encoder_ablations.data.pairing import Kind
from encoder_ablations.data.reading import FileProblem, is_upright
from encoder_ablations.data.spec import LARGEST_VALUE
from encoder_ablations.utils.errors import InputError
from encoder_ablations.utils.optional import missing
from encoder_ablations.utils.wording import plural

try:
    import rasterio
    from rasterio.enums import ColorInterp
    from rasterio.errors import NotGeoreferencedWarning, RasterioError
    from rasterio.windows import Window
except ImportError as error:
    raise missing("rasterio", error) from error

BLOCK_CACHE = 128
"""MiB of decoded blocks that GDAL keeps; by itself it takes a twentieth of the memory."""
LARGEST_BLOCK = 1 << 28
"""Bytes that have to be decoded together: 4096² pixels of four bands of 32 bits."""
LOSSY = {"jpeg", "webp", "jpeg2000"}
"""Compressions within a TIFF, and formats of their own (GDAL calls JPEG 2000 'JP2OpenJPEG')."""


class Range(NamedTuple):
    """The numbers that become 0 and 255 in an 8-bit image."""

    low: float
    high: float


class Raster:
    """An image or a mask of which a stretch of rows can be read.

    Attributes:
        size: (H, W).
        palette: RGB of each value, of files with a palette.
    """

    def __init__(self, path: Path, kind: Kind, source: Any, scale: Range | None) -> None:
        self.path = path
        self.size: tuple[int, int] = source.height, source.width
        self.palette = _palette(source)
        self._kind = kind
        self._source = source
        self._scale = scale
        self._type = np.dtype(source.dtypes[0])
        self._check()

    def rows(self, first: int, last: int) -> np.ndarray:
        """The rows ``first`` to ``last - 1``, as they can be saved as PNG: h×W or h×W×3 uint8, or h×W uint16.

        Of an image's bands the first three are red, green and blue, one or two are grey (and opacity, which is
        dropped). A mask of three and four bands is one of colours, one of one band holds values.

        Raises:
            InputError: the file is damaged, or a mask holds what is no id.
        """
        bands = [1] if self._source.count < 3 else [1, 2, 3]
        pixels = self._source.read(bands, window=Window(0, first, self.size[1], last - first))
        pixels = pixels[0] if len(bands) == 1 else pixels.transpose(1, 2, 0)
        if self._kind == "masks":
            return self._ids(pixels)
        return pixels if self._scale is None else self._scaled(pixels, self._scale)

    def _check(self) -> None:
        source, path = self._source, self.path
        types = {np.dtype(each) for each in source.dtypes[:3]}
        block = math.prod(source.block_shapes[0]) * self._type.itemsize * source.count
        if block > LARGEST_BLOCK:
            raise FileProblem(
                "too-large",
                f"{path} is stored in one piece, which could only be read whole; store it in tiles: "
                f"rio convert {path.name} tiled.tif --co TILED=YES --co COMPRESS=DEFLATE",
            )
        if self._kind == "masks":
            if _is_lossy(source):
                raise FileProblem(
                    "mask-lossy", f"{path} is compressed with a loss, which changes class ids; export the mask again."
                )
            if source.count == 2 or (source.count > 2 and types != {np.dtype(np.uint8)}):
                raise FileProblem(
                    "mask-format",
                    f"{path} has {source.count} bands of {self._type}; a mask has one band of ids, or three of colours "
                    "(8 bits).",
                )
        elif (
            self._scale is None and types != {np.dtype(np.uint8)} and not (self._type == np.uint16 and source.count < 3)
        ):
            raise FileProblem(
                "image-range",
                f"{path} holds {plural(source.count, 'band')} of {self._type}; an image has 8 "
                "bits. Say which numbers become black and white, e.g. --range 0 3000",
            )

    def _ids(self, pixels: np.ndarray) -> np.ndarray:
        if pixels.dtype == np.uint8:
            return pixels
        wrong = ~((pixels >= 0) & (pixels <= LARGEST_VALUE) & (pixels == np.floor(pixels)))
        if wrong.any():
            shown = ", ".join(f"{value:g}" for value in np.unique(pixels[wrong])[:3])
            raise FileProblem(
                "mask-ids",
                f"{self.path} holds {shown}; ids are whole numbers in 0..{LARGEST_VALUE}. Save what is not labelled "
                "as 255.",
            )
        return pixels.astype(np.uint16)

    @staticmethod
    def _scaled(pixels: np.ndarray, scale: Range) -> np.ndarray:
        levels = (pixels.astype(np.float64) - scale.low) * (255 / (scale.high - scale.low))
        return np.nan_to_num(levels.round(), nan=0).clip(0, 255).astype(np.uint8)


@contextmanager
def opened_raster(path: Path, kind: Kind, scale: Range | None = None) -> Iterator[Raster]:
    """A raster in any format that GDAL reads; whatever fails within the block becomes an :class:`InputError`.

    Args:
        scale: how an image's numbers become 8 bits; needed unless it holds 8 bits, or 16-bit grey levels.

    Raises:
        InputError: the file is missing or damaged, can only be read whole, or is no image or mask.
    """
    if not is_upright(path):
        raise FileProblem("image-rotated", f"{path} is turned by its EXIF data; save it upright.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            source = rasterio.open(path)
        with rasterio.Env(GDAL_CACHEMAX=BLOCK_CACHE), source:
            yield Raster(path, kind, source, scale)
    except InputError:
        raise
    except RasterioError as error:
        reason = " ".join(str(error.__cause__ or error).split()).removeprefix(f"{path}: ")
        raise FileProblem("damaged", f"{path} cannot be read ({reason}); replace it or remove it.") from error


def _is_lossy(source: Any) -> bool:
    compression = source.compression.name if source.compression else ""
    return compression in LOSSY or source.driver.lower() in {*LOSSY, "jp2openjpeg"}


def _palette(source: Any) -> list[int] | None:
    """R, G, B of value 0, of value 1, …"""
    if source.count > 1 or source.colorinterp[0] != ColorInterp.palette:
        return None
    table = source.colormap(1)
    return [level for value in range(256) for level in table.get(value, (0, 0, 0))[:3]]
