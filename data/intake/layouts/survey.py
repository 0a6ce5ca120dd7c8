"""Which files below a folder are images, which are masks, and which belong together."""

import os
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from encoder_ablations.data.datasets.listing import IMAGE_SUFFIXES, MASK_SUFFIXES
from encoder_ablations.data.datasets.spec import Split
from encoder_ablations.data.datasets.tile_names import find_scenes
from encoder_ablations.data.intake.layouts.folder_names import (
    NamedFile,
    Role,
    read_path,
    strip_splits,
    without_split,
)
from encoder_ablations.utils.errors import InputError
from encoder_ablations.utils.texts import plural

TILE_IMAGES = frozenset({"r_g_b_ir", "r_g_b", "rgb", "rgbir", "rgb_ir"})
TILE_MASKS = frozenset({"l", "label", "labels", "mask", "gt"})
JPEGS = (".jpg", ".jpeg")


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
    """An image with every file that may be its mask, one of each kind.

    Attributes:
        split: None where the folder says nothing about it.
    """

    id: str
    split: Split | None
    image: Path
    masks: tuple[Candidate, ...]


@dataclass(frozen=True)
class Layer:
    """A mask file that shows one class."""

    name: str
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
        classes: names of the layers in their order, where each shows a class.
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
    classes: list[str] = field(default_factory=list)

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


Key = tuple[Split | None, str]
"""A split and a stem: images and masks that agree in both belong together."""


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


def survey_files(root: Path, files: Iterable[Path], wanted: Sequence[str] = ()) -> Survey:
    """Return images with the files that may be their masks; ``found`` may be empty.

    Args:
        wanted: folders that are known to hold masks.
    """
    pictures = [path for path in files if path.suffix.lower() in IMAGE_SUFFIXES]
    return _tiles(root, pictures) or _pairs(root, pictures, wanted)


def _tiles(root: Path, pictures: list[Path]) -> Survey | None:
    """Return tiles of scenes: folders that each hold ``R_G_B_IR.png`` and perhaps ``L.png``."""
    tiles = _tile_folders(pictures)
    if len(tiles) < 2 or 2 * len(tiles) < len({path.parent for path in pictures}):
        return None
    survey = Survey("a tree of tiles, each a folder with an image and a label file")
    for folder, files in sorted(tiles.items()):
        if "mask" not in files:
            survey.without_mask.append(files["image"])
            continue
        split, rest = strip_splits(folder.relative_to(root).parts)
        identity = "__".join(rest) or folder.name
        mask = Candidate("tiles", "mask", files["mask"])
        survey.found.append(Found(identity, split, files["image"], (mask,)))
    if all("__" in found.id for found in survey.found):
        survey.scene_pattern = "^(.+?)__"
    return survey if survey.found else None


def _tile_folders(pictures: list[Path]) -> dict[Path, dict[Role, Path]]:
    """Return the folders that hold a tile's image, with the files of the tile."""
    folders: defaultdict[Path, dict[Role, Path]] = defaultdict(dict)
    for path in pictures:
        name = path.stem.lower()
        if name in TILE_IMAGES:
            folders[path.parent]["image"] = path
        elif name in TILE_MASKS:
            folders[path.parent]["mask"] = path
    return {folder: files for folder, files in folders.items() if "image" in files}


def _pairs(root: Path, pictures: list[Path], wanted: Sequence[str]) -> Survey:
    files = _with_roles([read_path(path, root, wanted) for path in pictures])
    survey = Survey("images and masks of equal names")
    images: defaultdict[Key, list[NamedFile]] = defaultdict(list)
    for file in files:
        if file.role == "image":
            images[file.split, file.stem].append(file)
    masks = _masks_of_images(survey, files, images)
    for group in images.values():
        for image in group:
            if image.path not in masks:
                survey.without_mask.append(image.path)
                continue
            # images of one name are told apart by their folders
            folders = image.rest if len(group) > 1 else ()
            identity = "__".join((*folders, image.stem))
            candidates = _candidates(image, masks[image.path], root)
            survey.found.append(Found(identity, image.split, image.path, candidates))
    survey.found.sort(key=lambda found: (found.split or "", found.id))
    if survey.found:
        survey.scene_pattern = find_scenes([found.id for found in survey.found])
    return survey


def _masks_of_images(
    survey: Survey, files: Iterable[NamedFile], images: Mapping[Key, list[NamedFile]]
) -> dict[Path, list[NamedFile]]:
    """Return the masks of every image that has any; masks without an image go to the survey."""
    masks: defaultdict[Path, list[NamedFile]] = defaultdict(list)
    for file in files:
        if file.role != "mask":
            continue
        image = _image_of(file, images.get((file.split, file.stem), []))
        if image is None:
            survey.without_image.append(file.path)
        else:
            masks[image.path].append(file)
    return masks


def _candidates(image: NamedFile, own: list[NamedFile], root: Path) -> tuple[Candidate, ...]:
    """Return every file that may be the mask of an image, with what distinguishes each."""
    kinds = [_kind(image, file, root) for file in own]
    made = []
    for kind, file in zip(kinds, own, strict=True):
        # 1.png and 1.tif in one folder are two kinds
        name = kind if kinds.count(kind) == 1 else f"{kind}/*{file.path.suffix.lower()}"
        label = "/".join(part for part in file.rest if part not in image.rest)
        made.append(Candidate(name, label or file.path.parent.name, file.path))
    return tuple(sorted(made, key=lambda each: each.kind))


def _kind(image: NamedFile, mask: NamedFile, root: Path) -> str:
    shared = image.path.relative_to(root).parts[:-1]
    folders = mask.path.relative_to(root).parts[:-1]
    parts = [without_split(part) for part in folders if part not in shared]
    ending = mask.path.stem.removeprefix(mask.stem)
    if ending:
        parts.append(f"*{ending}")
    return "/".join(filter(None, parts)) or f"*{mask.path.suffix.lower()}"


def _with_roles(files: list[NamedFile]) -> list[NamedFile]:
    """Give a role to files whose names say nothing.

    Where an image of the same stem is known, the others may be its masks. Where a stem is there
    as JPEG and as PNG, the PNG is the mask.
    """
    known = {(file.split, file.stem) for file in files if file.role == "image"}
    unknown = [file for file in files if file.role is None]
    jpegs = {(file.path.parent, file.stem) for file in unknown if file.path.suffix.lower() in JPEGS}
    settled = []
    for file in files:
        if file.role is None:
            lossless = file.path.suffix.lower() in MASK_SUFFIXES
            beside = lossless and (file.path.parent, file.stem) in jpegs
            is_mask = beside or (file.split, file.stem) in known
            file = replace(file, role="mask" if is_mask else "image")
        settled.append(file)
    return settled


def _image_of(mask: NamedFile, candidates: list[NamedFile]) -> NamedFile | None:
    """Return a mask's image, in sub-folders of the same names if there are several candidates."""
    same = [file for file in candidates if file.rest == mask.rest]
    above = [file for file in candidates if file.rest == mask.rest[: len(file.rest)]]
    for choice in (same, above, candidates):
        if len(choice) == 1:
            return choice[0]
    return None
