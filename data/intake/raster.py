"""Rasters of any size, such as satellite images, read some rows at a time and never whole."""

import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from encoder_ablations.data.datasets.pairing import Kind
from encoder_ablations.data.datasets.reading import FileProblem, is_upright
from encoder_ablations.data.datasets.sample import IGNORE, WIDE_IGNORE
from encoder_ablations.data.datasets.spec import LARGEST_VALUE
from encoder_ablations.utils.errors import InputError
from encoder_ablations.utils.optional import missing
from encoder_ablations.utils.texts import plural

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


class Reading(NamedTuple):
    """What the files do not say themselves.

    Attributes:
        scale: how an image's numbers become 8 bits; needed unless it holds 8 bits, or 16-bit grey
            levels.
        bands: an image's red, green and blue band, or its grey one, counted from 1; () = the first
            ones.
        ignored: values of masks that mean "not labelled"; the largest that fits marks pixels
            without data.
    """

    scale: Range | None = None
    bands: tuple[int, ...] = ()
    ignored: tuple[int, ...] = (IGNORE, WIDE_IGNORE)


class Raster:
    """An image or a mask of which a stretch of rows can be read.

    Attributes:
        path: the file.
        size: (H, W).
        palette: RGB of each value, of files with a palette.
        nodata: the number that stands for "no data" in the file; None = there is no such number.
        ignore: what marks pixels without data in a mask of ids; None = they keep their ids.
    """

    def __init__(self, path: Path, kind: Kind, source: Any, reading: Reading) -> None:
        self.path = path
        self.size: tuple[int, int] = source.height, source.width
        self.palette = _palette(source)
        self._kind = kind
        self._source = source
        self._scale = reading.scale
        self._type = np.dtype(source.dtypes[0])
        self.nodata: float | None = source.nodata
        self._bands = [1] if source.count < 3 else [1, 2, 3]
        self.ignore: int | None = None
        if kind == "images":
            self._bands = list(reading.bands) or self._bands
        elif source.count == 1:
            largest = IGNORE if self._type == np.uint8 else LARGEST_VALUE
            fitting = [value for value in reading.ignored if value <= largest]
            self.ignore = max(fitting, default=None)
        self._check()

    def rows(self, first: int, last: int) -> np.ndarray:
        """Return the rows ``first`` to ``last - 1``, as they can be saved as PNG.

        The first three bands of an image are red, green and blue unless others were named. One or
        two bands are grey (and opacity, which is dropped). A mask of three or four bands is one of
        colours, and a mask of one band holds values.

        Returns:
            h×W or h×W×3 uint8, or h×W uint16.

        Raises:
            InputError: the file is damaged, or a mask holds what is no id.
        """
        pixels = self._source.read(self._bands, window=Window(0, first, self.size[1], last - first))
        pixels = pixels[0] if len(self._bands) == 1 else pixels.transpose(1, 2, 0)
        if self._kind == "masks":
            return self._ids(pixels)
        return pixels if self._scale is None else self._scaled(pixels, self._scale)

    def void(self, first: int, last: int) -> np.ndarray | None:
        """Return h×W bool: where no band holds data; None where the file has no number for it."""
        nodata = self.nodata
        if nodata is None:
            return None
        window = Window(0, first, self.size[1], last - first)
        void = np.ones((last - first, self.size[1]), bool)
        # not dataset_mask: GDAL takes the last of four bands for opacity if the file says no other
        for band in range(1, self._source.count + 1):
            void &= _equal(self._source.read(band, window=window), nodata)
        return void

    @property
    def spare_bands(self) -> list[int]:
        """Bands that are not read."""
        return [band for band in range(1, self._source.count + 1) if band not in self._bands]

    def _check(self) -> None:
        source, path = self._source, self.path
        for band in self._bands:
            if not 1 <= band <= source.count:
                raise InputError(
                    f"{path} has no band {band}; allowed for --bands are 1 to {source.count}."
                )
        block = math.prod(source.block_shapes[0]) * self._type.itemsize * source.count
        if block > LARGEST_BLOCK:
            raise FileProblem(
                "too-large",
                f"{path} is stored in one piece, which could only be read whole; store it in "
                f"tiles: rio convert {path.name} tiled.tif --co TILED=YES --co COMPRESS=DEFLATE",
            )
        types = {source.dtypes[band - 1] for band in self._bands}
        if self._kind == "masks":
            self._check_mask(types)
        else:
            self._check_image(types)

    def _check_mask(self, types: set[str]) -> None:
        count = self._source.count
        if _is_lossy(self._source):
            raise FileProblem(
                "mask-lossy",
                f"{self.path} is compressed with a loss, which changes class ids; export the mask "
                "again.",
            )
        of_colors = count > 2 and types == {"uint8"}
        if count > 1 and not of_colors:
            raise FileProblem(
                "mask-format",
                f"{self.path} has {count} bands of {self._type}; a mask has one band of ids, or "
                "three of colours (8 bits).",
            )

    def _check_image(self, types: set[str]) -> None:
        wide_grey = len(self._bands) == 1 and types == {"uint16"}
        if self._scale is None and types != {"uint8"} and not wide_grey:
            raise FileProblem(
                "image-range",
                f"{self.path} holds {plural(self._source.count, 'band')} of {self._type}; an image "
                f"has 8 bits. Say which numbers become black and white, {self._sampled()}",
            )

    def _sampled(self) -> str:
        """Return advice on a range, from at most 1024² pixels of each band."""
        shape = (len(self._bands), *(min(side, 1024) for side in self.size))
        sample = self._source.read(self._bands, out_shape=shape, masked=True).compressed()
        numbers = sample[np.isfinite(sample)].astype(np.float64)
        if not numbers.size:
            return "e.g. --range 0 3000"
        low, high = np.percentile(numbers, [1, 99])
        return (
            f"e.g. --range {low:.4g} {high:.4g}: a sample of its pixels lies in "
            f"{numbers.min():.6g} to {numbers.max():.6g}, 98 % of it in this range"
        )

    def _ids(self, pixels: np.ndarray) -> np.ndarray:
        """Return a mask's values as uint8 or uint16; pixels without data get :attr:`ignore`."""
        if self.nodata is None or self.ignore is None:
            return self._checked(pixels)
        void = _equal(pixels, self.nodata)
        ids = self._checked(np.where(void, 0, pixels))
        ids[void] = self.ignore
        return ids

    def _checked(self, pixels: np.ndarray) -> np.ndarray:
        if pixels.dtype == np.uint8:
            return pixels
        wrong = ~((pixels >= 0) & (pixels <= LARGEST_VALUE) & (pixels == np.floor(pixels)))
        if wrong.any():
            shown = ", ".join(f"{value:g}" for value in np.unique(pixels[wrong])[:3])
            raise FileProblem(
                "mask-ids",
                f"{self.path} holds {shown}; ids are whole numbers in 0..{LARGEST_VALUE}. Save what "
                "is not labelled as 255.",
            )
        return pixels.astype(np.uint16)

    @staticmethod
    def _scaled(pixels: np.ndarray, scale: Range) -> np.ndarray:
        levels = (pixels.astype(np.float64) - scale.low) * (255 / (scale.high - scale.low))
        return np.nan_to_num(levels.round(), nan=0).clip(0, 255).astype(np.uint8)


