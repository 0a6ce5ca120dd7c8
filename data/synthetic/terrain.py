"""Write a Mars-like dataset to disk, so that everything can be tried without a download."""

import io
import json
from pathlib import Path

import numpy as np
from PIL import Image

from encoder_ablations.data.synthetic.relief import draw_scene
from encoder_ablations.utils.errors import InputError
from encoder_ablations.utils.files import write_bytes, write_json
from encoder_ablations.utils.progress import Bar
from encoder_ablations.utils.seeding import numpy_stream

VERSION = 1
"""Goes up whenever the same parameters give other pictures."""
SMALLEST = 32


def generate_terrain(
    root: Path | str,
    *,
    train: int,
    val: int,
    test: int,
    size: int,
    seed: int,
    progress: bool = False,
) -> Path:
    """Write ``train``, ``val`` and ``test`` images of size×size pixels with masks below ``root``.

    Each image depends on seed, split and its number alone. What an earlier call with the same
    parameters has written stays as it is, so that a finished dataset costs nothing and an
    interrupted one is completed. ``root`` is returned.

    Raises:
        InputError: impossible parameters, or ``root`` holds something else.
    """
    root = Path(root)
    counts = {"train": train, "val": val, "test": test}
    for split, count in counts.items():
        if count < 1:
            raise InputError(
                f"the split '{split}' of the terrain dataset needs at least one image, not {count}."
            )
    if size < SMALLEST:
        raise InputError(f"terrain images have at least {SMALLEST} pixels a side, not {size}.")
    _claim(root, {"version": VERSION, **counts, "size": size, "seed": seed})
    missing = _missing(root, counts)
    hidden = not (progress and missing)
    bar = Bar(missing, "drawing terrain", unit="image", disable=hidden)
    for split, index in bar:
        image, mask = _paths(root, split, index)
        pixels, labels = draw_scene(size, numpy_stream(seed, "terrain", split, index))
        write_bytes(image, _png(pixels))
        write_bytes(mask, _png(labels))
    return root


def _missing(root: Path, counts: dict[str, int]) -> list[tuple[str, int]]:
    """Return the splits and numbers of the pairs of which a file is missing."""
    scenes = [(split, index) for split, count in counts.items() for index in range(count)]
    return [scene for scene in scenes if not all(map(Path.exists, _paths(root, *scene)))]


def _claim(root: Path, parameters: dict[str, int]) -> None:
    """Write ``terrain.json`` into a new folder, or compare with the one in it."""
    marker = root / "terrain.json"
    advice = "Choose another folder, or remove this one."
    try:
        found = json.loads(marker.read_text(encoding="utf-8"))
    except FileNotFoundError:
        if any((root / folder).exists() for folder in ("images", "masks")):
            raise InputError(
                f"{root.resolve()} already holds a dataset that was not generated. {advice}"
            ) from None
        write_json(marker, parameters)
        return
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read {marker.resolve()} ({error}). {advice}") from error
    if found != parameters:
        raise InputError(
            f"{root.resolve()} holds terrain with other parameters ({_shown(found)}) "
            f"than asked for ({_shown(parameters)}). {advice}"
        )


def _shown(parameters: object) -> str:
    """Return parameters in words; what a damaged file holds as it is."""
    if not isinstance(parameters, dict):
        return str(parameters)
    return ", ".join(f"{key} {value}" for key, value in parameters.items())


def _paths(root: Path, split: str, index: int) -> tuple[Path, Path]:
    name = f"{split}_{index:05d}.png"
    return root / "images" / split / name, root / "masks" / split / name


def _png(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG", compress_level=4)
    return file.getvalue()
