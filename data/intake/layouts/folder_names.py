"""What the names of folders and files say about them: images or masks, which split."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal

from encoder_ablations.data.datasets.spec import Split

Role = Literal["image", "mask"]

SPLIT_WORDS: dict[str, Split] = {
    **dict.fromkeys(("train", "training", "trn"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "val"),
    **dict.fromkeys(("test", "testing", "tst"), "test"),
}
IMAGE_WORDS = frozenset({
    "image", "images", "img", "imgs", "jpegimages", "photo", "photos", "picture", "pictures",
    "input", "inputs", "rgb", "frame", "frames", "sat", "leftimg8bit", "original", "originals",
})  # fmt: skip
MASK_WORDS = frozenset({
    "mask", "masks", "label", "labels", "ann", "anns", "annotation", "annotations", "annot",
    "annots", "gt", "groundtruth", "truth", "seg", "segs", "segmentation", "segmentations",
    "segmentationclass", "target", "targets", "gtfine", "trimap", "trimaps", "labelids",
    "labeltrainids",
})  # fmt: skip
_SPLIT_NAME = "|".join(sorted(SPLIT_WORDS, key=len, reverse=True))
_GLUED = re.compile(rf"^({_SPLIT_NAME})(?=annot|mask|label|image|gt)", re.IGNORECASE)
_YEAR = re.compile(r"(?<=[a-z])(19|20)\d\d$")
_CAMEL = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+")


@dataclass(frozen=True)
class NamedFile:
    """What the names of a file and of its folders say.

    Attributes:
        path: the file.
        role: image or mask; None where no name says it.
        split: None where no folder names one.
        rest: its folders without the words that say a role or a split.
        stem: the file's name without suffix and, where a role is known, without words for it.
    """

    path: Path
    role: Role | None
    split: Split | None
    rest: tuple[str, ...]
    stem: str


def read_path(path: Path, root: Path, wanted: Sequence[str]) -> NamedFile:
    """Return what the names of a file and of its folders below ``root`` say.

    Args:
        wanted: folders that are known to hold masks.
    """
    role: Role | None = None
    split: Split | None = None
    rest = []
    # a folder farther down says more
    for part in path.relative_to(root).parts[:-1]:
        words = words_of(part)
        split = _last_split(words) or split
        role = _role_of(words) or role
        left = [word for word in words if not has_meaning(word)]
        if len(left) == len(words):
            rest.append(part)
        elif left:
            rest.append("_".join(left))
    stem, said = strip_role(path.stem)
    role = said or role
    if role is None:
        stem = path.stem
    if any(kind_matches(str(path.parent.relative_to(root)), folder) for folder in wanted):
        role = "mask"
    return NamedFile(path, role, split, tuple(rest), stem)


def _last_split(words: Iterable[str]) -> Split | None:
    named = [split for split in map(split_of, words) if split is not None]
    return named[-1] if named else None


def _role_of(words: Iterable[str]) -> Role | None:
    lower = {word.lower() for word in words}
    if lower & MASK_WORDS:  # also "label_images" are labels
        return "mask"
    return "image" if lower & IMAGE_WORDS else None


def strip_splits(parts: Iterable[str]) -> tuple[Split | None, tuple[str, ...]]:
    """Return the split that a folder names, and the folders that name none."""
    folders = tuple(parts)
    return _last_split(folders), tuple(part for part in folders if split_of(part) is None)


def kind_matches(kind: str, wanted: str) -> bool:
    """Return whether a kind of masks is, or lies in, the folder that a person wrote.

    ``labels``, ``v1.2/labels`` and ``training/v1.2/labels`` mean the kind ``v1.2/labels``.
    """
    own, parts = _kind_parts(kind), _kind_parts(wanted)
    starts = range(len(own) - len(parts) + 1)
    return bool(parts) and any(own[start : start + len(parts)] == parts for start in starts)


def kinds_meant(kinds: Iterable[str], wanted: str) -> list[str]:
    """Return the kind of exactly this name, else all kinds in or below a folder of this name."""
    every = list(kinds)
    exact = [kind for kind in every if _kind_parts(kind) == _kind_parts(wanted)]
    return exact or [kind for kind in every if kind_matches(kind, wanted)]


def _kind_parts(name: str) -> list[str]:
    parts = map(without_split, Path(name).parts)
    return [part.lower() for part in parts if part not in ("", "/", ".")]


@lru_cache(maxsize=4096)
def without_split(part: str) -> str:
    """Return a folder's name without its split: ``annotations_train`` -> ``annotations``."""
    words = words_of(part)
    left = [word for word in words if split_of(word) is None]
    return part if len(left) == len(words) else "_".join(left)


def split_of(word: str) -> Split | None:
    """Return the split that a word names: "Training", "val2017"."""
    return SPLIT_WORDS.get(_YEAR.sub("", word.lower()))


@lru_cache(maxsize=4096)
def words_of(name: str) -> tuple[str, ...]:
    """Return the words of a name.

    ``val_labels`` -> val, labels; ``SegmentationClassPNG`` -> Segmentation, Class, PNG. A word of
    several capitals is taken apart only where that gives a word with a meaning.
    """
    words: list[str] = []
    for word in re.split(r"[_\-\s]+", _GLUED.sub(r"\1_", name)):
        pieces = _CAMEL.findall(word)
        complete = "".join(pieces) == word
        if complete and not has_meaning(word) and any(map(has_meaning, pieces)):
            words += pieces
        else:
            words.append(word)
    return tuple(words)


def has_meaning(word: str) -> bool:
    """Return whether a word says a split, or that something is an image or a mask."""
    return split_of(word) is not None or word.lower() in IMAGE_WORDS | MASK_WORDS


def strip_role(stem: str) -> tuple[str, Role | None]:
    """Return a file's stem without the last words that say its role, and that role.

    ``tile_7_mask`` is the mask of ``tile_7``; ``aachen_1_gtFine_labelTrainIds`` that of
    ``aachen_1``.
    """
    words = re.split(r"([_\-.\s]+)", stem)
    role: Role | None = None
    while len(words) > 2 and words[-1].lower() in MASK_WORDS | IMAGE_WORDS | {"l"}:
        last: Role = "image" if words[-1].lower() in IMAGE_WORDS else "mask"
        role = role or last
        words = words[:-2]
    return "".join(words), role
