"""The regions of images that a head reads."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from encoder_ablations.segmenters.zero_shot.methods import FolderSpec, SamSpec, SuperpixelSpec
from encoder_ablations.segmenters.zero_shot.regions.folder import require_folder
from encoder_ablations.segmenters.zero_shot.regions.maps import region_map
from encoder_ablations.segmenters.zero_shot.regions.sam import load_generator
from encoder_ablations.segmenters.zero_shot.regions.superpixels import load_slic


class RegionReader:
    """Gives the region maps of images, one for each way to find regions.

    Attributes:
        sets: these ways; () = the head reads no regions.
    """

    def __init__(self, sets: Sequence[SamSpec | FolderSpec | SuperpixelSpec]) -> None:
        self.sets = tuple(sets)
        self._given: list[np.ndarray] | None = None

    @property
    def needs_whole_images(self) -> bool:
        """Whether images are looked up by their content."""
        return any(isinstance(each, FolderSpec) for each in self.sets)

    def load(self, device: torch.device) -> None:
        """Load what finds regions, so that what is missing is found before the first image.

        Args:
            device: where SAM computes.

        Raises:
            InputError: a model, a package or a folder is missing.
        """
        for spec in self.sets:
            if isinstance(spec, SamSpec):
                load_generator(spec.model, device)
            elif isinstance(spec, SuperpixelSpec):
                load_slic()
            else:
                require_folder(Path(spec.images))
                require_folder(Path(spec.masks))

    def maps(self, rgb: np.ndarray, size: tuple[int, int], device: torch.device) -> list[Tensor]:
        """Return the region ids h×w int64 of an image for every set, at another size.

        They are found in the image as it is, or read from the cache, and then resized (nearest
        neighbour).

        Args:
            rgb: H×W×3 uint8.
            size: (h, w).
            device: where SAM computes.

        Raises:
            InputError: see :func:`~.maps.region_map`.
        """
        found = self._given
        if found is None:
            found = [region_map(rgb, spec, device) for spec in self.sets]
        return [_nearest(torch.from_numpy(each).long(), size) for each in found]

    def found_anew(
        self, rgb: np.ndarray, size: tuple[int, int], device: torch.device
    ) -> list[np.ndarray]:
        """Return the region ids of an image that is resized before, without the cache.

        Regions that lie in a folder are those of the image as it is.

        Args:
            rgb: H×W×3 uint8, as the model's evaluation sees it.
            size: (h, w) of the image in which regions are found.
            device: where SAM computes.

        Raises:
            InputError: see :func:`~.maps.region_map`.
        """
        small = cv2.resize(rgb, (size[1], size[0]), interpolation=cv2.INTER_AREA)
        maps = []
        for spec in self.sets:
            image = rgb if isinstance(spec, FolderSpec) else small
            maps.append(region_map(image, spec, device, keep=False))
        return maps

    @contextmanager
    def given(self, maps: list[np.ndarray]) -> Iterator[None]:
        """Within the block all images have these regions, and none are looked for."""
        self._given = maps
        try:
            yield
        finally:
            self._given = None


def _nearest(ids: Tensor, size: tuple[int, int]) -> Tensor:
    """Return ids H×W at another size, by the pixel that lies nearest to each one's middle."""
    rows, columns = (
        ((torch.arange(new) + 0.5) * old / new).long()
        for new, old in zip(size, ids.shape, strict=True)
    )
    return ids[rows[:, None], columns]
