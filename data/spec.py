"""Where a dataset lies and what its masks mean: one YAML in ``configs/datasets`` or beside your data."""

import os
import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from encoder_ablations.data.sample import IGNORE
from encoder_ablations.utils.config import Config

Split = Literal["train", "val", "test"]
ColorValue = Annotated[int, Field(ge=0, le=255)]
LARGEST_VALUE = 65535
"""Masks hold 8- or 16-bit values."""
FileValue = Annotated[int, Field(ge=0, le=LARGEST_VALUE)]


class DatasetSpec(Config):
    """A folder of images and a folder of masks with equal stems.

    Attributes:
        name: short name, used in run ids and reports.
        root: folder of the dataset. A relative path lies in the folder that the environment variable
            ``DATASETS_ROOT`` names, or in ``./datasets`` when it is not set.
        classes: class names in id order.
        splits: for each split, a sub-folder of ``images`` and ``masks``, or a ``.txt`` file (relative to ``root``)
            with one file stem a line, whose files may lie anywhere below the two. ``train`` and ``val`` are needed.
        images, masks: the two folders below ``root``.
        ignore_ids: values in the mask files that mean "not labelled"; they become 255.
        value_map: value in the mask file -> class id, for masks that do not hold class ids (e.g. ``{0: 0, 255: 1}``).
            Every value needs an entry, here or in ``ignore_ids``; an entry here goes before one there.
        colors: RGB 0..255 of every class for pictures; chosen automatically when left out.
        scene_pattern: regular expression whose first group, searched in the stem, names the scene.
    """

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")
    root: str
    classes: tuple[str, ...] = Field(min_length=1, max_length=IGNORE)
    splits: dict[Split, str]
    images: str = "images"
    masks: str = "masks"
    ignore_ids: tuple[FileValue, ...] = (IGNORE,)
    value_map: dict[FileValue, int] | None = None
    colors: tuple[tuple[ColorValue, ColorValue, ColorValue], ...] | None = None
    scene_pattern: str | None = None

    @property
    def folder(self) -> Path:
        """Where the dataset lies on this machine."""
        return Path(os.environ.get("DATASETS_ROOT", "datasets")) / Path(self.root).expanduser()

    @field_validator("classes")
    @classmethod
    def _classes_differ(cls, classes: tuple[str, ...]) -> tuple[str, ...]:
        twice = sorted({name for name in classes if classes.count(name) > 1})
        if twice:
            raise ValueError(f"every class needs a name of its own; {', '.join(twice)} stands twice")
        return classes

    @field_validator("splits")
    @classmethod
    def _splits_suffice(cls, splits: dict[Split, str]) -> dict[Split, str]:
        missing = {"train", "val"} - set(splits)
        if missing:
            raise ValueError(f"the split {' and '.join(sorted(missing))} is missing; train and val are needed")
        return splits

    @field_validator("scene_pattern")
    @classmethod
    def _pattern_compiles(cls, pattern: str | None) -> str | None:
        if pattern is not None:
            try:
                groups = re.compile(pattern).groups
            except re.error as error:
                raise ValueError(f"not a regular expression: {error}") from error
            if groups != 1:
                raise ValueError("exactly one group in parentheses is needed, which names the scene")
        return pattern

    @model_validator(mode="after")
    def _ids_in_range(self) -> "DatasetSpec":
        if self.colors is not None and len(self.colors) != len(self.classes):
            raise ValueError(f"colors has {len(self.colors)} entries for {len(self.classes)} classes")
        for value, target in (self.value_map or {}).items():
            if not (0 <= target < len(self.classes) or target == IGNORE):
                raise ValueError(
                    f"value_map sends {value} to {target}; allowed: 0..{len(self.classes) - 1}, or 255 to ignore"
                )
        return self
