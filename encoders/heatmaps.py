"""Feature maps as pictures."""

import io
import math
import textwrap
from pathlib import Path

import matplotlib
import numpy as np
from PIL import Image, ImageDraw
from torch import Tensor

from encoder_ablations.utils.files import write_bytes

PANEL = 400
"""Longest side of a picture in the overview, in pixels."""
LINE, LETTER = 16, 6
"""Height of a line of text and about the width of a letter, in pixels."""
CAPTION_WIDTH = 480
"""Least width of the overview, in pixels, so that its caption has few lines."""


def heatmap(features: Tensor, size: tuple[int, int]) -> np.ndarray:
    """Return the mean magnitude over channels, stretched to its own range and coloured.

    Args:
        features: C×h×w.
        size: (H, W) of the picture.

    Returns:
        H×W×3 uint8.
    """
    strength = features.abs().mean(dim=0).float().numpy()
    low, high = float(strength.min()), float(strength.max())
    extent = high - low or 1.0  # of a constant map
    stretched = (255 * (strength - low) / extent).astype(np.uint8)
    picture = Image.fromarray(stretched).resize((size[1], size[0]), Image.Resampling.NEAREST)
    colours = np.asarray(matplotlib.colormaps["viridis"](np.asarray(picture)))[..., :3]
    return (255 * colours).astype(np.uint8)


def save_heatmaps(
    image: np.ndarray, maps: dict[str, Tensor], folder: Path, caption: str = ""
) -> list[Path]:
    """Write ``NAME.png`` for every map, and ``overview.png`` with the image and all maps.

    Args:
        image: H×W×3 uint8, RGB.
        maps: C×h×w by name.
        folder: where the pictures go.
        caption: sentences that are written below the overview.

    Returns:
        The files written.
    """
    height, width = image.shape[:2]
    panels = {name: heatmap(features, (height, width)) for name, features in maps.items()}
    panels["overview"] = _overview({"image": image, **panels}, caption)
    written = []
    for name, panel in panels.items():
        buffer = io.BytesIO()
        Image.fromarray(panel).save(buffer, "PNG")
        written.append(folder / f"{name}.png")
        write_bytes(written[-1], buffer.getvalue())
    return written


def _overview(panels: dict[str, np.ndarray], caption: str) -> np.ndarray:
    """Return all panels in rows, each under its name, and the caption below them.

    There are about as many rows as columns. Panels larger than ``PANEL`` are reduced.
    """
    columns = math.ceil(math.sqrt(len(panels)))
    labelled = [_labelled(name, panel) for name, panel in panels.items()]
    width, height = labelled[0].size
    rows = math.ceil(len(labelled) / columns)
    # narrow pictures are widened for the caption
    total = max(columns * width, CAPTION_WIDTH)
    lines = textwrap.wrap(caption, total // LETTER)
    page = Image.new("RGB", (total, rows * height + LINE * len(lines)), "white")
    for place, panel in enumerate(labelled):
        row, column = divmod(place, columns)
        page.paste(panel, (column * width, row * height))
    draw = ImageDraw.Draw(page)
    for number, line in enumerate(lines):
        draw.text((2, rows * height + LINE * number), line, fill="black")
    return np.asarray(page)


def _labelled(name: str, panel: np.ndarray) -> Image.Image:
    """Return a panel with a margin, under its name."""
    picture = Image.fromarray(panel)
    picture.thumbnail((PANEL, PANEL))
    labelled = Image.new("RGB", (picture.width + 4, picture.height + LINE), "white")
    labelled.paste(picture, (0, LINE))
    ImageDraw.Draw(labelled).text((2, 2), name, fill="black")
    return labelled
