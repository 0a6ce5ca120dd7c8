"""The index files of a division into train, val and test, and the settings that it follows from."""

import json
from collections.abc import Callable
from operator import attrgetter
from pathlib import Path
from typing import Any

from encoder_ablations.data.datasets.folder import FolderDataset
from encoder_ablations.data.datasets.index_files import write_index
from encoder_ablations.data.datasets.pairing import Pair
from encoder_ablations.utils.errors import InputError
from encoder_ablations.utils.files import write_json

KINDS: dict[str, Callable[[Pair], Path]] = {
    "images": attrgetter("image"),
    "masks": attrgetter("mask"),
}
"""What a list may hold of each pair."""
MARKER = "split.json"
"""Holds the settings of the division that a folder holds."""


def write_division(
    dataset: FolderDataset,
    files: dict[str, list[int]],
    folder: Path,
    settings: dict[str, Any],
    replace: bool,
) -> int:
    """Write ``NAME_images.txt`` and ``NAME_masks.txt`` for every part, and the settings.

    A classification dataset has no masks to list.

    Args:
        dataset: what is divided.
        files: positions in the dataset of the images of every part.
        folder: inside the dataset's.
        settings: what the division follows from.
        replace: whether another division in the folder may be lost.

    Returns:
        How many lists were written.

    Raises:
        InputError: the folder holds another division, which is not to be replaced.
    """
    root = dataset.spec.folder.resolve()
    marker = folder / MARKER
    if marker.exists() and not replace and _saved(marker) != settings:
        raise InputError(
            f"{folder} holds another division; results that were made with it could not be "
            "repeated. Choose another folder with --output, or say --replace."
        )
    kinds = KINDS
    if dataset.spec.task == "classification":
        kinds = {"images": KINDS["images"]}
    for name, positions in files.items():
        pairs = [dataset.pairs[position] for position in positions]
        for kind, read in kinds.items():
            write_index(folder / f"{name}_{kind}.txt", root, map(read, pairs))
    write_json(marker, settings)
    return len(files) * len(kinds)


def _saved(marker: Path) -> Any:
    """Return the settings of the division in a folder; None where they cannot be read."""
    try:
        return json.loads(marker.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
