"""labelme's JSONs as class ids: one file beside each image.

https://github.com/wkentaro/labelme: ``shapes`` of ``label``, ``points`` and ``shape_type``, and the
image's ``imagePath``, ``imageHeight`` and ``imageWidth``.
"""

import base64
import io
import json
import math
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from encoder_ablations.data.datasets.listing import IMAGE_SUFFIXES
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
from encoder_ablations.utils.texts import plural

WITHOUT_AREA = frozenset({"point", "points", "line", "linestrip"})
CORNERS_OF_CIRCLE = 90


def read_labelme(root: Path, files: Sequence[Path]) -> AnnotatedSet[ShapedImage] | None:
    """Return the content of all labelme files below ``root``; None where there is none.

    Raises:
        InputError: a shape is damaged.
    """
    places = Files(root, files)
    contents = _contents(files)
    if not contents:
        return None
    images, missing, left_out = [], [], 0
    for path, content in contents.items():
        name = str(content["imagePath"]).replace("\\", "/")
        image = places.find(name, path.parent)
        if image is None:
            missing.append(name)
            continue
        with naming_damage(f"{path} is no complete labelme file"):
            images.append(_read(content, image, root))
            left_out += len(content["shapes"]) - len(images[-1].shapes)
    remarks = []
    if left_out:
        spare = plural(left_out, "point or line", "covers/cover no area and is/are left out")
        remarks.append(f"{spare}.")
    return shaped_set("labelme's JSONs", images, (), missing, remarks)


def _contents(files: Sequence[Path]) -> dict[Path, Any]:
    """Return what labelme's files hold, by path. They lie beside images of their names."""
    stems = {path.stem for path in files if path.suffix.lower() in IMAGE_SUFFIXES}
    jsons = [path for path in files if path.suffix.lower() == ".json" and path.stem in stems]
    contents = {path: json.loads(path.read_text(encoding="utf-8")) for path in jsons}
    return {path: content for path, content in contents.items() if _is_labelme(content)}


def _is_labelme(content: Any) -> bool:
    return isinstance(content, dict) and {"shapes", "imagePath"} <= content.keys()


def _read(content: dict[str, Any], image: Path, root: Path) -> ShapedImage:
    size = int(content["imageHeight"]), int(content["imageWidth"])
    drawn = [each for each in content["shapes"] if each.get("shape_type") not in WITHOUT_AREA]
    split = split_of_annotations(Path(), image, root)
    return ShapedImage(image.stem, split, image, size, tuple(map(_shape, drawn)))


def _shape(entry: dict[str, Any]) -> Shape:
    """Return a shape; a rectangle and a mask are two corners, a circle its centre and a point."""
    name, kind = str(entry["label"]), entry.get("shape_type") or "polygon"
    points = [(float(x), float(y)) for x, y in entry["points"]]
    if kind == "polygon" and len(points) >= 3:
        return Polygon(name, tuple(points))
    (left, top), (right, bottom) = points
    if kind == "rectangle":
        return Polygon(name, ((left, top), (right, top), (right, bottom), (left, bottom)))
    if kind == "circle":
        radius = math.hypot(right - left, bottom - top)
        angles = [2 * math.pi * corner / CORNERS_OF_CIRCLE for corner in range(CORNERS_OF_CIRCLE)]
        ring = [(left + radius * math.cos(a), top + radius * math.sin(a)) for a in angles]
        return Polygon(name, tuple(ring))
    if kind == "mask":
        area = max(1, round(abs((right - left) * (bottom - top))))
        return Bitmap(name, area, partial(_mask, entry["mask"], int(left), int(top)))
    raise ValueError(f"a shape of the type '{kind}' with {plural(len(points), 'point')}")


def _mask(data: str, left: int, top: int, size: tuple[int, int]) -> np.ndarray:
    """Return H×W bool of a PNG in base64 whose first pixel lies at (left, top)."""
    inside = np.zeros(size, bool)
    with Image.open(io.BytesIO(base64.b64decode(data))) as image:
        pixels = np.asarray(image.convert("L")) > 0
    window = inside[top:, left:][: pixels.shape[0], : pixels.shape[1]]
    window |= pixels[: window.shape[0], : window.shape[1]]
    return inside
