"""Where a dataset lies and what its masks mean.

Each is one YAML, in ``configs/datasets`` or beside your data.
"""

import os
import re
from itertools import chain
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from encoder_ablations.data.datasets.class_names import Names
from encoder_ablations.data.datasets.sample import IGNORE, WIDE_IGNORE, Task, ignore_label
from encoder_ablations.data.datasets.tile_names import INDEPENDENT
from encoder_ablations.utils.config import Config
from encoder_ablations.utils.texts import plural

Split = Literal["train", "val", "test"]
ColorValue = Annotated[int, Field(ge=0, le=255)]
LARGEST_VALUE = WIDE_IGNORE
"""Masks hold 8- or 16-bit values."""
MOST_CLASSES = 2000
"""More make a confusion matrix, which every record holds, too large to work with."""
FileValue = Annotated[int, Field(ge=0, le=LARGEST_VALUE)]
MaskFormat = Literal["ids", "colors", "ade20k", "matte", "supervisely"]


HUB_MARKER = "hub.json"
"""Is written last into the copy of a dataset of the hub, and says which commit it is of."""

OF_MASKS: tuple[str, ...] = ("masks", "value_map", "mask_format", "reduce_zero_label")
OF_MASKS += ("ignore_others", "image_classes")
"""Keys of a dataset with masks."""


class HubSource(Config):
    """Where on the Hugging Face hub a dataset comes from.

    It is copied to the dataset's ``root`` once, when it is first used.
    """

    repository: str = Field(pattern=r"^[\w.-]+/[\w.-]+$")
    """Its name on the hub: ``owner/name``."""
    revision: str | None = None
    """Commit, tag or branch; None takes the newest commit and writes down which one that was."""
    config: str | None = None
    """The dataset's configuration (subset) on the hub, where it has several."""
    image_column: str = "image"
    """Column of the pictures."""
    mask_column: str = "mask"
    """Column of the masks; of a column of lists, the first of each list is taken."""
    splits: dict[Split, str] | None = Field(default=None, min_length=1)
    """Our split -> the hub's split; None takes those with the usual names."""
    max_samples: int | None = Field(default=None, ge=1)
    """At most so many images of each split, the first ones."""
    label_column: str | None = None
    """Column of the classes of whole images, for ``task: classification``; masks are not read."""
    mask_format: Literal["ids", "ade20k"] = "ids"
    """How the hub's masks hold their ids, as in a dataset; the copies always hold plain ids."""


