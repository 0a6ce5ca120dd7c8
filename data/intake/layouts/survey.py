"""Which files below a folder are images, which are masks, and which belong together."""

import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from encoder_ablations.data.datasets.reading import IMAGE_SUFFIXES, MASK_SUFFIXES
from encoder_ablations.data.datasets.spec import Split
from encoder_ablations.data.datasets.tile_names import find_scenes
from encoder_ablations.data.intake.layouts.folder_names import (
    IMAGE_WORDS,
    MASK_WORDS,
    Role,
    has_meaning,
    kind_matches,
    split_of,
    strip_role,
    without_split,
    words_of,
)
from encoder_ablations.utils.errors import InputError
from encoder_ablations.utils.texts import plural

TILE_IMAGES = frozenset({"r_g_b_ir", "r_g_b", "rgb", "rgbir", "rgb_ir"})
TILE_MASKS = frozenset({"l", "label", "labels", "mask", "gt"})


@dataclass(frozen=True)
class Candidate:
    """A file that may be an image's mask.

    Attributes:
        kind: its folder below the root, without splits and without folders that the image lies in, too; then what its
            name adds to the image's: ``v1.2/labels``, ``gtFine/*_gtFine_labelIds``. Masks of one kind belong together.
        label: what the class would be called if files of this kind showed one class.
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
        without_mask, without_image: files that have no partner.
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
        """Sentences about the files that are left out."""
        remarks = []
        for paths, what, other in (
            (self.without_mask, "image", "mask"),
            (self.without_image, "mask", "image"),
        ):
            if paths:
                left_out = plural(len(paths), what, f"has/have no {other} and is/are left out")
                remarks.append(f"{left_out}, e.g. {paths[0].relative_to(root)}.")
        return remarks


@dataclass(frozen=True)
class _File:
    path: Path
    role: Role | None
    split: Split | None
    rest: tuple[str, ...]
    stem: str


def list_files(root: Path) -> list[Path]:
    """All files below a folder, sorted; hidden ones and linked folders are left out.

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
    """Images with the files that may be their masks; an empty ``found`` where there are none.

    Args:
        wanted: folders that are known to hold masks.
    """
    pictures = [path for path in files if path.suffix.lower() in IMAGE_SUFFIXES]
    return _tiles(root, pictures) or _pairs(root, pictures, wanted)


def _tiles(root: Path, pictures: list[Path]) -> Survey | None:
    """Folders that each hold ``R_G_B_IR.png`` and perhaps ``L.png``: tiles of a scene, as in remote sensing."""
    folders: defaultdict[Path, dict[Role, Path]] = defaultdict(dict)
    for path in pictures:
        name = path.stem.lower()
        if name in TILE_IMAGES:
            folders[path.parent]["image"] = path
        elif name in TILE_MASKS:
            folders[path.parent]["mask"] = path
    tiles = {folder: each for folder, each in folders.items() if "image" in each}
    if len(tiles) < 2 or 2 * len(tiles) < len({path.parent for path in pictures}):
        return None
    survey = Survey("a tree of tiles, each a folder with an image and a label file")
    for folder, each in sorted(tiles.items()):
        split, rest = _strip_splits(folder.relative_to(root).parts)
        if "mask" in each:
            mask = Candidate("tiles", "mask", each["mask"])
            survey.found.append(
                Found("__".join(rest) or folder.name, split, each["image"], (mask,))
            )
        else:
            survey.without_mask.append(each["image"])
    if all("__" in found.id for found in survey.found):
        survey.scene_pattern = "^(.+?)__"
    return survey if survey.found else None


def _strip_splits(parts: tuple[str, ...]) -> tuple[Split | None, tuple[str, ...]]:
    splits = [split for split in map(split_of, parts) if split is not None]
    return (splits[-1] if splits else None), tuple(part for part in parts if split_of(part) is None)


