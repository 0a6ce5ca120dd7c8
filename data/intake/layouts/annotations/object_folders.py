"""A folder for each image, with a mask file for each of its objects, as in DSB2018.

``ID/images/ID.png`` and ``ID/masks/*.png`` (Caicedo et al., Nature Methods 2019; 2018 Data Science
Bowl). Masks hold 0 and one other value.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from encoder_ablations.data.datasets.listing import IMAGE_SUFFIXES, MASK_SUFFIXES
from encoder_ablations.data.datasets.reading import image_size, opened
from encoder_ablations.data.datasets.spec import Split
from encoder_ablations.data.intake.layouts.annotations.annotated_set import (
    AnnotatedSet,
    split_of_annotations,
)
from encoder_ablations.data.intake.layouts.annotations.coco import BACKGROUND
from encoder_ablations.utils.errors import InputError
from encoder_ablations.utils.texts import plural

OBJECT = 1


@dataclass(frozen=True)
class ObjectFolder:
    """An image and the masks of its objects.

    Attributes:
        id: the name of the folder.
        split: None where no name says it.
        image: where the image lies.
        masks: one file for each object.
    """

    id: str
    split: Split | None
    image: Path
    masks: tuple[Path, ...]

    def areas(self, class_of: Mapping[int, int]) -> Iterator[tuple[int, int]]:
        """Yield the class id of each object, with 1: files are not read for their areas."""
        for _ in self.masks:
            yield class_of[OBJECT], 1

    def draw(self, class_of: Mapping[int, int]) -> np.ndarray:
        """Return H×W uint8: the object's class where any mask is not 0.

        Raises:
            InputError: a mask cannot be read, or differs from the image in size.
        """
        ids = np.zeros(image_size(self.image), np.uint8)
        for path in self.masks:
            with opened(path) as image:
                inside = np.asarray(image.convert("L")) > 0
            if inside.shape != ids.shape:
                raise InputError(f"{path} has another size than its image {self.image}.")
            ids[inside] = class_of[OBJECT]
        return ids


def read_object_folders(root: Path, files: Sequence[Path]) -> AnnotatedSet[ObjectFolder] | None:
    """Return images with a folder of their own and a mask per object; None if there are none.

    Images without masks, as in the archive's test folders, are left out.
    """
    by_folder: defaultdict[Path, list[Path]] = defaultdict(list)
    for path in files:
        by_folder[path.parent].append(path)
    found = []
    missing = []
    several = False
    for folder in sorted(each.parent for each in by_folder if each.name == "images"):
        images = _pictures(by_folder[folder / "images"], IMAGE_SUFFIXES)
        masks = _pictures(by_folder.get(folder / "masks", []), MASK_SUFFIXES)
        if folder == root or len(images) != 1:
            return None
        if not masks:
            missing.append(str(images[0].relative_to(root)))
            continue
        several |= len(masks) > 1
        split = split_of_annotations(Path(), images[0], root)
        found.append(ObjectFolder(folder.name, split, images[0], tuple(masks)))
    # with one mask each, these are pairs like any others
    if not several:
        return None
    remark = f"{plural(sum(len(each.masks) for each in found), 'object')} are one class."
    layout = "a folder for each image, with a mask for each object"
    classes = [BACKGROUND, "object"]
    return AnnotatedSet[ObjectFolder](
        layout, "a file for each object", found, classes, {OBJECT: 1}, missing, [remark]
    )


def _pictures(files: Sequence[Path], suffixes: frozenset[str]) -> list[Path]:
    return [path for path in files if path.suffix.lower() in suffixes]
