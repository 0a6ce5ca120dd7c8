"""Masks from annotations in Supervisely's format: a JSON per image, with polygons and bitmaps of titled objects."""

import base64
import binascii
import io
import json
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from encoder_ablations.utils.errors import InputError

LARGEST_SIDE = 65535
LARGEST_BITMAP = 1 << 28
"""Bytes of an uncompressed bitmap; more is an attack, or not a mask."""


def read_annotation(path: Path, titles: tuple[str, ...]) -> np.ndarray:
    """H×W uint16: 0 where no object is, else 1 + the position of the topmost object's title in ``titles``.

    Raises:
        InputError: the file is not such an annotation, or an object's title is not in ``titles``.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        height, width = int(content["size"]["height"]), int(content["size"]["width"])
        if not (
            0 < height <= LARGEST_SIDE
            and 0 < width <= LARGEST_SIDE
            and height * width <= LARGEST_BITMAP
        ):
            raise ValueError(f"a size of {width}×{height}")
        canvas = np.zeros((height, width), np.uint16)
        for thing in content["objects"]:
            if thing["classTitle"] not in titles:
                raise InputError(
                    f"{path}: an object is called '{thing['classTitle']}'. mask_titles knows {', '.join(titles)}."
                )
            _paint(canvas, thing, 1 + titles.index(thing["classTitle"]))
    except InputError:
        raise
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}.") from error
    except (
        ValueError,
        KeyError,
        TypeError,
        IndexError,
        zlib.error,
        binascii.Error,
        SyntaxError,
    ) as error:
        reason = " ".join(str(error).split())
        raise InputError(
            f"{path} is not an annotation in Supervisely's format ({reason})."
        ) from error
    return canvas


def _paint(canvas: np.ndarray, thing: dict[str, Any], value: int) -> None:
    bitmap = thing.get("bitmap")
    if bitmap:
        left, top = int(bitmap["origin"][0]), int(bitmap["origin"][1])
        shape = _decoded(bitmap["data"])[max(0, -top) :, max(0, -left) :]
        window = canvas[max(0, top) :, max(0, left) :][: shape.shape[0], : shape.shape[1]]
        window[shape[: window.shape[0], : window.shape[1]]] = value
        return
    exterior, interior = thing["points"]["exterior"], thing["points"].get("interior", [])
    if len(exterior) < 3:
        return  # lines and points cover no area
    image = Image.new("1", (canvas.shape[1], canvas.shape[0]))
    draw = ImageDraw.Draw(image)
    draw.polygon([(float(x), float(y)) for x, y in exterior], fill=1)
    for hole in interior:
        if len(hole) >= 3:
            draw.polygon([(float(x), float(y)) for x, y in hole], fill=0)
    canvas[np.asarray(image)] = value


def _decoded(data: str) -> np.ndarray:
    """A bitmap, H×W bool: base64 of a zlib-compressed PNG, whose alpha (or only channel) is the shape."""
    decompressor = zlib.decompressobj()
    png = decompressor.decompress(base64.b64decode(data, validate=True), LARGEST_BITMAP)
    with Image.open(io.BytesIO(png)) as image:
        channel = image.getchannel("A") if "A" in image.getbands() else image.convert("L")
        return np.asarray(channel) > 0
