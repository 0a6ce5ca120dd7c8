"""Which files below a folder are images, which are masks, and which belong together."""

import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from encoder_ablations.data.reading import IMAGE_SUFFIXES, MASK_SUFFIXES
from encoder_ablations.data.spec import Split
from encoder_ablations.data.tile_names import find_scenes
from encoder_ablations.utils.errors import InputError
from encoder_ablations.utils.wording import plural

Role = Literal["image", "mask"]

SPLIT_WORDS: dict[str, Split] = {
    **dict.fromkeys(("train", "training", "trn"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "val"),
    **dict.fromkeys(("test", "testing", "tst"), "test"),
}
IMAGE_WORDS = frozenset({
    "image", "images", "img", "imgs", "jpegimages", "photo", "photos", "picture", "pictures", "input", "inputs", "rgb",
    "frame", "frames", "sat", "leftimg8bit", "original", "originals",
})  # fmt: skip
MASK_WORDS = frozenset({
    "mask", "masks", "label", "labels", "annotation", "annotations", "annot", "annots", "gt", "groundtruth", "truth",
    "seg", "segs", "segmentation", "segmentations", "segmentationclass", "target", "targets", "gtfine", "trimap",
    "trimaps", "labelids", "labeltrainids",
})  # fmt: skip
TILE_IMAGES = frozenset({"r_g_b_ir", "r_g_b", "rgb", "rgbir", "rgb_ir"})
TILE_MASKS = frozenset({"l", "label", "labels", "mask", "gt"})
_SPLIT_NAME = "|".join(sorted(SPLIT_WORDS, key=len, reverse=True))


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
        without_mask, without_image: files that have no partner.
    """

    layout: str
    sources: list[Source]
    without_mask: list[Path] = field(default_factory=list)
    without_image: list[Path] = field(default_factory=list)
    scene_pattern: str | None = None

    def without_partner(self, root: Path) -> list[str]:
        """Sentences about the files that are left out."""
        remarks = []
        for paths, what, other in ((self.without_mask, "image", "mask"), (self.without_image, "mask", "image")):
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
        raise InputError(f"there is no folder {root}. Give the folder that holds your images and masks.")
    found = []

    def refuse(error: OSError) -> None:
        raise InputError(f"cannot list the folder {error.filename}: {error.strerror}.") from error

    for folder, folders, files in os.walk(root, onerror=refuse):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        found += [Path(folder, name) for name in sorted(files) if not name.startswith(".")]
    return found


def survey_masks(root: Path, files: Iterable[Path]) -> Survey:
    """Pairs of images and mask files; an empty ``sources`` where there are none."""
    pictures = [path for path in files if path.suffix.lower() in IMAGE_SUFFIXES]
    return _tiles(root, pictures) or _pairs(root, pictures)


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
    survey = Survey("a tree of tiles, each a folder with an image and a label file", [])
    for folder, each in sorted(tiles.items()):
        split, rest = _strip_splits(folder.relative_to(root).parts)
        if "mask" in each:
            survey.sources.append(Source("__".join(rest) or folder.name, split, each["image"], each["mask"]))
        else:
            survey.without_mask.append(each["image"])
    if all("__" in source.id for source in survey.sources):
        survey.scene_pattern = "^(.+?)__"
    return survey if survey.sources else None


def _strip_splits(parts: tuple[str, ...]) -> tuple[Split | None, tuple[str, ...]]:
    splits = [SPLIT_WORDS[part.lower()] for part in parts if part.lower() in SPLIT_WORDS]
    return (splits[-1] if splits else None), tuple(part for part in parts if part.lower() not in SPLIT_WORDS)


def _pairs(root: Path, pictures: list[Path]) -> Survey:
    files = _settle([_read_path(path, root) for path in pictures])
    images: defaultdict[tuple[Split | None, str], list[_File]] = defaultdict(list)
    for file in files:
        if file.role == "image":
            images[file.split, file.stem].append(file)
    masks: defaultdict[Path, list[_File]] = defaultdict(list)
    survey = Survey("images and masks of equal names", [])
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
            identity = "__".join((*file.rest, file.stem)) if stems[file.split, file.stem] > 1 else file.stem
            survey.sources.append(_source(identity, file, own))
    survey.sources = _without_false_layers(survey.sources)
    if any(source.layers for source in survey.sources):
        survey.layout = "one folder of masks for each class"
        survey.sources = [_layered(source) for source in survey.sources]
    survey.sources.sort(key=lambda source: (source.split or "", source.id))
    survey.scene_pattern = find_scenes([source.id for source in survey.sources]) if survey.sources else None
    return survey


def _source(identity: str, file: _File, own: list[_File]) -> Source:
    layers = [each for each in own if each.rest and each.rest != file.rest]
    if layers:
        shown = tuple(Layer("/".join(each.rest[len(file.rest) :]), each.path) for each in layers)
        return Source(identity, file.split, file.path, None, shown)
    # Cityscapes has a file of its own ids and one of the ids that are trained on
    own.sort(key=lambda each: ("trainids" not in each.path.stem.lower(), each.path.name))
    return Source(identity, file.split, file.path, own[0].path)


def _without_false_layers(sources: list[Source]) -> list[Source]:
    """``2_Ortho_RGB`` and ``5_Labels_all`` are the images and the masks: the latter is no folder of a class."""
    names = {layer.path.parent.name for source in sources for layer in source.layers}
    if len(names) != 1 or not MASK_WORDS & set(_words(names.pop())):
        return sources
    return [Source(source.id, source.split, source.image, source.mask or source.layers[0].path) for source in sources]


def _words(name: str) -> list[str]:
    return re.split(r"[_\-\s]+", name.lower())


def _layered(source: Source) -> Source:
    if source.mask is None:
        return source
    return Source(source.id, source.split, source.image, None, (Layer(source.mask.parent.name, source.mask),))


def _read_path(path: Path, root: Path) -> _File:
    """What the names of its folders and of the file itself say about it."""
    role: Role | None = None
    split: Split | None = None
    rest = []
    for part in path.relative_to(root).parts[:-1]:
        name = re.sub(rf"^({_SPLIT_NAME})(?=annot|mask|label|image|gt)", r"\1_", part.lower())
        left = []
        for word in _words(name):
            if word in SPLIT_WORDS:
                split = SPLIT_WORDS[word]
            elif word in IMAGE_WORDS:
                role = "image"
            elif word in MASK_WORDS:
                role = "mask"
            else:
                left.append(word)
        if left:
            rest.append(part)
    stem, said = _strip_role(path.stem)
    return _File(path, said or role, split, tuple(rest), stem if said or role else path.stem)


def _strip_role(stem: str) -> tuple[str, Role | None]:
    """``tile_7_mask`` is the mask of ``tile_7``; ``aachen_1_gtFine_labelTrainIds`` that of ``aachen_1``."""
    words = re.split(r"([_\-.\s]+)", stem)
    role: Role | None = None
    while len(words) > 2 and (words[-1].lower() in MASK_WORDS | IMAGE_WORDS | {"l"}):
        role = role or ("image" if words[-1].lower() in IMAGE_WORDS else "mask")
        words = words[:-2]
    return "".join(words), role


def _settle(files: list[_File]) -> list[_File]:
    """Gives a role to files whose names say nothing.

    Where some image of the same stem is known, the others are its masks (folders named after classes). Where a stem is
    there as JPEG and as PNG, the PNG is the mask.
    """
    known = {(file.split, file.stem) for file in files if file.role == "image"}
    lossy = {(file.path.parent, file.stem) for file in files if file.role is None and _is_jpeg(file.path)}
    settled = []
    for file in files:
        role = file.role
        if role is None:
            lossless = file.path.suffix.lower() in MASK_SUFFIXES
            partner = (file.split, file.stem) in known or (file.path.parent, file.stem) in lossy
            role = "mask" if lossless and partner else "image"
        settled.append(_File(file.path, role, file.split, file.rest, file.stem))
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
    return above[0] if len(above) == 1 else candidates[0] if len(candidates) == 1 else None
