"""How many planted defects of content ``ablate lint`` finds, and how many sound pairs it suspects.

The pairs are CamVid's (``DATASETS_ROOT``), with all classes and with road against the rest. Each
defect is planted into one pair of 20.
"""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from encoder_ablations.data.checks.content.measures import PairContent, pair_content
from encoder_ablations.data.checks.content.outliers import suspicions

IGNORE = 255
CLASSES = 11
ROAD = 3
TARGETS = dict.fromkeys(["shifted 15", "shifted 30", "swapped", "mirrored", "inverted"], "≥ 70 %")
TARGETS["sound"] = "≤ 1 %"

Pair = tuple[np.ndarray, np.ndarray]
"""Image H×W×3 uint8 and mask H×W uint8."""


def run(seconds: float) -> Iterator[str]:
    """Yield the rates of each kind of defect; ``seconds`` is not used."""
    folder = Path(os.environ.get("DATASETS_ROOT", "nowhere")) / "camvid"
    if not folder.is_dir():
        yield "lint: needs DATASETS_ROOT with the folder camvid"
        return
    pairs = read_pairs(folder)
    yield from rates("all classes", pairs, CLASSES, TARGETS)
    road = [(pixels, np.where(mask < IGNORE, mask == ROAD, mask)) for pixels, mask in pairs]
    yield from rates("road", [(pixels, mask.astype(np.uint8)) for pixels, mask in road], 2, {})


def read_pairs(folder: Path, step: int = 1) -> list[Pair]:
    """Return every ``step``-th pair of CamVid's train and val; void becomes IGNORE."""
    pairs = []
    for path in sorted((folder / "images").rglob("*.jpg"))[::step]:
        place = path.relative_to(folder / "images").with_suffix(".png")
        mask = np.array(Image.open(folder / "masks" / place))
        pixels = np.array(Image.open(path))
        pairs.append((pixels, np.where(mask < CLASSES, mask, IGNORE).astype(np.uint8)))
    return pairs


def rates(name: str, pairs: list[Pair], classes: int, targets: dict[str, str]) -> Iterator[str]:
    """Yield a row for the sound pairs, and one for each kind of defect."""
    names = list(map(str, range(classes)))
    sound = [pair_content(*pair, IGNORE) for pair in pairs]
    target = targets.get("sound", "none")
    yield f"lint, {name}, sound pairs: {share(suspected(sound, names))} suspected; target {target}"
    stream = np.random.default_rng(0)
    for kind, plant in defects(pairs, classes, stream).items():
        chosen = stream.choice(len(pairs), max(1, len(pairs) // 20), replace=False)
        mixed = list(sound)
        for index in chosen:
            mixed[index] = pair_content(*plant(*pairs[index]), IGNORE)
        found = suspected(mixed, names)
        others = np.delete(found, chosen)
        row = f"lint, {name}, {kind}: {share(found[chosen])} found, {share(others)} of the others"
        yield f"{row}; target {targets.get(kind, 'none')}"


def suspected(pairs: list[PairContent], names: list[str]) -> np.ndarray:
    """Return for each pair whether anything about it is suspicious."""
    found = np.zeros(len(pairs), bool)
    found[[each.index for each in suspicions(pairs, names)]] = True
    return found


def share(found: np.ndarray) -> str:
    """Return the share of what was found, in per cent."""
    return f"{100 * found.mean():.1f} %"


def defects(
    pairs: list[Pair], classes: int, stream: np.random.Generator
) -> dict[str, Callable[[np.ndarray, np.ndarray], Pair]]:
    """Return functions that damage a pair, by name."""

    def shifted(distance: int) -> Callable[[np.ndarray, np.ndarray], Pair]:
        def plant(pixels: np.ndarray, mask: np.ndarray) -> Pair:
            angle = stream.uniform(0, 2 * np.pi)
            move = np.array([[1, 0, distance * np.cos(angle)], [0, 1, distance * np.sin(angle)]])
            size = mask.shape[::-1]
            options = {"flags": cv2.INTER_NEAREST, "borderValue": IGNORE}
            return pixels, cv2.warpAffine(mask, move, size, **options)

        return plant

    def swapped(pixels: np.ndarray, _: np.ndarray) -> Pair:
        return pixels, pairs[stream.integers(len(pairs))][1]

    def exchanged(pixels: np.ndarray, mask: np.ndarray) -> Pair:
        first, second = np.bincount(mask[mask < IGNORE], minlength=2).argsort()[-2:]
        table = np.arange(256, dtype=np.uint8)
        table[[first, second]] = second, first
        return pixels, table[mask]

    def specked(pixels: np.ndarray, mask: np.ndarray) -> Pair:
        salt = stream.random(mask.shape) < 0.01
        return pixels, np.where(salt, stream.integers(0, classes, mask.shape), mask)

    def noisy(pixels: np.ndarray, mask: np.ndarray) -> Pair:
        noise = stream.normal(0, 25, pixels.shape)
        return (pixels + noise).clip(0, 255).astype(np.uint8), mask

    upper = np.arange(pairs[0][1].shape[0])[:, None] < 0.6 * pairs[0][1].shape[0]
    inverse = np.full(256, IGNORE, np.uint8)
    inverse[:classes] = np.arange(classes)[::-1]
    blocks = np.ones((8, 8), np.uint8)
    return {
        "shifted 15": shifted(15),
        "shifted 30": shifted(30),
        "swapped": swapped,
        "mirrored": lambda pixels, mask: (pixels, np.ascontiguousarray(mask[:, ::-1])),
        "upside down": lambda pixels, mask: (pixels, np.ascontiguousarray(mask[::-1])),
        "inverted": lambda pixels, mask: (pixels, inverse[mask]),
        "two exchanged": exchanged,
        "specks": specked,
        "blocky": lambda pixels, mask: (pixels, np.kron(mask[::8, ::8], blocks)),
        "lower part": lambda pixels, mask: (pixels, np.where(upper, mask, np.uint8(IGNORE))),
        "blurred": lambda pixels, mask: (cv2.GaussianBlur(pixels, (0, 0), 3), mask),
        "noisy": noisy,
        "half grey": lambda pixels, mask: (np.where(upper[..., None], pixels, np.uint8(128)), mask),
    }
