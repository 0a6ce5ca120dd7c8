"""A generated dataset with masks and classes of whole images: the background's colour is the
class of the image, and a bright square is what the mask shows."""

from pathlib import Path

import numpy as np
from PIL import Image

from encoder_ablations.data.datasets.spec import DatasetSpec

IMAGE_CLASSES = ("red", "green", "blue")
PER_CLASS = {"train": 6, "val": 3, "test": 4}


def draw(image_class, rng, side=64):
    """Return an image of a class and its mask."""
    pixels, mask = rng.integers(20, 60, (side, side, 3)), np.zeros((side, side), np.uint8)
    pixels[..., image_class] += 140
    top, left = rng.integers(0, side // 2, 2)
    mask[top : top + side // 2, left : left + side // 2] = 1
    pixels[mask == 1] = rng.integers(200, 250, (int(mask.sum()), 3))
    return Image.fromarray(pixels.astype(np.uint8)), Image.fromarray(mask)


def write_both_labels(root: Path, **changes) -> DatasetSpec:
    """Write images, masks and ``labels.csv``."""
    rng, lines = np.random.default_rng(0), ["file,label"]
    for split, count in PER_CLASS.items():
        for kind in ("images", "masks"):
            (root / kind / split).mkdir(parents=True)
        for number in range(count * len(IMAGE_CLASSES)):
            label = number % len(IMAGE_CLASSES)
            name = f"{split}/{split}_{number:03d}.png"
            image, mask = draw(label, rng)
            image.save(root / "images" / name)
            mask.save(root / "masks" / name)
            lines.append(f"images/{name},{IMAGE_CLASSES[label]}")
    (root / "labels.csv").write_text("\n".join(lines))
    content = {
        "name": "both",
        "root": str(root),
        "classes": ("background", "square"),
        "splits": {split: split for split in PER_CLASS},
        "labels": "labels.csv",
        "image_classes": IMAGE_CLASSES,
    }
    return DatasetSpec(**content | changes)
