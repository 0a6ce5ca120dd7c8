"""What was recognised in a folder, and how the mask of each pair is made of it."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from encoder_ablations.data.decoding import class_table
from encoder_ablations.data.layouts.coco import CocoImage, CocoSet, draw_coco
from encoder_ablations.data.layouts.survey import Source
from encoder_ablations.data.layouts.values import Color, Meaning
from encoder_ablations.data.reading import opened, read_ids
from encoder_ablations.data.spec import DatasetSpec, Split
from encoder_ablations.utils.errors import InputError

Progress = Callable[[int, int], object]


@dataclass(frozen=True)
class Item:
    """One pair: where its image lies, and how its mask is made."""

    id: str
    split: Split
    image: Path
    source: Source | CocoImage


@dataclass
class Proposal:
    """A dataset as it was recognised.

    Attributes:
        spec: usable at once when ``direct``, else the layout that :func:`prepare` writes.
        meaning: of mask files; None for COCO and for folders of classes.
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
        if item.source.mask is None:
            return self._stack(item.source)
        assert self.meaning is not None
        if self.meaning.threshold:
            with opened(item.source.mask) as image:
                return (np.asarray(image.convert("L")) >= 128).astype(np.uint8)
        if self.colors:
            with opened(item.source.mask) as image:
                pixels = np.asarray(image.convert("RGB")).astype(np.int64) @ np.array([65536, 256, 1])
            keys = np.array([(r << 16) + (g << 8) + b for r, g, b in self.colors])
            order = keys.argsort()
            return np.array(list(self.colors.values()), np.uint8)[order][np.searchsorted(keys[order], pixels)]
        if self.meaning.convert:
            with opened(item.source.mask) as image:
                values = np.asarray(image.convert("RGB"))[..., 0] if len(image.getbands()) > 1 else np.asarray(image)
        else:
            values = read_ids(item.source.mask)
        return class_table(self.spec)[values].astype(np.uint8)

    def class_pixels(self) -> np.ndarray:
        """N×K int64: how much of every class each item shows, by what is known already.

        Pixels where there are masks; the areas of outlines in COCO (1 where none is stated); 1 for each class's file.
        """
        counts = np.zeros((len(self.items), len(self.spec.classes)), np.int64)
        number_of: Callable[[Any], int] = self.colors.__getitem__ if self.colors else class_table(self.spec).__getitem__
        for row, item in zip(counts, self.items, strict=True):
            if isinstance(item.source, CocoImage):
                assert self.coco is not None
                for note in item.source.annotations:
                    if not note.get("iscrowd") and note.get("category_id") in self.coco.class_of:
                        row[self.coco.class_of[note["category_id"]]] += max(1, int(note.get("area") or 1))
            elif item.source.mask is None:
                for layer in item.source.layers:
                    row[self.layers[layer.name]] += 1
            elif self.meaning is not None:
                for value, pixels in self.meaning.by_file.get(item.source.mask, {}).items():
                    number = number_of(value)
                    if 0 <= number < len(row):
                        row[number] += pixels
        return counts

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


def _gray(path: Path) -> np.ndarray:
    with opened(path) as image:
        return np.asarray(image if image.mode in ("L", "1", "I;16") else image.convert("L")).astype(np.int64)
