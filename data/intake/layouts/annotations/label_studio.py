"""Label Studio's JSON export as class ids: brushes (run lengths) and polygons.

https://labelstud.io/guide/export: a list of tasks; coordinates are percent of the image.
"""

import json
import re
from collections import Counter
from collections.abc import Sequence
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np

from encoder_ablations.data.intake.layouts.annotations.annotated_set import (
    AnnotatedSet,
    Files,
    split_of_annotations,
)
from encoder_ablations.data.intake.layouts.annotations.shapes import (
    Bitmap,
    Polygon,
    Shape,
    ShapedImage,
    naming_damage,
    shaped_set,
)
from encoder_ablations.utils.texts import first_names, plural

DIGITS = 3
"""Places of a corner in pixels that are read."""
_UPLOADED = re.compile(r"^[0-9a-f]{8}-")
"""What Label Studio puts before the name of an uploaded file."""


def read_label_studio(root: Path, files: Sequence[Path]) -> AnnotatedSet[ShapedImage] | None:
    """Return the images of all exports below ``root``; None where there is none.

    Of several annotations of an image the first one counts that was not cancelled. Images without
    any are left out.

    Raises:
        InputError: a result is damaged.
    """
    images: list[ShapedImage] = []
    missing: list[str] = []
    places = Files(root, files)
    tasks = [(path, task) for path in files for task in _tasks(path)]
    unlabelled = 0
    for path, task in tasks:
        with naming_damage(f"{path}, task {task.get('id')}: its annotation cannot be read"):
            name, results = _image_name(task), _results(task)
            image = _find(places, name, path)
            if results is None:
                unlabelled += 1
            elif image is None:
                missing.append(name)
            else:
                images.append(_read(image, results, root))
    if not tasks:
        return None
    remarks = _remarks([task for _, task in tasks], unlabelled)
    return shaped_set("Label Studio's JSON", images, (), missing, remarks)


def _remarks(tasks: Sequence[dict[str, Any]], unlabelled: int) -> list[str]:
    """Return what is left out: tasks without an annotation, and shapes that are no areas."""
    remarks = []
    if unlabelled:
        left_out = plural(unlabelled, "task", "has/have no annotation and is/are left out")
        remarks.append(f"{left_out}.")
    shapes = chain.from_iterable(_results(task) or () for task in tasks)
    others = Counter(shape["type"] for shape in shapes if not _drawn(shape))
    if others:
        spare = plural(others.total(), "shape", "is/are left out")
        remarks.append(
            f"{spare} ({first_names(list(others))}): only brushes and polygons are read."
        )
    return remarks


def _tasks(path: Path) -> list[dict[str, Any]]:
    """Return the tasks of an export; [] for any other file."""
    if path.suffix.lower() != ".json":
        return []
    with path.open(encoding="utf-8") as file:
        if not file.read(64).lstrip().startswith("["):
            return []
    content = json.loads(path.read_text(encoding="utf-8"))
    tasks = [each for each in content if isinstance(each, dict)]
    return [each for each in tasks if {"annotations", "data"} <= each.keys()]


def _image_name(task: dict[str, Any]) -> str:
    """Return the name of a task's image: the end of its address."""
    data = task["data"]
    address = data.get("image") or next(each for each in data.values() if isinstance(each, str))
    return unquote(re.split(r"[/\\=]", unquote(address))[-1])


def _find(places: Files, name: str, path: Path) -> Path | None:
    """Return the image of this name, with or without what uploading put before it."""
    return places.find(name, path.parent) or places.find(_UPLOADED.sub("", name), path.parent)


def _results(task: dict[str, Any]) -> list[dict[str, Any]] | None:
    """Return the shapes of the annotation that counts; None where there is no annotation."""
    for annotation in task["annotations"]:
        if not annotation.get("was_cancelled"):
            return [each for each in annotation["result"] if "original_width" in each]
    return None


def _read(image: Path, results: list[dict[str, Any]], root: Path) -> ShapedImage:
    if not results:
        raise ValueError("no shape, so that the image's size is not known")
    size = int(results[0]["original_height"]), int(results[0]["original_width"])
    shapes = [_shape(each["value"], size) for each in results if _drawn(each)]
    split = split_of_annotations(Path(), image, root)
    return ShapedImage(image.stem, split, image, size, tuple(shapes))


def _drawn(result: dict[str, Any]) -> bool:
    return result["type"] in ("brushlabels", "polygonlabels")


def _shape(value: dict[str, Any], size: tuple[int, int]) -> Shape:
    if "rle" in value:
        return Bitmap(str(value["brushlabels"][0]), 1, partial(_brushed, value["rle"]))
    height, width = size
    ring = [
        (round(x * width / 100, DIGITS), round(y * height / 100, DIGITS))
        for x, y in value["points"]
    ]
    if len(ring) < 3:
        raise ValueError("a polygon of fewer than three corners")
    return Polygon(str(value["polygonlabels"][0]), tuple(ring))


def _brushed(runs: Sequence[int], size: tuple[int, int]) -> np.ndarray:
    """Return H×W bool: where the opacity of the painted RGBA picture is not 0."""
    height, width = size
    pixels = _decoded(runs, height * width * 4)
    return pixels.reshape(height, width, 4)[..., 3] > 0


def _decoded(runs: Sequence[int], expected: int) -> np.ndarray:
    """Return the bytes of a picture, as thi.ng's rle-pack stores them.

    The head is 32 bits for the number of words, 5 for the bits of a word, and 4 for the bits of
    each of four sizes of counts; all but the first are less by 1. Then follow stretches: 1 bit
    that says whether one word is repeated, 2 bits for the size of the count, and the count less 1.

    Raises:
        ValueError: the picture has another size, or the bits end too soon.
    """
    bits = _Bits(bytes(runs))
    words = bits.take(32)
    if words != expected:
        raise ValueError(f"a brush of {words} numbers for a picture of {expected}")
    word_bits = bits.take(5) + 1
    count_bits = [bits.take(4) + 1 for _ in range(4)]
    result = np.zeros(words, np.uint8)
    place = 0
    while place < words:
        repeated = bits.take(1)
        end = place + 1 + bits.take(count_bits[bits.take(2)])
        if repeated:
            result[place:end] = bits.take(word_bits)
        else:
            result[place:end] = [bits.take(word_bits) for _ in range(end - place)]
        place = end
    return result


class _Bits:
    """Reads numbers of any number of bits, the highest bit first."""

    def __init__(self, content: bytes) -> None:
        self._text = "".join(f"{byte:08b}" for byte in content)
        self._place = 0

    def take(self, count: int) -> int:
        """Return the next number.

        Raises:
            ValueError: there are not so many bits left.
        """
        piece = self._text[self._place : self._place + count]
        if len(piece) < count:
            raise ValueError("the bits of a brush end too soon")
        self._place += count
        return int(piece, 2)
