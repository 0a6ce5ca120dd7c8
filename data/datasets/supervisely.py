"""Masks from annotations in Supervisely's format.

These are one JSON per image, with polygons and bitmaps of titled objects.
"""

import base64
import binascii
import io
import json
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from encoder_ablations.utils.errors import InputError

LARGEST_SIDE = 65535
LARGEST_BITMAP = 1 << 28
"""Bytes of an uncompressed bitmap; more is an attack, or not a mask."""
FEWEST_CORNERS = 3
"""Lines and points cover no area."""
DAMAGES = (
    ValueError,
    KeyError,
    TypeError,
    IndexError,
    SyntaxError,
    zlib.error,
    binascii.Error,
)
"""What reading raises from files that are no annotation, or damaged."""


def read_annotation(path: Path, titles: tuple[str, ...]) -> np.ndarray:
    """Return which object is on top of each pixel, H×W uint16.

    A pixel holds 0 where no object is, else 1 + the position of the object's title in ``titles``.

    Raises:
        InputError: the file is not such an annotation, or an object's title is not in ``titles``.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        canvas = _canvas(content["size"])
        for thing in content["objects"]:
            _paint(canvas, thing, _value(thing["classTitle"], titles))
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}.") from error
    except DAMAGES as error:
        reason = " ".join(str(error).split())
        raise InputError(
            f"{path} is not an annotation in Supervisely's format for this dataset ({reason})."
        ) from error
    return canvas


def _value(title: str, titles: tuple[str, ...]) -> int:
    """Return 1 + the position of a title.

    Raises:
        ValueError: the title is unknown.
    """
    if title not in titles:
        raise ValueError(f"an object is called '{title}'; mask_titles knows {', '.join(titles)}")
    return 1 + titles.index(title)


def _canvas(size: Mapping[str, Any]) -> np.ndarray:
    """Return H×W zeros.

    Raises:
        ValueError: the size is impossible.
    """
    height, width = int(size["height"]), int(size["width"])
    possible = range(1, LARGEST_SIDE + 1)
    if height not in possible or width not in possible or height * width > LARGEST_BITMAP:
        raise ValueError(f"a size of {width}×{height}")
    return np.zeros((height, width), np.uint16)


def _paint(canvas: np.ndarray, thing: dict[str, Any], value: int) -> None:
    if thing.get("bitmap"):
        _paint_bitmap(canvas, thing["bitmap"], value)
        return
    exterior, holes = thing["points"]["exterior"], thing["points"].get("interior", [])
    if len(exterior) < FEWEST_CORNERS:
        return
    image = Image.new("1", (canvas.shape[1], canvas.shape[0]))
    draw = ImageDraw.Draw(image)
    draw.polygon(_corners(exterior), fill=1)
    for hole in holes:
        if len(hole) >= FEWEST_CORNERS:
            draw.polygon(_corners(hole), fill=0)
    canvas[np.asarray(image)] = value


def _paint_bitmap(canvas: np.ndarray, bitmap: Mapping[str, Any], value: int) -> None:
    """Paint the part of a bitmap that lies on the canvas."""
    left, top = int(bitmap["origin"][0]), int(bitmap["origin"][1])
    shape = _decoded(bitmap["data"])[max(0, -top) :, max(0, -left) :]
    window = canvas[max(0, top) :, max(0, left) :][: shape.shape[0], : shape.shape[1]]
    window[shape[: window.shape[0], : window.shape[1]]] = value


def _corners(points: Sequence[Sequence[Any]]) -> list[tuple[float, float]]:
    return [(float(x), float(y)) for x, y in points]


def _decoded(data: str) -> np.ndarray:
    """Return a bitmap, H×W bool.

    Args:
        data: base64 of a zlib-compressed PNG, whose alpha (or only channel) is the shape.
    """
    decompressor = zlib.decompressobj()
    png = decompressor.decompress(base64.b64decode(data, validate=True), LARGEST_BITMAP)
    with Image.open(io.BytesIO(png)) as image:
        channel = image.convert("L")
        if "A" in image.getbands():
            channel = image.getchannel("A")
        return np.asarray(channel) > 0