def _pairs(root: Path, pictures: list[Path], wanted: Sequence[str]) -> Survey:
    files = _settle([_read_path(path, root, wanted) for path in pictures])
    images: defaultdict[tuple[Split | None, str], list[_File]] = defaultdict(list)
    for file in files:
        if file.role == "image":
            images[file.split, file.stem].append(file)
    masks: defaultdict[Path, list[_File]] = defaultdict(list)
    survey = Survey("images and masks of equal names")
    for file in files:
        if file.role == "mask":
            image = _image_of(file, images)
            if image is None:
                survey.without_image.append(file.path)
            else:
                masks[image.path].append(file)
    stems = Counter((file.split, file.stem) for group in images.values() for file in group)
    for group in images.values():
        for file in group:
            own = masks.get(file.path)
            if own is None:
                survey.without_mask.append(file.path)
                continue
            identity = (
                "__".join((*file.rest, file.stem))
                if stems[file.split, file.stem] > 1
                else file.stem
            )
            survey.found.append(
                Found(identity, file.split, file.path, _candidates(file, own, root))
            )
    survey.found.sort(key=lambda found: (found.split or "", found.id))
    survey.scene_pattern = (
        find_scenes([found.id for found in survey.found]) if survey.found else None
    )
    return survey


def _candidates(image: _File, own: list[_File], root: Path) -> tuple[Candidate, ...]:
    """Every file that may be the mask of an image, with what distinguishes it from the others."""
    kinds = [_kind(image, file, root) for file in own]
    made = []
    for kind, file in zip(kinds, own, strict=True):
        # 1.png and 1.tif in one folder are two kinds
        name = kind if kinds.count(kind) == 1 else f"{kind}/*{file.path.suffix.lower()}"
        label = "/".join(part for part in file.rest if part not in image.rest)
        made.append(Candidate(name, label or file.path.parent.name, file.path))
    return tuple(sorted(made, key=lambda each: each.kind))


def _kind(image: _File, mask: _File, root: Path) -> str:
    shared = image.path.relative_to(root).parts[:-1]
    folders = mask.path.relative_to(root).parts[:-1]
    parts = [without_split(part) for part in folders if part not in shared]
    ending = mask.path.stem.removeprefix(mask.stem)
    return (
        "/".join([*filter(None, parts), *([f"*{ending}"] if ending else [])])
        or f"*{mask.path.suffix.lower()}"
    )


def _read_path(path: Path, root: Path, wanted: Sequence[str]) -> _File:
    """What the names of its folders and of the file itself say about it."""
    role: Role | None = None
    split: Split | None = None
    rest = []
    for part in path.relative_to(root).parts[:-1]:
        words = words_of(part)
        split = next((found for found in map(split_of, reversed(words)) if found), split)
        lower = {word.lower() for word in words}
        if lower & (MASK_WORDS | IMAGE_WORDS):
            # "label_images" are labels
            role = "mask" if lower & MASK_WORDS else "image"
        left = [word for word in words if not has_meaning(word)]
        if left:
            rest.append(part if len(left) == len(words) else "_".join(left))
    stem, said = strip_role(path.stem)
    named = said or role
    if any(kind_matches(str(path.parent.relative_to(root)), folder) for folder in wanted):
        said = "mask"
    return _File(path, said or role, split, tuple(rest), stem if named else path.stem)


def _settle(files: list[_File]) -> list[_File]:
    """Gives a role to files whose names say nothing.

    Where some image of the same stem is known, the others may be its masks. Where a stem is there as JPEG and as PNG,
    the PNG is the mask.
    """
    known = {(file.split, file.stem) for file in files if file.role == "image"}
    lossy = {
        (file.path.parent, file.stem) for file in files if file.role is None and _is_jpeg(file.path)
    }
    settled = []
    for file in files:
        role = file.role
        if role is None:
            beside = (
                file.path.suffix.lower() in MASK_SUFFIXES and (file.path.parent, file.stem) in lossy
            )
            role = "mask" if beside or (file.split, file.stem) in known else "image"
        settled.append(replace(file, role=role))
    return settled


def _is_jpeg(path: Path) -> bool:
    return path.suffix.lower() in (".jpg", ".jpeg")


def _image_of(mask: _File, images: dict[tuple[Split | None, str], list[_File]]) -> _File | None:
    """The image of the same split and stem, in sub-folders of the same names if there are several."""
    candidates = images.get((mask.split, mask.stem), [])
    same = [file for file in candidates if file.rest == mask.rest]
    if len(same) == 1:
        return same[0]
    above = [file for file in candidates if file.rest == mask.rest[: len(file.rest)]]
    if len(above) == 1:
        return above[0]
    return candidates[0] if len(candidates) == 1 else None
