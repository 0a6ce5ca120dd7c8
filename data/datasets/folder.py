"""Datasets that are images and masks on disk."""

from pathlib import Path

import cv2
import numpy as np

from encoder_ablations.data.datasets.decoding import class_table, read_values
from encoder_ablations.data.datasets.image_classes.labels import classes_beside_masks, classes_of
from encoder_ablations.data.datasets.orientation import drawn_on
from encoder_ablations.data.datasets.pairing import Pair, find_pairs
from encoder_ablations.data.datasets.reading import geometry, read_image
from encoder_ablations.data.datasets.sample import IGNORE, Sample, mask_type
from encoder_ablations.data.datasets.spec import LARGEST_VALUE, DatasetSpec, Split
from encoder_ablations.data.datasets.tile_names import scene_in
from encoder_ablations.utils.errors import InputError
from encoder_ablations.utils.texts import first_names, plural


class FolderDataset:
    """One split of a dataset on disk; files are opened when a sample is asked for.

    Attributes:
        ids: the files' stems, or what ``{id}`` stands for in their paths, sorted.
        pairs: the image and the mask file of each id.
        scenes: the scene of each id; its own where the dataset has no ``scene_pattern``.
        image_classes: the class id of each whole image, where the dataset has these beside masks.
    """

    def __init__(self, spec: DatasetSpec, split: Split, pairs: list[Pair] | None = None) -> None:
        """Find the files.

        Args:
            spec: the dataset.
            split: which of its splits.
            pairs: the images that are meant; those of the split when left out.

        Raises:
            InputError: a folder is missing, a file lacks its partner, or the split is empty.
        """
        self.spec = spec
        self.split = split
        if pairs is None:
            pairs = find_pairs(spec, split)
        self.pairs = pairs
        self.ids = [pair.id for pair in self.pairs]
        self.scenes = [scene_of(spec, stem) for stem in self.ids]
        self._class_of = class_table(spec)
        self._image_classes: list[int] | None = None
        self.image_classes: list[int] | None = None
        images = [pair.image for pair in pairs]
        if spec.task == "classification":
            self._image_classes = classes_of(spec, images)
        elif spec.image_classes is not None:
            listed = {pair.image for each in spec.splits for pair in find_pairs(spec, each)}
            self.image_classes = classes_beside_masks(spec, images, listed.union(images))

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> Sample:
        """Return a sample, read from its files.

        Raises:
            InputError: one of the two files is damaged, or they do not belong together.
        """
        image = read_image(self.pairs[index].image, self.spec.upright)
        mask = self.read_mask(index)
        height, width = image.shape[:2]
        self._check_size(index, mask, (height, width))
        return Sample(
            image,
            mask,
            self.ids[index],
            (height, width),
            self.scenes[index],
            self.spec.ignore_label,
            self.image_class(index),
        )

    def image_class(self, index: int) -> int | None:
        """Return the class id of a whole image; None where the dataset has only masks."""
        if self.image_classes is None:
            return None
        return self.image_classes[index]

    def read_mask(self, index: int) -> np.ndarray:
        """Return H×W class ids: uint8, 255 = ignore; for more than 255 classes uint16, 65535.

        In a classification dataset they are 1×1.

        Raises:
            InputError: the file is not a mask, or holds an id that no class has.
        """
        if self._image_classes is not None:
            kept_as = mask_type(self.spec.ignore_label)
            return np.full((1, 1), self._image_classes[index], kept_as)
        ids = read_values(self.pairs[index].mask, self.spec)
        if ids.dtype != np.uint8:
            outside = ids[(ids < 0) | (ids > LARGEST_VALUE)]
            if outside.size:
                raise self._unknown_ids(index, outside)
            classes = self._class_of.take(ids)
        else:
            classes = cv2.LUT(ids, self._class_of[:256])  # the same in a third of the time
        if classes.min() < 0:
            raise self._unknown_ids(index, ids[classes < 0])
        return classes.astype(mask_type(self.spec.ignore_label))

    def image_file(self, index: int) -> Path:
        """Return the file that a sample's image is read from."""
        return self.pairs[index].image

    def read_checked_mask(self, index: int) -> np.ndarray:
        """Return :meth:`read_mask`, compared with its image (:meth:`check_mask`)."""
        mask = self.read_mask(index)
        self.check_mask(index, mask)
        return mask

    def check_mask(self, index: int, mask: np.ndarray) -> bool:
        """Return whether a mask surely lies on its image as training reads it.

        That is not sure for some images that EXIF data turn. Images are decoded only where sizes do
        not tell.

        Raises:
            InputError: the sizes differ, or the mask was drawn on the other side of a turned image.
        """
        if self._image_classes is not None:
            return True
        path = self.pairs[index].image
        sizes = geometry(path)
        self._check_size(index, mask, sizes.size(self.spec.upright))
        if sizes.orientation == 1 or self.spec.masks_drawn_on is not None:
            return True
        drawn = drawn_on(path, mask)
        if drawn == "stored":
            raise InputError(
                f"{path} is turned by its EXIF data, but its mask {self.pairs[index].mask} was "
                "drawn on the pixels as they are stored: its borders lie on their edges. If that "
                "holds for all such images, write masks_drawn_on: stored in the dataset's YAML; "
                "otherwise make a copy with 'ablate lint --fix'."
            )
        return drawn is not None

    def _check_size(self, index: int, mask: np.ndarray, size: tuple[int, int]) -> None:
        if self._image_classes is None and mask.shape != size:
            _, image_path, mask_path = self.pairs[index]
            raise InputError(
                f"{mask_path} has {mask.shape[1]}×{mask.shape[0]} pixels (width × height), but its "
                f"image {image_path} has {size[1]}×{size[0]}{self._turn()}. "
                "Replace one of them or remove both."
            )

    def _turn(self) -> str:
        if self.spec.upright:
            return " (after its EXIF rotation, if it has one; masks_drawn_on: stored ignores that)"
        return " as stored (masks_drawn_on)"

    def _unknown_ids(self, index: int, values: np.ndarray) -> InputError:
        found = np.unique(values).tolist()
        allowed, fix = self._allowed_ids(found)
        ignored = ", ".join(map(str, self.spec.ignore_ids)) or "none"
        return InputError(
            f"{self.pairs[index].mask} holds the id {first_names(found, 5)}; {allowed}, "
            f"ignored: {ignored}. {fix}, in the YAML of the dataset '{self.spec.name}'."
        )

    def _allowed_ids(self, found: list[int]) -> tuple[str, str]:
        """Return which ids are allowed, and what to do about others."""
        spec = self.spec
        classes = len(spec.classes)
        if spec.value_map is not None:
            known = ", ".join(map(str, sorted(spec.value_map)))
            return f"value_map knows {known}", "Add it to value_map, or to ignore_ids"
        if spec.reduce_zero_label:
            return (
                f"allowed are 1..{classes}, and 0 for what is not labelled (reduce_zero_label)",
                "Correct classes, or add it to ignore_ids",
            )
        allowed = f"allowed are 0..{classes - 1} ({plural(classes, 'class')})"
        if found == [IGNORE]:
            return (
                allowed,
                "If 255 means 'not labelled' add it to ignore_ids, "
                "if it is a class write value_map: {0: 0, 255: 1}",
            )
        return (
            allowed,
            "Translate it with value_map ({value in the file: class id}), or add it to ignore_ids",
        )


def scene_of(spec: DatasetSpec, stem: str) -> str:
    """Return the scene in a name; the name itself where there is no ``scene_pattern``.

    Raises:
        InputError: the pattern finds nothing.
    """
    if spec.scene_pattern is None:
        return stem
    scene = scene_in(spec.scene_pattern, stem)
    if scene is None:
        raise InputError(
            f"dataset '{spec.name}': scene_pattern '{spec.scene_pattern}' "
            f"finds no scene in '{stem}'."
        )
    return scene
