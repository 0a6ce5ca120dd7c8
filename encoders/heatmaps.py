"""Feature maps as pictures."""

import io
from pathlib import Path

import matplotlib
import numpy as np
from PIL import Image, ImageDraw
from torch import Tensor

from encoder_ablations.utils.files import write_bytes


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


def save_heatmaps(image: np.ndarray, maps: dict[str, Tensor], folder: Path) -> list[Path]:
    """Write ``NAME.png`` for every map, and ``overview.png`` with the image and all maps.

    Args:
        image: H×W×3 uint8, RGB.
        maps: C×h×w by name.
        folder: where the pictures go.

    Returns:
        The files written.
    """
    height, width = image.shape[:2]
    panels = {name: heatmap(features, (height, width)) for name, features in maps.items()}
    panels["overview"] = _overview({"image": image, **panels})
    written = []
    for name, panel in panels.items():
        buffer = io.BytesIO()
        Image.fromarray(panel).save(buffer, "PNG")
        written.append(folder / f"{name}.png")
        write_bytes(written[-1], buffer.getvalue())
    return written


def _overview(panels: dict[str, np.ndarray]) -> np.ndarray:
    """Return all panels in one row, each under its name."""
    columns = []
    for name, panel in panels.items():
        labelled = Image.new("RGB", (panel.shape[1] + 4, panel.shape[0] + 16), "white")
        labelled.paste(Image.fromarray(panel), (0, 16))
        ImageDraw.Draw(labelled).text((2, 2), name, fill="black")
        columns.append(np.asarray(labelled))
    return np.concatenate(columns, axis=1)
