"""Generated classification datasets: images of noise in which one colour is stronger."""

from pathlib import Path

import numpy as np
from PIL import Image

from encoder_ablations.data.datasets.spec import DatasetSpec

CLASSES = ("red", "green", "blue")
PER_CLASS = {"train": 6, "val": 3, "test": 4}


def draw(class_id: int, rng: np.random.Generator, size=(66, 72)) -> Image.Image:
    """Return an image of a class."""
    pixels = rng.integers(60, 140, (*size, 3))
    pixels[..., class_id] += 60
    return Image.fromarray(pixels.astype(np.uint8))


def write_folders(root: Path, per_class=PER_CLASS, size=(66, 72)) -> DatasetSpec:
    """Write a folder for each class below one for each split."""
    rng = np.random.default_rng(0)
    for split, count in per_class.items():
        for class_id, name in enumerate(CLASSES):
            folder = root / split / name
            folder.mkdir(parents=True)
            for number in range(count):
                draw(class_id, rng, size).save(folder / f"{number:03d}.png")
    return DatasetSpec(
        name="colors",
        task="classification",
        root=str(root),
        images=".",
        classes=CLASSES,
        splits={split: split for split in per_class},
    )
