"""A page with the predicted images: sliders, classes on and off, worst or most uncertain first."""

import base64
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from encoder_ablations.data.datasets.reading import read_image
from encoder_ablations.experiments.prediction.outputs import Outputs
from encoder_ablations.utils.files import write_text
from encoder_ablations.utils.pages.html_page import render_page

LONGEST_SIDE = 560
"""Pixels of a picture in the page."""
LAYERS = {
    "mask": "prediction",
    "truth": "truth",
    "uncertainty": "uncertainty",
    "grad_cam": "Grad-CAM",
    "similarity": "similar patches",
}
"""What can be laid over an image, and its title in the page."""
SHOWN = 60
"""Most images that the page holds: more would make it too large to open."""


def write_gallery(outputs: Outputs, names: Sequence[str], source: str) -> Path:
    """Write ``index.html``, which needs no other file, about predicted images; return it.

    Images with masks are ordered by their score, the worst first; others by their mean uncertainty,
    the most uncertain first.

    Args:
        outputs: the folder, in which all images are complete.
        names: of the images.
        source: what predicted them, in words.
    """
    described = [
        json.loads(outputs.description(name).read_text(encoding="utf-8")) for name in names
    ]
    ordered = sorted(described, key=_order)
    classes = [
        {"name": label, "color": "#{:02x}{:02x}{:02x}".format(*color)}
        for label, color in zip(outputs.classes, outputs.colors, strict=True)
    ]
    shown = ordered[:SHOWN]
    frames = _frames(shown)
    cards = [_shown(outputs, image, frames.get(image["name"])) for image in shown]
    page = render_page(
        Path(__file__).with_suffix(".html"),
        images=cards,
        source=source,
        hidden=max(0, len(ordered) - SHOWN),
        classes=classes,
        script=Path(__file__).with_suffix(".js").read_text(encoding="utf-8"),
        labelled=any("miou" in image for image in ordered),
        layers=[(kind, title) for kind, title in LAYERS.items() if _is_shown(kind, cards)],
    )
    path = outputs.folder / "index.html"
    write_text(path, page)
    return path


def _order(image: dict[str, Any]) -> tuple[float, float]:
    """Return the key that images are sorted by."""
    score = image.get("miou")
    if score is None:
        score = 1.0
    return score, -image.get("mean_uncertainty", 0.0)


def _is_shown(kind: str, cards: Sequence[dict[str, Any]]) -> bool:
    """Return whether any image has this layer."""
    return any(card[kind] is not None for card in cards)


def _frames(shown: Sequence[dict[str, Any]]) -> dict[str, str]:
    """Return the pictures of those images that are frames of videos, by their names."""
    names: dict[str, dict[int, str]] = {}
    for image in shown:
        if "frame" in image and Path(image["image"]).exists():
            names.setdefault(image["image"], {})[image["frame"]] = image["name"]
    pictures = {}
    for path, wanted in names.items():
        # imported here: images are predicted without PyAV
        from encoder_ablations.experiments.prediction.video_files import chosen_frames

        for frame in chosen_frames(Path(path), wanted):
            pictures[wanted[frame.number]] = _jpeg(Image.fromarray(frame.image()))
    return pictures


def _shown(outputs: Outputs, image: dict[str, Any], frame: str | None) -> dict[str, Any]:
    """Return what the page shows of an image.

    Args:
        outputs: the folder.
        image: its description.
        frame: its picture, if it is a frame of a video.
    """
    name = image["name"]
    pictures: dict[str, Any] = dict.fromkeys(("image", *LAYERS))
    mask = outputs.path("masks", name, "png")
    original = Path(image["image"])
    layered = mask.exists() and original.exists() and len(outputs.colors) < 256
    if layered:
        pictures["image"] = frame or _jpeg(Image.fromarray(read_image(original)))
        pictures["mask"] = _png(mask)
    else:  # a map, or an image that is gone: its overlay is all that is small enough
        pictures["image"] = _jpeg_file(outputs.path("overlays", name, "jpg"))
    truth = outputs.path("truth", name, "png")
    if truth.exists():
        pictures["truth"] = _png(truth)
    for kind in ("uncertainty", "grad_cam"):
        path = outputs.path(kind, name, "png")
        if path.exists():
            pictures[kind] = _jpeg_file(path)
    similarity = outputs.path("similarity", name, "npz")
    if similarity.exists():
        pictures["similarity"] = _patches(similarity)
    shares = sorted(image["share"].items(), key=lambda entry: -entry[1])
    return image | pictures | {"largest": [entry for entry in shares if entry[1] > 0][:3]}


def _patches(path: Path) -> dict[str, Any]:
    """Return what the page computes the similarity of patches from, see :class:`PatchFeatures`."""
    with np.load(path) as found:
        rows, columns, rank = found["values"].shape
        values = base64.b64encode(found["values"].tobytes()).decode("ascii")
        height, width = found["covered"].tolist()
    # the scale is left out: the script divides by the lengths of the vectors
    return {
        "values": values,
        "rows": rows,
        "columns": columns,
        "rank": rank,
        "height": 100 / height,
        "width": 100 / width,
    }


def _jpeg_file(path: Path) -> str:
    with Image.open(path) as picture:
        return _jpeg(picture.convert("RGB"))


def _jpeg(picture: Image.Image) -> str:
    buffer = io.BytesIO()
    small = picture.copy()
    small.thumbnail((LONGEST_SIDE, LONGEST_SIDE))
    small.save(buffer, "JPEG", quality=85)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def _png(path: Path) -> str:
    """Return a picture in the colours of its file; classes keep theirs exactly."""
    with Image.open(path) as file:
        picture = file.convert("RGB")
    scale = min(1.0, LONGEST_SIDE / max(picture.size))
    size = [max(1, round(side * scale)) for side in picture.size]
    buffer = io.BytesIO()
    picture.resize((size[0], size[1]), Image.Resampling.NEAREST).save(buffer, "PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
