"""Which files below a folder are images, which are masks, and which belong together."""

import os
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path

from encoder_ablations.data.datasets.listing import IMAGE_SUFFIXES, MASK_SUFFIXES
from encoder_ablations.data.datasets.spec import Split
from encoder_ablations.data.datasets.tile_names import find_scenes
from encoder_ablations.data.intake.layouts.folder_names import (
    NamedFile,
    read_path,
    without_beginnings,
    without_split,
)
from encoder_ablations.utils.errors import InputError
from encoder_ablations.utils.texts import plural


@dataclass(frozen=True)
class Candidate:
    """A file that may be an image's mask.

    Attributes:
        kind: its folder below the root, without splits and without the folders that the image
            lies in, too; then what its name adds to the image's: ``v1.2/labels``,
            ``gtFine/*_gtFine_labelIds``. Masks of one kind belong together.
        label: the name of the class, if files of this kind show one class.
    """

    kind: str
    label: str
    path: Path


@dataclass(frozen=True)
class Found:
    """An image with every file that may be its mask.

    Attributes:
        masks: kind -> the file.
        split: None where the folder says nothing about it.
    """

    id: str
    split: Split | None
    image: Path
    masks: dict[str, Candidate]

    def masks_of(self, kinds: Iterable[str]) -> list[Candidate]:
        """Return its masks of some kinds, in their order."""
        return [self.masks[kind] for kind in kinds if kind in self.masks]


@dataclass(frozen=True)
class Layer:
    """A mask file that shows one class; ``kind`` is that of the :class:`Candidate`."""

    kind: str
    path: Path


@dataclass(frozen=True)
class Source:
    """An image and what its mask is made of: one file, or a file per class.

    Attributes:
        split: None where the folder says nothing about it.
    """

    id: str
    split: Split | None
    image: Path
    mask: Path | None
    layers: tuple[Layer, ...] = ()


@dataclass
class Survey:
    """What was recognised.

    Attributes:
        layout: in words, for the head of the YAML.
        found: images with all files that may be their masks.
        sources: what was decided, by the values in these files.
        without_mask: images that have no partner.
        without_image: masks that have no partner.
        scene_pattern: what images of one scene have in common in their names, if any.
        remarks: what was decided and why, in sentences.
        classes: kind of masks -> name of the class that it shows, in their order, if it does.
        lists: index file of each split, where such files and not folders say it.
    """

    layout: str
    found: list[Found] = field(default_factory=list)
    sources: list[Source] = field(default_factory=list)
    without_mask: list[Path] = field(default_factory=list)
    without_image: list[Path] = field(default_factory=list)
    scene_pattern: str | None = None
    remarks: list[str] = field(default_factory=list)
    lists: dict[Split, Path] = field(default_factory=dict)
    classes: dict[str, str] = field(default_factory=dict)

    def without_partner(self, root: Path) -> list[str]:
        """Return sentences about the files that are left out."""
        remarks = []
        for paths, what, other in (
            (self.without_mask, "image", "mask"),
            (self.without_image, "mask", "image"),
        ):
            if paths:
                left_out = plural(len(paths), what, f"has/have no {other} and is/are left out")
                remarks.append(f"{left_out}, e.g. {paths[0].relative_to(root)}.")
        return remarks


Images = defaultdict[tuple[Split | None, str], list[NamedFile]]
"""Images by split and stem: masks that agree in both belong to them."""


def list_files(root: Path) -> list[Path]:
    """Return all files below a folder, sorted, without hidden ones and linked folders.

    Raises:
        InputError: it is no folder, or cannot be listed.
    """
    if not root.is_dir():
        raise InputError(
            f"there is no folder {root}. Give the folder that holds your images and masks."
        )
    found = []

    def refuse(error: OSError) -> None:
        raise InputError(f"cannot list the folder {error.filename}: {error.strerror}.") from error

    for folder, folders, files in os.walk(root, onerror=refuse):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        found += [Path(folder, name) for name in sorted(files) if not name.startswith(".")]
    return found


