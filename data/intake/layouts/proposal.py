"""What was recognised in a folder, and how the mask of each pair is made of it."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from encoder_ablations.data.datasets.decoding import OPAQUE, class_table
from encoder_ablations.data.datasets.reading import opened
from encoder_ablations.data.datasets.spec import LARGEST_VALUE, DatasetSpec, Split
from encoder_ablations.data.intake.layouts.annotations.annotated_set import Annotated
from encoder_ablations.data.intake.layouts.annotations.coco import stack_shapes
from encoder_ablations.data.intake.layouts.mask_values import Meaning
from encoder_ablations.data.intake.layouts.survey import Source
from encoder_ablations.utils.config import build
from encoder_ablations.utils.errors import InputError

Progress = Callable[[int, int], object]
"""Called with the number of files done and of all files."""
Origin = Source | Annotated


@dataclass(frozen=True)
class Place:
    """Where a dataset lies.

    Attributes:
        root: the folder.
        name: of the dataset.
        files: all files below the folder.
    """

    root: Path
    name: str
    files: list[Path]

    def spec(self, content: dict[str, Any]) -> DatasetSpec:
        """Return the dataset's spec.

        Args:
            content: keys of the dataset's YAML; ``classes`` is needed.

        Raises:
            InputError: the classes cannot be those of a dataset, e.g. a name is empty.
        """
        root = str(self.root)
        always = {"name": self.name, "root": root, "splits": {"train": "train", "val": "val"}}
        return build(DatasetSpec, always | content, root)


@dataclass(frozen=True)
class Item:
    """One pair of an image and a mask.

    Attributes:
        id: distinct within a split.
        split: what the pair is for.
        image: where the image lies.
        source: what the mask is made of.
    """

    id: str
    split: Split
    image: Path
    source: Origin


@dataclass
class Proposal:
    """A dataset as it was recognised.

    Attributes:
        spec: usable at once when ``direct``, else the layout that :func:`prepare` writes.
        layout: in words, for the head of the YAML.
        kind: what the masks are, in words.
        items: all pairs.
        direct: whether files can be used where they lie.
        remarks: sentences for the person who decides.
        meaning: of mask files; None for annotations and for folders of classes.
        class_of: class id of a category, if the masks come from annotations.
        colors: class id of the code of a colour.
        layers: class id of a kind of masks.
    """

    spec: DatasetSpec
    layout: str
    kind: str
    items: list[Item]
    direct: bool = False
    remarks: list[str] = field(default_factory=list)
    meaning: Meaning | None = None
    class_of: Mapping[int, int] = field(default_factory=dict)
    colors: dict[int, int] = field(default_factory=dict)
    layers: dict[str, int] = field(default_factory=dict)

    def read_mask(self, item: Item) -> np.ndarray:
        """Return H×W class ids: uint8 with 255 = ignore.

        With more than 255 categories of COCO they are uint16 with 65535 = ignore.

        Raises:
            InputError: the mask cannot be read.
        """
        source = item.source
        if not isinstance(source, Source):
            return source.draw(self.class_of)
        if source.mask is None:
            return self._stack(source)
        codes = self.studied.read(source.mask)
        if self.colors:
            return self._classes_of_colors(codes)
        ids: np.ndarray = self._table()[codes]
        return ids.astype(np.uint8)

    @property
    def studied(self) -> Meaning:
        """The meaning of the mask files, where there are any."""
        assert self.meaning is not None
        return self.meaning

    def _classes_of_colors(self, pixels: np.ndarray) -> np.ndarray:
        """Return H×W uint8 class ids of H×W codes of colours."""
        codes = np.array(list(self.colors))
        ids = np.array(list(self.colors.values()), np.uint8)
        # searchsorted needs rising codes
        order = codes.argsort()
        places = np.searchsorted(codes[order], pixels)
        return np.take(ids[order], places)

    def _table(self) -> np.ndarray:
        """Return value in a mask file -> class id."""
        if self.spec.mask_format == "matte":
            return (np.arange(LARGEST_VALUE + 1) >= OPAQUE).astype(np.int32)
        return class_table(self.spec)

    def class_pixels(self) -> np.ndarray:
        """Return N×K int64: how much of every class each item shows, without reading masks again.

        These are pixels where there are masks, and areas of outlines and segments in COCO (1 where
        none is stated). Where each class has a file of its own, each file counts 1.
        """
        amounts = self._amounts()
        classes = len(self.spec.classes)
        # the last column takes what is ignored: ids beyond the classes, and -1
        counts = np.zeros((len(self.items), classes + 1), np.int64)
        for row, item in zip(counts, self.items, strict=True):
            for number, amount in amounts(item.source):
                row[min(number, classes)] += amount
        return counts[:, :-1]

    def _amounts(self) -> Callable[[Any], Iterable[tuple[int, int]]]:
        """Return a function from a source to its class ids and their amounts; ids may repeat."""
        if self.class_of:
            return lambda source: source.areas(self.class_of)
        if self.layers:
            return lambda source: [(self.layers[layer.kind], 1) for layer in source.layers]
        by_file: Mapping[Path, Mapping[Any, int]] = self.studied.by_file
        class_of: Any = self.colors or self._table()
        return lambda source: [
            (int(class_of[key]), count) for key, count in by_file.get(source.mask, {}).items()
        ]

    def _stack(self, source: Source) -> np.ndarray:
        """Return one mask made of the files of several classes, the smaller object on top."""
        shapes = []
        for layer in source.layers:
            values = _gray(layer.path)
            # masks of 0 and 255 may have smoothed edges; others hold 0 and a small number
            threshold = 127 * bool(values.max() > 127)
            shapes.append((self.layers[layer.kind], values > threshold))
        sizes = {inside.shape for _, inside in shapes}
        if len(sizes) > 1:
            raise InputError(f"the masks of {source.image.name} differ in size.")
        return stack_shapes(shapes, np.zeros(sizes.pop(), np.uint8))


def _gray(path: Path) -> np.ndarray:
    with opened(path) as image:
        gray = image if image.mode in ("L", "1", "I;16") else image.convert("L")
        return np.asarray(gray).astype(np.int64)
