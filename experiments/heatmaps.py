"""Feature maps as pictures."""

import io
from pathlib import Path

import matplotlib
import numpy as np
from PIL import Image
from torch import Tensor

from encoder_ablations.utils.files import write_bytes


def heatmap(features: Tensor, size: tuple[int, int]) -> np.ndarray:
    """Mean magnitude over channels, stretched to its own range and coloured.

    Args:
        features: C×h×w.
        size: (H, W) of the picture.

    Returns:
        H×W×3 uint8.
    """
    strength = features.abs().mean(dim=0).float().numpy()
    low, high = float(strength.min()), float(strength.max())
    stretched = (255 * (strength - low) / (high - low if high > low else 1)).astype(np.uint8)
    resized = np.asarray(Image.fromarray(stretched).resize((size[1], size[0]), Image.Resampling.NEAREST))
    return (255 * matplotlib.colormaps["viridis"](resized)[..., :3]).astype(np.uint8)


def save_heatmaps(image: np.ndarray, maps: dict[str, Tensor], folder: Path) -> list[Path]:
    """Writes ``NAME.png`` for every map, and the image with all of them side by side as ``overview.png``.

    Args:
        image: H×W×3 uint8, RGB.
        maps: name -> C×h×w.
    """
    height, width = image.shape[:2]
    panels = {name: heatmap(features, (height, width)) for name, features in maps.items()}
    gap = np.full((height, 4, 3), 255, np.uint8)
    rows = [panel for picture in [image, *panels.values()] for panel in (picture, gap)]
    panels["overview"] = np.concatenate(rows[:-1], axis=1)
    written = []
    for name, panel in panels.items():
        buffer = io.BytesIO()
        Image.fromarray(panel).save(buffer, "PNG")
        written.append(folder / f"{name}.png")
        write_bytes(written[-1], buffer.getvalue())
    return written