def text_of(path: Path) -> str:
    """Return a file's text; empty where it is none that can be read."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError):
        return ""


def survey_files(root: Path, files: Iterable[Path], wanted: Sequence[str] = ()) -> Survey:
    """Return images with the files that may be their masks; ``found`` may be empty.

    Args:
        root: the folder.
        files: all files below it.
        wanted: folders that are known to hold masks.
    """
    pictures = [path for path in files if path.suffix.lower() in IMAGE_SUFFIXES | MASK_SUFFIXES]
    named = without_beginnings(read_path(path, root, wanted) for path in pictures)
    images, masks = _by_role([file for file in map(_read_as, named) if file is not None])
    survey = Survey("images and masks of equal names")
    masks_of = _masks_of_images(survey, images, masks)
    for image in chain.from_iterable(images.values()):
        own = masks_of[image.path]
        if not own:
            survey.without_mask.append(image.path)
            continue
        name = _name(image, images[image.key])
        candidates = _candidates(image, own, root)
        survey.found.append(Found(name, image.split, image.path, candidates))
    survey.found.sort(key=lambda found: (found.split or "", found.id))
    survey.scene_pattern = _scenes(survey.found)
    return survey


def _read_as(file: NamedFile) -> NamedFile | None:
    """Return a file with what it can be read as; None where that is not what its name says."""
    if file.path.suffix.lower() in IMAGE_SUFFIXES:
        return file
    if file.role == "image":
        return None
    return replace(file, role="mask")


def _masks_of_images(
    survey: Survey, images: Images, masks: Iterable[NamedFile]
) -> defaultdict[Path, list[NamedFile]]:
    """Return the masks of every image; masks without an image go to the survey."""
    masks_of: defaultdict[Path, list[NamedFile]] = defaultdict(list)
    for mask in masks:
        image = _image_of(mask, images[mask.key])
        if image is None:
            survey.without_image.append(mask.path)
        else:
            masks_of[image.path].append(mask)
    return masks_of


def _by_role(files: Sequence[NamedFile]) -> tuple[Images, list[NamedFile]]:
    """Return the images by what they have in common with their masks, and the masks.

    Where no name says what a file is, it is the mask of an image of the same stem. Where a stem is
    there as JPEG and in another format, the JPEG is the image.
    """
    called_images = {file.key for file in files if file.role == "image"}
    # a JPEG may be an image as long as no other file is called so
    may_be = called_images | {file.key for file in files if file.is_jpeg}
    images: Images = defaultdict(list)
    masks = []
    for file in files:
        partners = called_images if file.is_jpeg else may_be
        guessed = "mask" if file.key in partners else "image"
        if (file.role or guessed) == "mask":
            masks.append(file)
        else:
            images[file.key].append(file)
    return images, masks


def _image_of(mask: NamedFile, candidates: Sequence[NamedFile]) -> NamedFile | None:
    """Return a mask's image; of several the one that lies in folders of the same names."""
    beside = [file for file in candidates if file.rest == mask.rest[: len(file.rest)]]
    if len(candidates) == 1:
        beside = list(candidates)
    return max(beside, key=lambda file: len(file.rest), default=None)


def _name(image: NamedFile, group: Sequence[NamedFile]) -> str:
    """Return an image's id; images of one name are told apart by their folders."""
    if len(group) == 1:
        return image.stem
    return "__".join((*image.rest, image.stem))


def _scenes(found: Sequence[Found]) -> str | None:
    """Return the scene pattern of tiles; the first folder where images are called by folders."""
    if all(each.image.stem not in each.id and "__" in each.id for each in found):
        return "^(.+?)__"
    return find_scenes([each.id for each in found])


def _candidates(image: NamedFile, own: list[NamedFile], root: Path) -> dict[str, Candidate]:
    """Return every file that may be the mask of an image, by what distinguishes it."""
    made: dict[str, Candidate] = {}
    for file in own:
        kind = _kind(image, file, root)
        # 1.png and 1.tif in one folder are two kinds
        if kind in made:
            kind = f"{kind}/*{file.path.suffix.lower()}"
        label = "/".join(part for part in file.rest if part not in image.rest)
        made[kind] = Candidate(kind, label or file.path.parent.name, file.path)
    return made


def _kind(image: NamedFile, mask: NamedFile, root: Path) -> str:
    shared = image.path.relative_to(root).parts[:-1]
    folders = mask.path.relative_to(root).parts[:-1]
    parts = [without_split(part) for part in folders if part not in shared]
    added = mask.path.stem.replace(mask.stem, "*", 1)
    if mask.path.stem.endswith(mask.stem):
        added = mask.path.stem.removesuffix(mask.stem) + "*"
    if added != "*":
        parts.append(added)
    return "/".join(filter(None, parts)) or f"*{mask.path.suffix.lower()}"