READ_AS_IT_IS = Reading()


@contextmanager
def opened_raster(path: Path, kind: Kind, reading: Reading = READ_AS_IT_IS) -> Iterator[Raster]:
    """Open a raster in any format that GDAL reads.

    An error of GDAL within the block becomes an :class:`InputError`, too.

    Raises:
        InputError: the file is missing or damaged, lacks a band, can only be read whole, or is no
            image or mask.
    """
    if not is_upright(path):
        raise FileProblem("image-rotated", f"{path} is turned by its EXIF data; save it upright.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            source = rasterio.open(path)
        with rasterio.Env(GDAL_CACHEMAX=BLOCK_CACHE), source:
            yield Raster(path, kind, source, reading)
    except InputError:
        raise
    except RasterioError as error:
        reason = " ".join(str(error.__cause__ or error).split()).removeprefix(f"{path}: ")
        raise FileProblem(
            "damaged", f"{path} cannot be read ({reason}); replace it or remove it."
        ) from error


def _equal(pixels: np.ndarray, number: float) -> np.ndarray:
    if math.isnan(number):
        return np.isnan(pixels)
    equal: np.ndarray = pixels == number
    return equal


def _is_lossy(source: Any) -> bool:
    compression = source.compression.name if source.compression else ""
    return compression in LOSSY or source.driver.lower() in {*LOSSY, "jp2openjpeg"}


def _palette(source: Any) -> list[int] | None:
    """Return R, G, B of value 0, of value 1, … for a file with a palette."""
    if source.count > 1 or source.colorinterp[0] != ColorInterp.palette:
        return None
    table = source.colormap(1)
    levels: list[int] = []
    for value in range(256):
        levels += table.get(value, (0, 0, 0))[:3]
    return levels
