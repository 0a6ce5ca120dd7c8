"""Maps: the prediction of a raster of any size as a GeoTIFF that lies where the raster lies."""

import shutil
import warnings
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from encoder_ablations.data.datasets.palette import Color
from encoder_ablations.data.datasets.sample import ignore_label
from encoder_ablations.data.intake.raster import Raster, opened_raster
from encoder_ablations.data.intake.raster_reading import READ_AS_IT_IS, Reading
from encoder_ablations.engine.inference.image_votes import ImageVotes
from encoder_ablations.engine.inference.prediction import decide
from encoder_ablations.engine.inference.predictor import Predictor
from encoder_ablations.experiments.prediction.pictures import overlaid, write_image
from encoder_ablations.experiments.prediction.polygons import write_polygons
from encoder_ablations.utils.errors import InputError
from encoder_ablations.utils.optional import missing
from encoder_ablations.utils.progress import Bar

try:
    import rasterio
    from rasterio.errors import NotGeoreferencedWarning
    from rasterio.windows import Window
except ImportError as error:
    raise missing("rasterio", error) from error

SUFFIXES = (".tif", ".tiff", ".jp2", ".vrt", ".img")
"""Names of files that may say where they lie on Earth end with one of these."""
WINDOW = 512
"""Side of the windows in pixels, unless another one is asked for."""
PREVIEW = 1600
"""Longest side of a map's overlay in pixels."""
SPARE = 1.1
"""Free space must exceed the estimate by this factor."""
BLOCK_CACHE = 24
"""MiB of decoded blocks that GDAL keeps: rows of tiles under a strip of windows."""
LEVELS = 250
"""Uncertainty 0..1 is stored as 0..250, and 255 = no data."""


class MapSettings(NamedTuple):
    """What is written of a raster, beside the mask.

    Attributes:
        reading: how the raster is read.
        probabilities: whether a GeoTIFF of K bands of float32 is written.
        polygons: whether class areas are written as GeoJSON.
        overlays: whether a small picture under the classes' colours is written.
    """

    reading: Reading = READ_AS_IT_IS
    probabilities: bool = False
    polygons: bool = False
    overlays: bool = True


