"""What was recognised in a folder, and how the mask of each pair is made of it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from encoder_ablations.data.datasets.decoding import OPAQUE, class_table
from encoder_ablations.data.datasets.reading import opened, read_ids
from encoder_ablations.data.datasets.spec import LARGEST_VALUE, DatasetSpec, Split
from encoder_ablations.data.intake.layouts.coco import CocoImage, CocoSet, draw_coco
from encoder_ablations.data.intake.layouts.codes import Color
from encoder_ablations.data.intake.layouts.mask_values import Meaning
from encoder_ablations.data.intake.layouts.panoptic import PanopticImage, PanopticSet, draw_panoptic
from encoder_ablations.data.intake.layouts.survey import Source
from encoder_ablations.utils.errors import InputError

Progress = Callable[[int, int], object]


@dataclass(frozen=True)
class Item:
    """One pair: where its image lies, and how its mask is made."""

    id: str
    split: Split
    image: Path
    source: Source | CocoImage | PanopticImage


@dataclass
class Proposal:
    """A dataset as it was recognised.

    Attributes:
        spec: usable at once when ``direct``, else the layout that :func:`prepare` writes.
        meaning: of mask files; None for annotations and for folders of classes.
        colors, layers: class id of a colour, or of a folder of masks.
        remarks: sentences for the person who decides.
    """

    spec: DatasetSpec
    layout: str
    kind: str
    items: list[Item]
    direct: bool
    remarks: list[str] = field(default_factory=list)
    meaning: Meaning | None = None
    coco: CocoSet | None = None
    panoptic: PanopticSet | None = None
    colors: dict[Color, int] = field(default_factory=dict)
    layers: dict[str, int] = field(default_factory=dict)

    def read_mask(self, item: Item) -> np.ndarray:
        """H×W uint8 class ids, 255 = ignore; with more than 255 COCO categories uint16, 65535 = ignore.

        Raises:
            InputError: the mask cannot be read.
        """
        if isinstance(item.source, CocoImage):
            assert self.coco is not None
            return draw_coco(item.source, self.coco.class_of)
        if isinstance(item.source, PanopticImage):
            assert self.panoptic is not None
            return draw_panoptic(item.source, self.panoptic.class_of)
        if item.source.mask is None:
            return self._stack(item.source)
        assert self.meaning is not None
        if self.meaning.threshold:
            with opened(item.source.mask) as image:
                return (np.asarray(image.convert("L")) >= 128).astype(np.uint8)
        if self.colors:
            with opened(item.source.mask) as image:
                pixels = np.asarray(image.convert("RGB")).astype(np.int64) @ np.array(
                    [65536, 256, 1]
                )
            keys = np.array([(r << 16) + (g << 8) + b for r, g, b in self.colors])
            order = keys.argsort()
            return np.array(list(self.colors.values()), np.uint8)[order][
                np.searchsorted(keys[order], pixels)
            ]
        return self._table()[_first_channel(item.source.mask)].astype(np.uint8)

    def _table(self) -> np.ndarray:
        """Value in a mask file -> class id."""
        if self.spec.mask_format == "matte":
            return (np.arange(LARGEST_VALUE + 1) >= OPAQUE).astype(np.int32)
        return class_table(self.spec)

    def class_pixels(self) -> np.ndarray:
        """N×K int64: how much of every class each item shows, by what is known already.

        Pixels where there are masks; the areas of outlines and segments in COCO (1 where none is stated); 1 for each
        class's file.
        """
        counts = np.zeros((len(self.items), len(self.spec.classes)), np.int64)
        table = None if self.colors else self._table()
        for row, item in zip(counts, self.items, strict=True):
            for number, amount in self._amounts(item.source, table):
                if 0 <= number < len(row):
                    row[number] += amount
        return counts

    def _amounts(
        self, source: Source | CocoImage | PanopticImage, table: np.ndarray | None
    ) -> Iterator[tuple[int, int]]:
        """Class id and amount, a class perhaps several times; ids beyond the classes are of ignored pixels.

        Args:
            table: class id of each value; None where masks hold colours.
        """
        if isinstance(source, CocoImage):
            assert self.coco is not None
            for note in source.annotations:
                if not note.get("iscrowd"):
                    yield (
                        self.coco.class_of.get(note.get("category_id", -1), -1),
                        max(1, int(note.get("area") or 1)),
                    )
        elif isinstance(source, PanopticImage):
            assert self.panoptic is not None
            for _, category, area in source.segments:
                yield self.panoptic.class_of.get(category, -1), area
        elif source.mask is None:
            for layer in source.layers:
                yield self.layers[layer.name], 1
        elif self.meaning is not None:
            for value, pixels in self.meaning.by_file.get(source.mask, {}).items():
                key: Any = value
                yield (self.colors[key] if table is None else int(table[key])), pixels

    def _stack(self, source: Source) -> np.ndarray:
        """One mask of the files of several classes; where they overlap the smaller object is on top."""
        shapes = []
        for layer in source.layers:
            values = _gray(layer.path)
            inside = values > (127 if values.max() > 127 else 0)
            shapes.append((int(inside.sum()), self.layers[layer.name], inside))
        if len({inside.shape for _, _, inside in shapes}) > 1:
            raise InputError(f"the masks of {source.image.name} differ in size.")
        ids = np.zeros(shapes[0][2].shape, np.uint8)
        for _, number, inside in sorted(shapes, key=lambda shape: -shape[0]):
            ids[inside] = number
        return ids


def _first_channel(path: Path) -> np.ndarray:
    """H×W values of a file of one channel, or of a grey picture of several."""
    with opened(path) as image:
        if len(image.getbands()) > 1:
            return np.asarray(image.convert("RGB"))[..., 0]
    return read_ids(path)


def _gray(path: Path) -> np.ndarray:
    with opened(path) as image:
        return np.asarray(image if image.mode in ("L", "1", "I;16") else image.convert("L")).astype(
            np.int64
        )
