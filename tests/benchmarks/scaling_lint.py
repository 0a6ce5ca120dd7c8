"""Checking datasets of distinct images, with a few copies between splits that are to be found."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from shutil import rmtree

import cv2
import numpy as np
from scaling_fit import Growth, growth

from encoder_ablations.data.checks.lint import lint
from encoder_ablations.data.references import load_dataset

SIDE, CLASSES = 96, 5
"""Pixels along a side: enough for keypoints, which lie 31 pixels from the edges."""
COPIES = 300
"""One image of ``val`` in so many is equal to one of ``train``, one compressed, one mirrored."""


def lint_growth(sizes: Sequence[int], folder: Path) -> Growth:
    """``ablate lint`` of so many images in each of two splits."""

    def prepare(size: int) -> Callable[[], object]:
        rmtree(folder, ignore_errors=True)
        make_splits(folder, size)
        return partial(lint, load_dataset(str(folder / "data.yaml")))

    return growth("check images", sizes, prepare, most=1)


def make_splits(folder: Path, count: int) -> None:
    """Write two splits of so many images and masks each, and the dataset's YAML."""
    for number, split in enumerate(("train", "val")):
        for kind in ("images", "masks"):
            (folder / kind / split).mkdir(parents=True)
        stream = np.random.default_rng(number)
        for index in range(count):
            _write(folder, split, f"{index:06}", *_draw(stream))
    for index in range(0, count - 2, COPIES):
        _copy(folder, index)
    names = [f"class {number}" for number in range(CLASSES)]
    (folder / "data.yaml").write_text(
        f"name: distinct\nroot: {folder}\nclasses: {names}\nsplits: {{train: train, val: val}}\n"
    )


def _draw(stream: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return clouds with a few boxes, SIDE×SIDE×3 uint8, and their mask, SIDE×SIDE uint8."""
    coarse = stream.integers(40, 216, (8, 8, 3), np.uint8)
    image = cv2.resize(coarse, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC)
    mask = np.zeros((SIDE, SIDE), np.uint8)
    corners = stream.integers(0, SIDE, (12, 2)).tolist()
    sizes = stream.integers(6, 30, (12, 2)).tolist()
    colors = stream.integers(0, 256, (12, 3)).tolist()
    for number, (corner, size, color) in enumerate(zip(corners, sizes, colors, strict=True)):
        end = (corner[0] + size[0], corner[1] + size[1])
        cv2.rectangle(image, corner, end, color, -1)
        cv2.rectangle(mask, corner, end, number % CLASSES, -1)
    return image, mask


def _write(
    folder: Path, split: str, name: str, image: np.ndarray, mask: np.ndarray, quality: int = 90
) -> None:
    pictures = folder / "images" / split / f"{name}.jpg"
    cv2.imwrite(str(pictures), image, [cv2.IMWRITE_JPEG_QUALITY, quality])
    cv2.imwrite(str(folder / "masks" / split / f"{name}.png"), mask)


def _copy(folder: Path, index: int) -> None:
    """Replace three images of ``val``: by the image of ``train``, compressed, and mirrored."""
    paths = [folder / kind / "train" / f"{index:06}" for kind in ("images", "masks")]
    image = cv2.imread(f"{paths[0]}.jpg")
    mask = cv2.imread(f"{paths[1]}.png", cv2.IMREAD_UNCHANGED)
    _write(folder, "val", f"{index:06}", image, mask, quality=50)
    _write(folder, "val", f"{index + 1:06}", image[:, ::-1], mask[:, ::-1])
    equal = folder / "images" / "val" / f"{index + 2:06}.jpg"
    equal.write_bytes(Path(f"{paths[0]}.jpg").read_bytes())
    cv2.imwrite(str(folder / "masks" / "val" / f"{index + 2:06}.png"), mask)
