"""JSONs that annotate images: which there are, and what outlines and segments have in common."""

import json
import os
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import numpy as np

from encoder_ablations.data.datasets.spec import Split
from encoder_ablations.data.intake.layouts.folder_names import split_of
from encoder_ablations.utils.errors import InputError


class Annotated(Protocol):
    """An image whose mask is drawn from annotations."""

    @property
    def id(self) -> str:
        """Name of the image, distinct or not."""

    @property
    def split(self) -> Split | None:
        """The split; None where no name says it."""

    @property
    def image(self) -> Path:
        """Where the image lies."""

    def areas(self, class_of: Mapping[int, int]) -> Iterable[tuple[int, int]]:
        """Return the class id (-1 = unknown) and the area of each object, ids may repeat."""

    def draw(self, class_of: Mapping[int, int]) -> np.ndarray:
        """Return H×W class ids, uint8, or uint16 where there are more than 255 classes."""


Drawn = TypeVar("Drawn", bound=Annotated)


@dataclass(frozen=True)
class AnnotatedSet(Generic[Drawn]):
    """The content of all annotation files of a folder.

    Attributes:
        images: annotated images that are there.
        classes: the categories in the order of their ids, after background if there is any.
        class_of: category id -> class id.
        missing: files that are annotated but not there.
        layout: in words.
        kind: what the masks are made of, in words.
        remarks: sentences for the person who decides.
    """

    layout: str
    kind: str
    images: list[Drawn]
    classes: list[str]
    class_of: dict[int, int]
    missing: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)


Contents = dict[Path, dict[str, Any]]


class Files:
    """The files of a folder, to look up those that annotations name."""

    def __init__(self, root: Path, files: Iterable[Path]) -> None:
        self.root = root
        self.by_name: defaultdict[str, list[Path]] = defaultdict(list)
        for path in files:
            self.by_name[path.name].append(path)

    def find(self, name: str, folder: Path) -> Path | None:
        """Return an image's path; None where it is missing, or several have its name.

        Args:
            name: as annotations give it, below ``folder`` or the root.
            folder: where the annotations lie.
        """
        same = self.by_name[Path(name).name]
        bases = (folder, self.root, self.root / "images")
        places = [Path(os.path.normpath(base / name)) for base in bases]
        if len(same) == 1:
            places = same
        return next((place for place in places if place in same), None)


def read_contents(files: Iterable[Path], *, with_segments: bool) -> Contents:
    """Return the content of each JSON of annotations.

    Args:
        files: JSONs of any content.
        with_segments: whether to return panoptic ones, which have segments and not outlines.

    Raises:
        InputError: one cannot be read, or is no valid JSON.
    """
    contents = {}
    for path in files:
        content = _read(path)
        first = content.get("annotations", [])[:1]
        if content and with_segments == any("segments_info" in note for note in first):
            contents[path] = content
    return contents


def _read(path: Path) -> dict[str, Any]:
    """Return the content of a JSON of images, annotations and categories; empty for another one."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read {path}: {error}.") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is not valid JSON ({error}); it may be truncated.") from error
    keys = ("images", "annotations", "categories")
    if isinstance(content, dict) and all(isinstance(content.get(key), list) for key in keys):
        return content
    return {}


def category_names(contents: Contents) -> dict[int, str]:
    """Return category id -> name, rising.

    Raises:
        InputError: an id is missing, a name is empty, or two files disagree.
    """
    names: dict[int, str] = {}
    for path, content in contents.items():
        for entry in content["categories"]:
            if "id" not in entry:
                raise InputError(f"{path}, categories: {entry} has no id; give it one.")
            key = int(entry["id"])
            name = str(entry.get("name") or "").strip()
            if not name:
                raise InputError(
                    f"{path}, categories: category {key} has an empty name; give it one."
                )
            if names.setdefault(key, name) != name:
                raise InputError(
                    f"{path} calls category {key} '{name}', another file calls it '{names[key]}'."
                )
    return dict(sorted(names.items()))


def area_of(note: Mapping[str, Any]) -> int:
    """Return the area of an object or a segment in pixels; 1 where none is stated."""
    return max(1, int(note.get("area") or 1))


def split_of_annotations(annotations: Path, image: Path, root: Path) -> Split | None:
    """Return the split that the annotation file's name says, or a folder above the image."""
    folders = image.relative_to(root).parts[:-1]
    words = re.split(r"[^a-z]+", " ".join([annotations.stem, *reversed(folders)]).lower())
    return next(filter(None, map(split_of, words)), None)
