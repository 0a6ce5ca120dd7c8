"""Rasters of any size, such as satellite images, read some rows at a time and never whole."""

import math
import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from encoder_ablations.data.datasets.pairing import Kind
from encoder_ablations.data.datasets.reading import FileProblem, is_upright
from encoder_ablations.data.datasets.sample import IGNORE
from encoder_ablations.data.datasets.spec import LARGEST_VALUE
from encoder_ablations.data.intake.range_sample import sample_numbers
from encoder_ablations.data.intake.raster_reading import READ_AS_IT_IS, Reading
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
GREY_BANDS = {1: [1], 2: [1]}
LOSSY = {"jpeg", "webp", "jpeg2000"}
"""Compressions within a TIFF, and formats of their own (GDAL calls JPEG 2000 'JP2OpenJPEG')."""


class Georeference(NamedTuple):
    """Where a raster lies on Earth.

    Attributes:
        crs: coordinate reference system, of rasterio; None = the file names none.
        transform: from column and row to coordinates, an affine map of rasterio.
    """

    crs: Any
    transform: Any

    @property
    def square_metres(self) -> float | None:
        """Area of a pixel in m²; None where coordinates are no lengths."""
        if self.crs is None or not self.crs.is_projected:
            return None
        _, metres = self.crs.linear_units_factor
        return float(abs(self.transform.determinant) * metres**2)


class Raster(ABC):
    """An image or a mask of which a stretch of rows can be read.

    Attributes:
        path: the file.
        size: (H, W).
        palette: RGB of each value, of files with a palette.
        nodata: the number that stands for "no data" in the file; None = there is no such number.
        ignore: what marks pixels without data in a mask of ids; None = they keep their ids.
        georeference: where on Earth it lies.
    """

    def __init__(self, path: Path, source: Any, reading: Reading) -> None:
        self.path = path
        self.size: tuple[int, int] = source.height, source.width
        self.palette = _palette(source)
        self.nodata: float | None = source.nodata
        self.georeference = Georeference(source.crs, source.transform)
        self.ignore: int | None = None
        self._source = source
        self._reading = reading
        self._type = np.dtype(source.dtypes[0])
        # one or two bands are grey, and opacity
        self._bands = GREY_BANDS.get(source.count, [1, 2, 3])
        self._check()

    def rows(self, first: int, last: int) -> np.ndarray:
        """Return the rows ``first`` to ``last - 1``; see :meth:`block`."""
        return self.block(slice(first, last), slice(0, self.size[1]))

    def block(self, rows: slice, columns: slice) -> np.ndarray:
        """Return a part of the raster, as it can be saved as PNG.

        The first three bands of an image are red, green and blue unless others were named. One or
        two bands are grey (and opacity, which is dropped). A mask of three or four bands is one of
        colours, and a mask of one band holds values.

        Returns:
            h×w or h×w×3 uint8, or h×w uint16.

        Raises:
            InputError: the file is damaged, or a mask holds what is no id.
        """
        bands = self._source.read(self._bands, window=Window.from_slices(rows, columns))
        if len(bands) == 1:
            return self._levels(bands[0])
        return self._levels(bands.transpose(1, 2, 0))

    def void(self, first: int, last: int) -> np.ndarray:
        """Return h×W bool: where no band holds data."""
        return self.void_block(slice(first, last), slice(0, self.size[1]))

    def void_block(self, rows: slice, columns: slice) -> np.ndarray:
        """Return h×w bool: where no band holds data, in a part of the raster."""
        window = Window.from_slices(rows, columns)
        void = np.full((window.height, window.width), self.nodata is not None)
        # not dataset_mask: GDAL takes the last of four bands for opacity if the file says no other
        for band in range(1, self._source.count + 1):
            if self.nodata is not None:
                void &= _equal(self._source.read(band, window=window), self.nodata)
        return void

    @property
    def spare_bands(self) -> list[int]:
        """Bands that are not read."""
        return sorted(set(range(1, self._source.count + 1)) - set(self._bands))

    def _check(self) -> None:
        """Refuse a file that cannot be read in stretches, or is no image or mask."""
        source = self._source
        for band in set(self._bands) - set(range(1, source.count + 1)):
            raise InputError(
                f"{self.path} has no band {band}; allowed for --bands are 1 to {source.count}."
            )
        block = math.prod(source.block_shapes[0]) * self._type.itemsize * source.count
        if block > LARGEST_BLOCK:
            raise FileProblem(
                "too-large",
                f"{self.path} is stored in one piece, which could only be read whole; store it in "
                f"tiles: rio convert {self.path.name} tiled.tif --co TILED=YES --co "
                "COMPRESS=DEFLATE",
            )
        self._check_types({source.dtypes[band - 1] for band in self._bands})

    @abstractmethod
    def _check_types(self, types: set[str]) -> None:
        """Refuse a file whose bands hold no image or mask."""

    @abstractmethod
    def _levels(self, pixels: np.ndarray) -> np.ndarray:
        """Return pixels as they can be saved as PNG."""


