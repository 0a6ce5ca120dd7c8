"""A training split in which some images have predicted masks."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image

from encoder_ablations.data.datasets.folder import FolderDataset
from encoder_ablations.data.datasets.sample import mask_type
from encoder_ablations.data.datasets.spec import DatasetSpec
from encoder_ablations.utils.errors import InputError


class PseudoLabelled(FolderDataset):
    """The training split, in which some images have predicted masks instead of their own.

    Args:
        spec: the dataset.
        predicted: position in the split -> file of the predicted mask.
    """

    def __init__(self, spec: DatasetSpec, predicted: Mapping[int, Path]) -> None:
        super().__init__(spec, "train")
        self.predicted = predicted

    def read_mask(self, index: int) -> np.ndarray:
        """Return H×W class ids, see :meth:`FolderDataset.read_mask`."""
        if index in self.predicted:
            return read_sure_mask(self.predicted[index], self.spec.ignore_label)
        return super().read_mask(index)


def read_sure_mask(path: Path, ignore: int) -> np.ndarray:
    """Return a predicted mask: H×W class ids, uint8 or uint16.

    Args:
        path: its file.
        ignore: id of ignored pixels.

    Raises:
        InputError: the file is damaged or missing.
    """
    try:
        with Image.open(path) as file:
            return np.array(file).astype(mask_type(ignore))
    except (OSError, SyntaxError) as error:
        raise InputError(
            f"{path}, a predicted mask, is damaged or missing. Delete it, and the same command "
            "predicts it again."
        ) from error
