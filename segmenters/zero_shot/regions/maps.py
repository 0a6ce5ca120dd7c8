"""Region ids of an image, computed once and kept on disk."""

import hashlib
import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from encoder_ablations.segmenters.zero_shot.methods import (
    FolderSpec,
    SamSpec,
    SuperpixelSpec,
)
from encoder_ablations.segmenters.zero_shot.regions.folder import folder_regions
from encoder_ablations.segmenters.zero_shot.regions.sam import sam_regions
from encoder_ablations.segmenters.zero_shot.regions.superpixels import superpixel_regions
from encoder_ablations.utils.cache_folder import cache_folder, file_state
from encoder_ablations.utils.files import write_with


def region_map(
    image: np.ndarray,
    spec: SamSpec | FolderSpec | SuperpixelSpec,
    device: torch.device,
    keep: bool = True,
) -> np.ndarray:
    """Return the region of every pixel, H×W int32; 0 = in no region.

    What was computed once is read from the cache folder, whatever method asks for it. The file's
    name follows from the image's content and the settings.

    Args:
        image: H×W×3 uint8, RGB.
        spec: how regions are found.
        device: where SAM computes.
        keep: whether the cache folder is read and written.

    Raises:
        InputError: a model or a package is missing, or the folder has no regions of this image.
    """
    if isinstance(spec, FolderSpec):
        return folder_regions(image, spec)

    def compute() -> np.ndarray:
        if isinstance(spec, SamSpec):
            return sam_regions(image, spec, device)
        return superpixel_regions(image, spec)

    if not keep:
        return compute()
    return _kept(cache_folder("regions") / f"{_key(image, spec)}.npz", compute)


def _kept(path: Path, compute: Callable[[], np.ndarray]) -> np.ndarray:
    """Return the array of a file; it is computed and written where the file cannot be read."""
    try:
        with np.load(path) as file:
            found: np.ndarray = file["regions"]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        found = compute()
        write_with(path, lambda file: np.savez_compressed(file, regions=found))
    return found


def _key(image: np.ndarray, spec: SamSpec | SuperpixelSpec) -> str:
    """Return the SHA-256 of the settings, the model's files and the image's content."""
    state = []
    if isinstance(spec, SamSpec) and Path(spec.model).is_dir():
        files = sorted(path for path in Path(spec.model).iterdir() if path.is_file())
        state = [f"{path.name} {file_state(path)}" for path in files]
    settings = [spec.model_dump(mode="json"), state, list(image.shape)]
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
    digest.update(np.ascontiguousarray(image).tobytes())
    return digest.hexdigest()
