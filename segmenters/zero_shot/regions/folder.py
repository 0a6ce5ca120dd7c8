"""Regions that lie on disk, one file for each image."""

import hashlib
from functools import lru_cache
from pathlib import Path

import numpy as np

from encoder_ablations.data.datasets.reading import read_ids, read_image
from encoder_ablations.segmenters.zero_shot.methods import FolderSpec
from encoder_ablations.utils.errors import InputError

ENDINGS = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp")


def folder_regions(image: np.ndarray, spec: FolderSpec) -> np.ndarray:
    """Return the regions of an image, H×W int32, from the mask with its name.

    Args:
        image: H×W×3 uint8, RGB; it is looked up by its content.
        spec: the folders.

    Raises:
        InputError: a folder is missing, the image is not in ``images``, it has no mask, or a mask
            of another size.
    """
    found = _names_by_content(Path(spec.images)).get(_digest(image))
    if found is None:
        raise InputError(
            f"segmenter.regions: no image in {spec.images} has the content of an image of "
            f"{image.shape[1]}×{image.shape[0]} that is to be segmented. Put it there unchanged, "
            "with its mask in the folder of masks."
        )
    path = Path(spec.masks) / f"{found}.png"
    if not path.is_file():
        raise InputError(
            f"segmenter.regions: {path} does not exist. The mask of an image has its name and the "
            "ending .png."
        )
    ids = read_ids(path)
    if ids.shape != image.shape[:2]:
        raise InputError(
            f"segmenter.regions: {path} has {ids.shape[1]}×{ids.shape[0]} pixels, its image "
            f"{image.shape[1]}×{image.shape[0]}. They must be equal."
        )
    return ids.astype(np.int32)


def require_folder(folder: Path) -> None:
    """Check that a folder of images or masks is there.

    Raises:
        InputError: it is not.
    """
    if not folder.is_dir():
        raise InputError(f"segmenter.regions: the folder {folder} does not exist.")


@lru_cache(maxsize=8)
def _names_by_content(folder: Path) -> dict[str, str]:
    """Return the stem of every image in a folder, by the digest of its pixels."""
    require_folder(folder)
    paths = (path for path in sorted(folder.iterdir()) if path.suffix.lower() in ENDINGS)
    return {_digest(read_image(path)): path.stem for path in paths}


def _digest(image: np.ndarray) -> str:
    """Return the SHA-256 of an image's size and pixels."""
    digest = hashlib.sha256(repr(image.shape).encode())
    digest.update(np.ascontiguousarray(image).tobytes())
    return digest.hexdigest()