class _ImageRaster(Raster):
    def _check(self) -> None:
        self._bands = list(self._reading.bands) or self._bands
        super()._check()

    def _check_types(self, types: set[str]) -> None:
        wide_grey = len(self._bands) == 1 and types == {"uint16"}
        if self._reading.scale is None and types != {"uint8"} and not wide_grey:
            raise FileProblem(
                "image-range",
                f"{self.path} holds {plural(self._source.count, 'band')} of {self._type}; an image "
                f"has 8 bits. Say which numbers become black and white, {self._sampled()}",
            )

    def _sampled(self) -> str:
        """Return advice on a range, from a sample of the raster's blocks."""
        sample = sample_numbers(self._source, self._bands)
        numbers = sample.numbers
        if not numbers.size:
            return "e.g. --range 0 3000"
        low, high = np.percentile(numbers, [1, 99])
        return (
            f"e.g. --range {low:.4g} {high:.4g}: in a sample ({sample.blocks} of "
            f"{plural(sample.all_blocks, 'block')}, {100 * sample.share:.3g} % of the pixels) they "
            f"are {numbers.min():.6g} to {numbers.max():.6g}, 98 % of them in this range"
        )

    def _levels(self, pixels: np.ndarray) -> np.ndarray:
        scale = self._reading.scale
        if scale is None:
            return pixels
        levels = (pixels.astype(np.float64) - scale.low) * (255 / (scale.high - scale.low))
        return np.nan_to_num(levels.round(), nan=0).clip(0, 255).astype(np.uint8)


class _MaskRaster(Raster):
    def _check_types(self, types: set[str]) -> None:
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
        if count == 1:
            largest = {"uint8": IGNORE}.get(self._type.name, LARGEST_VALUE)
            fitting = [value for value in self._reading.ignored if value <= largest]
            self.ignore = max(fitting, default=None)

    def _levels(self, pixels: np.ndarray) -> np.ndarray:
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
        wrong = (pixels < 0) | (pixels > LARGEST_VALUE) | (pixels != np.floor(pixels))
        if wrong.any():
            shown = ", ".join(map("{:g}".format, np.unique(pixels[wrong])[:3]))
            raise FileProblem(
                "mask-ids",
                f"{self.path} holds {shown}; ids are whole numbers in 0..{LARGEST_VALUE}. "
                "Save what is not labelled as 255.",
            )
        return pixels.astype(np.uint16)


_CLASS_OF: dict[Kind, type[Raster]] = {"images": _ImageRaster, "masks": _MaskRaster}


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
            yield _CLASS_OF[kind](path, source, reading)
    except InputError:
        raise
    except RasterioError as error:
        reason = " ".join(str(error.__cause__ or error).split()).removeprefix(f"{path}: ")
        raise FileProblem(
            "damaged", f"{path} cannot be read ({reason}); replace it or remove it."
        ) from error


def _equal(pixels: np.ndarray, number: float) -> np.ndarray:
    equal: np.ndarray = pixels == number
    if math.isnan(number):
        equal = np.isnan(pixels)
    return equal


def _is_lossy(source: Any) -> bool:
    compression = source.compression.name if source.compression else ""
    return compression in LOSSY or source.driver.lower() in {*LOSSY, "jp2openjpeg"}


def _palette(source: Any) -> list[int] | None:
    """Return R, G, B of value 0, of value 1, … for a file with a palette."""
    if source.count > 1 or source.colorinterp[0] != ColorInterp.palette:
        return None
    table = source.colormap(1)
    return list(chain.from_iterable(table.get(value, (0, 0, 0))[:3] for value in range(256)))