class Maps:
    """Writes the maps of rasters into one folder.

    Args:
        folder: where they lie.
        predictor: predicts by windows.
        colors: of the classes.
        settings: what is written.
    """

    def __init__(
        self,
        folder: Path,
        predictor: Predictor,
        colors: Sequence[Color],
        settings: MapSettings,
    ) -> None:
        self.folder = folder
        self.predictor = predictor
        self.colors = tuple(colors)
        self.settings = settings
        self.ignore = ignore_label(len(self.predictor.classes))

    def takes(self, path: Path) -> bool:
        """Return whether a file is a map: it says where it lies, or is to be read by bands."""
        if self.settings.reading != READ_AS_IT_IS:
            return True
        if path.suffix.lower() not in SUFFIXES:
            return False
        with opened_raster(path, "images", self.settings.reading) as source:
            return source.georeference.crs is not None

    def write(self, name: str, path: Path) -> dict[str, Any]:
        """Write the maps of one raster, each when it is whole; return their description.

        Args:
            name: of the files.
            path: of the raster.

        Raises:
            InputError: the raster cannot be read, or there is no room for the probabilities.
        """
        with opened_raster(path, "images", self.settings.reading) as source:
            self._check_room(source)
            preview = _Preview(source.size, np.min_scalar_type(self.ignore))
            counts = np.zeros(self.ignore + 1, np.int64)
            predictor = self.predictor.windowed(WINDOW)
            votes = ImageVotes(leave_out_black=True)
            total = predictor.windows(source.size)
            with (
                rasterio.Env(GDAL_CACHEMAX=BLOCK_CACHE),
                self._opened(name, source) as files,
                Bar(total=total, unit="window") as bar,
            ):
                for block in predictor.blocks(source, bar.update, votes):
                    decided = decide(block.values)
                    void = source.void_block(block.rows, block.columns)
                    mask = np.where(void, self.ignore, decided.labels.numpy())
                    counts += np.bincount(mask.reshape(-1), minlength=len(counts))
                    levels = np.where(void, 255, (LEVELS * decided.uncertainty.numpy()).round())
                    window = Window.from_slices(block.rows, block.columns)
                    files.mask.write(mask.astype(files.mask.dtypes[0]), 1, window=window)
                    files.uncertainty.write(levels.astype(np.uint8), 1, window=window)
                    if files.probabilities is not None:
                        values = np.where(void, np.nan, decided.probabilities.numpy())
                        files.probabilities.write(values, window=window)
                    preview.add(source, block.rows, block.columns, mask)
            area = source.georeference.square_metres
        if self.settings.polygons:
            write_polygons(self._path("masks", name, "tif"), self.predictor.classes, self.ignore)
        if self.settings.overlays:
            overlay = Image.fromarray(overlaid(preview.image, preview.mask, self.colors))
            write_image(self._path("overlays", name, "jpg"), overlay)
        description = self._described(name, path, preview.size, counts, area)
        found = votes.decided(predictor.image_classes)
        if found is not None:
            description["image_class"] = asdict(found)
        return description

    def _path(self, kind: str, name: str, suffix: str) -> Path:
        return self.folder / kind / f"{name}.{suffix}"

    def _check_room(self, source: Raster) -> None:
        """Refuse probabilities that the disk has no room for.

        Raises:
            InputError: their estimated size exceeds the free space.
        """
        if not self.settings.probabilities:
            return
        needed = 4 * len(self.predictor.classes) * source.size[0] * source.size[1]
        self.folder.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(self.folder).free
        if free < SPARE * needed:
            raise InputError(
                f"the probabilities of {source.path} need up to {needed / 2**30:.1f} GiB, but "
                f"{self.folder} has {free / 2**30:.1f} GiB free. Leave out --probabilities, or "
                "choose another --output."
            )

    @contextmanager
    def _opened(self, name: str, source: Raster) -> Iterator["_Files"]:
        """Open the maps for writing; they get their names when all are whole."""
        largest = np.min_scalar_type(self.ignore).name
        with ExitStack() as stack:
            mask = stack.enter_context(
                _written(self._path("masks", name, "tif"), source, 1, largest, self.ignore)
            )
            if largest == "uint8":
                table = {place: (*color, 255) for place, color in enumerate(self.colors)}
                mask.write_colormap(1, table | {self.ignore: (0, 0, 0, 0)})
            path = self._path("uncertainty", name, "tif")
            uncertainty = stack.enter_context(_written(path, source, 1, "uint8", 255))
            uncertainty.update_tags(scale=1 / LEVELS, meaning="entropy / log K, times 250")
            probabilities = None
            if self.settings.probabilities:
                bands = len(self.predictor.classes)
                path = self._path("probabilities", name, "tif")
                probabilities = stack.enter_context(
                    _written(path, source, bands, "float32", float("nan"))
                )
                for number, label in enumerate(self.predictor.classes, 1):
                    probabilities.set_band_description(number, label)
            yield _Files(mask, uncertainty, probabilities)

    def _described(
        self,
        name: str,
        path: Path,
        size: tuple[int, int],
        counts: np.ndarray,
        pixel_area: float | None,
    ) -> dict[str, Any]:
        """Return what a program wants to know of a map."""
        classes = self.predictor.classes
        pixels = dict(zip(classes, counts[: len(classes)].tolist(), strict=True))
        labelled = max(1, sum(pixels.values()))
        described = {
            "name": name,
            "image": str(path),
            "height": size[0],
            "width": size[1],
            "pixels": pixels,
            "share": {label: count / labelled for label, count in pixels.items()},
        }
        if pixel_area is not None:
            described["square_metres"] = {
                label: count * pixel_area for label, count in pixels.items()
            }
        return described


class _Files(NamedTuple):
    """The open maps of one raster."""

    mask: Any
    uncertainty: Any
    probabilities: Any


class _Preview:
    """A raster and its mask, of which every n-th row and column is kept.

    Attributes:
        size: (H, W) of the raster.
        image: h×w×3 uint8.
        mask: h×w class ids.

    Args:
        size: (H, W) of the raster.
        kind: the type of class ids.
    """

    def __init__(self, size: tuple[int, int], kind: np.dtype[Any]) -> None:
        self.size = size
        self._step = -(-max(size) // PREVIEW)
        small = [-(-side // self._step) for side in size]
        self.image = np.zeros((*small, 3), np.uint8)
        self.mask = np.zeros(small, kind)

    def add(self, source: Raster, rows: slice, columns: slice, mask: np.ndarray) -> None:
        """Keep what falls on every n-th row and column of a block."""
        down, right = self._kept(rows), self._kept(columns)
        if not (len(down) and len(right)):
            return
        places = np.ix_(down // self._step, right // self._step)
        inside = np.ix_(down - rows.start, right - columns.start)
        pixels = source.block(rows, columns)
        if pixels.ndim == 2:
            pixels = np.repeat(pixels[:, :, None], 3, axis=2)
        self.image[places] = pixels[inside]
        self.mask[places] = mask[inside]

    def _kept(self, pixels: slice) -> np.ndarray:
        first = -(-pixels.start // self._step) * self._step
        return np.arange(first, pixels.stop, self._step)


@contextmanager
def _written(path: Path, source: Raster, bands: int, kind: str, nodata: float) -> Iterator[Any]:
    """Open a compressed, tiled GeoTIFF where the raster lies; it gets its name when it is whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part.tif")
    height, width = source.size
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NotGeoreferencedWarning)
            with rasterio.open(
                part,
                "w",
                driver="GTiff",
                height=height,
                width=width,
                count=bands,
                dtype=kind,
                nodata=nodata,
                crs=source.georeference.crs,
                transform=source.georeference.transform,
                tiled=True,
                compress="deflate",
                bigtiff="if_safer",
            ) as file:
                yield file
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