class DatasetSpec(Config):
    """Images and masks on disk, and what the masks mean."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", max_length=100)
    """Short name, used in run ids and reports."""
    root: str
    """Folder of the dataset. A relative path lies in the folder that the environment variable
    ``DATASETS_ROOT`` names, or in ``./datasets`` when it is not set.
    """
    classes: Names = Field(min_length=1, max_length=LARGEST_VALUE)
    """Class names in id order."""
    task: Task = Field(default="segmentation", exclude_if=lambda task: task == "segmentation")
    """"segmentation", or "classification": every image has one class, and there are no masks."""
    labels: str | None = Field(default=None, exclude_if=lambda labels: labels is None)
    """CSV below ``root`` with the columns ``file`` and ``label``: the class of each whole image.
    Left out for ``task: classification``: an image's folder has the name of its class.
    """
    image_classes: Names | None = Field(None, min_length=2, exclude_if=lambda names: not names)
    """Class names of whole images in id order, in a dataset with masks; it also needs ``labels``. A
    segmenter with ``image_head`` learns both.
    """
    splits: dict[Split, str]
    """For each split, a sub-folder of ``images`` and ``masks``, or a ``.txt`` file (its path below
    ``root``, or its whole path) with one file stem or file a line, whose files may lie anywhere
    below the two. ``train`` and ``val`` are needed.
    """
    images: str = "images"
    """Folder below ``root``, whose files have the stems of those in ``masks``; or a pattern of
    paths, in which ``{id}`` is what image and mask have in common, ``{split}`` the split's
    sub-folder, ``*`` anything within a name and ``**`` any folders:
    ``leftImg8bit/{split}/*/{id}_leftImg8bit.png``. Where ``{id}`` is a whole name it may stand for
    several folders: ``{split}/{id}/L.png``.
    """
    masks: str = "masks"
    """Folder or pattern of the masks, as ``images``."""
    ignore_ids: tuple[FileValue, ...] = (IGNORE,)
    """Values in the mask files that mean "not labelled"; they become 255, with more than 255
    classes 65535.
    """
    value_map: dict[FileValue, int] | None = None
    """Value in the mask file -> class id, for masks that do not hold class ids (e.g. ``{0: 0, 255:
    1}``). Every value needs an entry, here or in ``ignore_ids``; an entry here goes before one
    there.
    """
    colors: tuple[tuple[ColorValue, ColorValue, ColorValue], ...] | None = None
    """RGB 0..255 of every class for pictures; chosen automatically when left out."""
    scene_pattern: str | None = None
    """Regular expression whose first group, searched in the stem, names the scene; ``^(.+)$`` says
    that images are independent, and null that this is not known.
    """
    mask_format: MaskFormat = "ids"
    """How a mask file holds its values: "ids" in a single channel; "colors": the position of its
    colour in ``mask_colors``; "ade20k": R // 10 · 256 + G, as in the full ADE20K; "matte": an alpha
    matte, 1 from 128 on; "supervisely": a JSON of objects, 0 where none is, else 1 + the position
    of its title in ``mask_titles``.
    """
    mask_colors: tuple[tuple[ColorValue, ColorValue, ColorValue], ...] | None = None
    """RGB of each value in colour-coded masks."""
    round_colors: bool = False
    """A channel of such a mask counts as 0 below 128 and as 255 from there on, for masks that were
    once saved with losses; mask_colors then hold 0 and 255 only.
    """
    mask_titles: Names | None = None
    """Titles of objects in annotations."""
    reduce_zero_label: bool = False
    """Masks hold 0 for "not labelled" and class id + 1 for all else."""
    ignore_others: bool = False
    """Every value that has no other meaning is ignored, too, instead of being an error."""
    hub: HubSource | None = None
    """Where on the Hugging Face hub the dataset comes from."""
    masks_drawn_on: Literal["upright", "stored"] | None = None
    """For images with an orientation in their EXIF data: "upright" = masks fit the image as viewers
    turn it; "stored" = masks fit the pixels as they are stored, and the orientation is ignored.
    Left out: images are turned, and a mask whose size or edges contradict that is an error.
    """

    @property
    def ignore_label(self) -> int:
        """The id of ignored pixels: 255, or 65535 where that is a class."""
        return ignore_label(len(self.classes))

    @property
    def upright(self) -> bool:
        """Whether images are turned by the orientation in their EXIF data."""
        return self.masks_drawn_on != "stored"

    @property
    def mask_rules(self) -> list[Any]:
        """What decides the meaning of a mask file and the turn of its image, for keys of caches."""
        if self.task == "classification":
            return [self.task, self.classes, self.labels, self.masks_drawn_on]
        value_map = self.value_map and sorted(self.value_map.items())
        return [
            len(self.classes),
            sorted(self.ignore_ids),
            value_map,
            self.mask_format,
            self.mask_colors,
            self.mask_titles,
            self.reduce_zero_label,
            self.ignore_others,
            self.round_colors,
            self.masks_drawn_on,
        ]

    @property
    def folder(self) -> Path:
        """Where the dataset lies on this machine."""
        return Path(os.environ.get("DATASETS_ROOT", "datasets")) / Path(self.root).expanduser()

    @property
    def is_prepared(self) -> bool:
        """Whether the folder is there and, if it is a copy from the hub, complete."""
        if self.hub is not None:
            return (self.folder / HUB_MARKER).exists()
        return self.folder.is_dir()

    @field_validator("splits")
    @classmethod
    def _splits_suffice(cls, splits: dict[Split, str]) -> dict[Split, str]:
        missing = {"train", "val"} - set(splits)
        if missing:
            raise ValueError(
                f"the split {' and '.join(sorted(missing))} is missing; train and val are needed"
            )
        return splits

    @field_validator("images", "masks")
    @classmethod
    def _patterns_name_an_id(cls, pattern: str) -> str:
        if not is_pattern(pattern):
            return pattern
        braces = re.findall(r"\{.*?\}", pattern)
        if braces.count("{id}") != 1 or set(braces) - {"{id}", "{split}"}:
            raise ValueError("a pattern holds {id} once, and besides it only {split}, * and **")
        if "." not in pattern.split("/")[-1]:
            raise ValueError(
                "a pattern ends with the file's suffix, "
                "e.g. {split}/{id}.png, or {split}/{id}.* for any"
            )
        return pattern

    @field_validator("scene_pattern")
    @classmethod
    def _pattern_compiles(cls, pattern: str | None) -> str | None:
        if pattern is None:
            return None
        try:
            groups = re.compile(pattern).groups
        except re.error as error:
            raise ValueError(f"not a regular expression: {error}") from error
        if groups != 1:
            raise ValueError(
                "exactly one group in parentheses is needed, which names the scene; "
                f"{INDEPENDENT} says that images are independent"
            )
        return pattern

    @model_validator(mode="after")
    def _patterns_know_their_split(self) -> "DatasetSpec":
        if all(map(is_index, self.splits.values())):
            return self
        for pattern in (self.images, self.masks):
            if is_pattern(pattern) and "{split}" not in pattern:
                raise ValueError(
                    f"the pattern '{pattern}' needs {{split}}, "
                    "or else every split an index file (.txt)"
                )
        return self

    @model_validator(mode="after")
    def _keys_fit_the_task(self) -> "DatasetSpec":
        whole = self.task == "classification"
        if self.hub is not None and whole != (self.hub.label_column is not None):
            raise ValueError("hub.label_column and task: classification belong together")
        if not whole and (self.labels is None) != (self.image_classes is None):
            raise ValueError("labels and image_classes belong together; one is missing")
        for key in OF_MASKS:
            if whole and getattr(self, key) != type(self).model_fields[key].default:
                raise ValueError(f"{key} is about masks, which task: classification does not have")
        if whole and is_pattern(self.images):
            raise ValueError("images is a folder, not a pattern, with task: classification")
        return self

    @model_validator(mode="after")
    def _formats_have_their_keys(self) -> "DatasetSpec":
        for value, key in (("colors", "mask_colors"), ("supervisely", "mask_titles")):
            if (self.mask_format == value) != (getattr(self, key) is not None):
                raise ValueError(f"mask_format '{value}' and {key} belong together; one is missing")
        colors = self.mask_colors or ()
        if len(set(colors)) != len(colors):
            raise ValueError("mask_colors holds a colour twice")
        if self.round_colors and (not colors or set(chain(*colors)) - {0, 255}):
            raise ValueError("round_colors needs mask_colors that hold 0 and 255 only")
        return self

    @model_validator(mode="after")
    def _ids_are_told_apart(self) -> "DatasetSpec":
        if self.value_map is not None:
            if self.reduce_zero_label:
                raise ValueError("reduce_zero_label is a value_map of its own; use one of the two")
            return self
        values = len(self.classes) + self.reduce_zero_label
        if values > IGNORE and IGNORE in self.ignore_ids:
            raise ValueError(
                f"255 is a class here ({len(self.classes)} classes); "
                "write ignore_ids: [65535], or []"
            )
        return self

    @model_validator(mode="after")
    def _ids_in_range(self) -> "DatasetSpec":
        classes = len(self.classes)
        if self.colors is not None and len(self.colors) != classes:
            raise ValueError(
                f"colors has {len(self.colors)} colours for {plural(classes, 'class')}"
            )
        allowed = {*range(classes), self.ignore_label}
        for value, target in (self.value_map or {}).items():
            if target not in allowed:
                raise ValueError(
                    f"value_map sends {value} to {target}; allowed: 0..{classes - 1}, "
                    f"or {self.ignore_label} to ignore"
                )
        return self


def is_pattern(path: str) -> bool:
    """Whether ``images`` or ``masks`` is a pattern of paths and not a folder."""
    return "{" in path


def is_index(split: str) -> bool:
    """Whether a split is an index file and not a sub-folder."""
    return split.lower().endswith(".txt")
