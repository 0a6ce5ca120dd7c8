"""Images with shapes drawn by hand: polygons and bitmaps of named objects."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from PIL import Image, ImageDraw

from encoder_ablations.data.datasets.sample import ignore_label, mask_type
from encoder_ablations.data.datasets.spec import Split
from encoder_ablations.data.intake.layouts.annotations.annotated_set import AnnotatedSet
from encoder_ablations.data.intake.layouts.annotations.coco import BACKGROUND, stack_shapes
from encoder_ablations.utils.errors import InputError

Ring = tuple[tuple[float, float], ...]
"""Corners (x, y) in pixels."""
IGNORED = "__ignore__"
BACKGROUND_NAMES = frozenset({BACKGROUND, "_background_"})
DAMAGES = (KeyError, TypeError, ValueError, IndexError, AttributeError)
"""What reading raises where an annotation lacks something, or holds something else."""


@contextmanager
def naming_damage(sentence: str) -> Iterator[None]:
    """Within the block, which reads annotations, turn what damaged ones raise into one line.

    Args:
        sentence: what is damaged, without a full stop.

    Raises:
        InputError: an annotation is damaged.
    """
    try:
        yield
    except DAMAGES as error:
        raise InputError(f"{sentence} ({type(error).__name__} {error}).") from error


class Shape(Protocol):
    """One object of an image."""

    @property
    def name(self) -> str:
        """The object's class."""

    @property
    def area(self) -> int:
        """Pixels that the object covers, at least 1; an estimate will do."""

    def inside(self, size: tuple[int, int]) -> np.ndarray:
        """Return H×W bool."""


@dataclass(frozen=True)
class Polygon:
    """A filled outline; its corners belong to it, as in the tools that write such outlines."""

    name: str
    ring: Ring

    @property
    def area(self) -> int:
        """The shoelace formula."""
        x, y = np.array(self.ring).T
        return max(1, round(abs(float(x @ np.roll(y, 1) - y @ np.roll(x, 1))) / 2))

    def inside(self, size: tuple[int, int]) -> np.ndarray:
        """Return H×W bool."""
        picture = Image.new("1", (size[1], size[0]))
        ImageDraw.Draw(picture).polygon(list(self.ring), fill=1, outline=1)
        return np.asarray(picture)


@dataclass(frozen=True)
class Bitmap:
    """A shape of pixels, which is decoded when it is drawn.

    Attributes:
        name: the object's class.
        area: pixels, or 1 where they are not known.
        decode: a function from (H, W) to H×W bool; what it raises for damaged data is one of
            :data:`DAMAGES`.
    """

    name: str
    area: int
    decode: Callable[[tuple[int, int]], np.ndarray]

    def inside(self, size: tuple[int, int]) -> np.ndarray:
        """Return H×W bool."""
        return self.decode(size)


@dataclass(frozen=True)
class ShapedImage:
    """An image with its shapes.

    Attributes:
        id: the stem of the image's name.
        split: None where no name says it.
        image: where the image lies.
        size: (H, W) in pixels.
        shapes: of its objects.
    """

    id: str
    split: Split | None
    image: Path
    size: tuple[int, int]
    shapes: tuple[Shape, ...]

    def areas(self, class_of: Mapping[Any, int]) -> Iterator[tuple[int, int]]:
        """Yield the class id and the area of each object."""
        for shape in self.shapes:
            yield class_of[shape.name], shape.area

    def draw(self, class_of: Mapping[Any, int]) -> np.ndarray:
        """Return H×W class ids: the smallest object on top, 0 elsewhere.

        Raises:
            InputError: a bitmap is damaged.
        """
        with naming_damage(f"{self.image.name}: an annotation is damaged"):
            shapes = [(class_of[each.name], each.inside(self.size)) for each in self.shapes]
        kind = mask_type(ignore_label(1 + len(class_of)))
        return stack_shapes(shapes, np.zeros(self.size, kind))


def shaped_set(
    layout: str,
    images: list[ShapedImage],
    names: Sequence[str] = (),
    missing: Sequence[str] = (),
    remarks: Sequence[str] = (),
) -> AnnotatedSet[ShapedImage]:
    """Return what was read of one format, with background as class 0.

    Args:
        layout: in words.
        images: those that are there.
        names: of the classes in their order; empty for the names of all shapes, sorted.
        missing: files that are annotated but not there.
        remarks: sentences for the person who decides.
    """
    used = {shape.name for image in images for shape in image.shapes}
    ordered = list(names) or sorted(used)
    objects = [name for name in ordered if name.lower() not in {*BACKGROUND_NAMES, IGNORED}]
    classes = [BACKGROUND, *objects]
    class_of: dict[Any, int] = dict.fromkeys(used, 0)
    class_of |= {name: number for number, name in enumerate(classes)}
    if IGNORED in used:
        class_of[IGNORED] = ignore_label(len(classes))
    kind = "outlines, the smaller object on top"
    return AnnotatedSet[ShapedImage](
        layout, kind, images, classes, class_of, list(missing), list(remarks)
    )
