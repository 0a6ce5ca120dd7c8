"""What the names of folders and files say about them: images or masks, which split."""

import itertools
import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Literal, NamedTuple, TypeVar

from encoder_ablations.data.datasets.spec import Split

Role = Literal["image", "mask"]
Said = TypeVar("Said")

JPEGS = (".jpg", ".jpeg")
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
SPOKEN: dict[str, Role] = {
    **dict.fromkeys(IMAGE_WORDS, "image"),
    **dict.fromkeys(MASK_WORDS, "mask"),
}
"""What a word says about a folder or a file."""
CHANNELS = ("r_g_b_ir", "r_g_b", "rgbir", "rgb_ir")
ENDINGS: dict[str, Role] = SPOKEN | {**dict.fromkeys(CHANNELS, "image"), "l": "mask"}
"""What the last words of a file's name say; ``L.png`` holds labels."""


def _any_of(words: Iterable[str]) -> str:
    return f"({'|'.join(sorted(words, key=len, reverse=True))})"


_GLUED = re.compile(rf"(?i)^{_any_of(SPLIT_WORDS)}(?=annot|mask|label|image|gt)")
_ENDING = re.compile(rf"(?i)(?:(?:^|[_\-.\s]+){_any_of(ENDINGS)})+$")
_BEGINNING = re.compile(rf"(?i)^{_any_of(SPOKEN)}(?:[_\-.\s]+|(?=\d))(?=.)")
_YEAR = re.compile(r"(?<=[a-z])(19|20)\d\d$")
_CAMEL = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+|[^A-Za-z\d]+")


class _Folder(NamedTuple):
    """What a folder's name says; ``rest`` is the name without the words that say it."""

    role: Role | None
    split: Split | None
    rest: str


@dataclass(frozen=True)
class NamedFile:
    """What the names of a file and of its folders say.

    Attributes:
        path: the file.
        role: image or mask; None where no name says it.
        split: None where no folder names one.
        rest: its folders without the words that say a role or a split.
        stem: the file's name without suffix and without the last words, if these say a role. Files
            that are called by their role alone are called by their folders.
    """

    path: Path
    role: Role | None
    split: Split | None
    rest: tuple[str, ...]
    stem: str

    @property
    def key(self) -> tuple[Split | None, str]:
        """What an image and its mask agree in: the split and the stem, in one Unicode form."""
        return self.split, unicodedata.normalize("NFC", self.stem)

    @property
    def is_jpeg(self) -> bool:
        """Whether it is a JPEG, by its suffix."""
        return self.path.suffix.lower() in JPEGS


def read_path(path: Path, root: Path, wanted: Sequence[str]) -> NamedFile:
    """Return what the names of a file and of its folders below ``root`` say.

    Args:
        path: the file.
        root: the dataset's folder.
        wanted: folders that are known to hold masks.
    """
    inside = path.parent.relative_to(root)
    folders = [_read_folder(part) for part in inside.parts]
    rest = tuple(folder.rest for folder in folders if folder.rest)
    stem, own_role = _read_stem(path.stem)
    roles = [*(folder.role for folder in folders), own_role]
    if any(kind_matches(str(inside), folder) for folder in wanted):
        roles.append("mask")
    split: Split | None = _last(folder.split for folder in folders)
    return NamedFile(path, _last(roles), split, rest, stem or "__".join(rest) or path.stem)


def _read_stem(stem: str) -> tuple[str, Role | None]:
    """Return a stem without the last words that say a role: the mask of ``tile_7_mask``."""
    ending = _ENDING.search(stem)
    if ending is None:
        return stem, None
    return stem[: ending.start()], ENDINGS[ending[1].lower()]


def without_beginnings(files: Iterable[NamedFile]) -> list[NamedFile]:
    """Return the files, called by what follows a first word that says their role, where that pairs.

    ``image_1`` and ``mask_1`` are both called ``1`` then, and so is ``mask_1`` beside ``1``. Where
    masks are called ``image_1``, too, names stay as they are.
    """
    every = [(file, _without_beginning(file)) for file in files]
    whole = [file for file, shorter in every if shorter is file]
    keys = {file.key for file in whole}
    taken = {(file.role, file.key) for file in whole}
    paired = _paired_keys([shorter for _, shorter in every])
    chosen = []
    for file, shorter in every:
        free = file.key not in keys and (shorter.role, shorter.key) not in taken
        if free and shorter.key in paired:
            file = shorter
        chosen.append(file)
    return chosen


def _paired_keys(files: Sequence[NamedFile]) -> set[tuple[Split | None, str]]:
    """Return the keys that both a mask and another file have."""
    masks = {file.key for file in files if file.role == "mask"}
    return masks & {file.key for file in files if file.role != "mask"}


def _without_beginning(file: NamedFile) -> NamedFile:
    """Return a file by its name without the first word, if that word says its role."""
    beginning = _BEGINNING.match(file.stem)
    if beginning is None:
        return file
    role = SPOKEN[beginning[1].lower()]
    if file.role not in (None, role):
        return file
    return replace(file, role=role, stem=file.stem[beginning.end() :])


def _last(said: Iterable[Said | None]) -> Said | None:
    """Return the last thing that is said: a folder farther down says more."""
    return next(filter(None, reversed(list(said))), None)


@lru_cache(maxsize=4096)
def _read_folder(name: str) -> _Folder:
    words = words_of(name)
    # masks come last: "label_images" are labels
    roles = sorted((SPOKEN.get(word.lower()) for word in words), key=lambda role: role == "mask")
    return _Folder(_last(roles), _last(map(split_of, words)), _without(name, _says))


def kind_matches(kind: str, wanted: str) -> bool:
    """Return whether a kind of masks is, or lies in, the folder that a person wrote.

    ``labels``, ``v1.2/labels`` and ``training/v1.2/labels`` mean the kind ``v1.2/labels``.
    """
    return f"/{_plain(wanted)}/" in f"/{_plain(kind)}/"


def kinds_meant(kinds: Iterable[str], wanted: str) -> list[str]:
    """Return the kind of exactly this name, else all kinds in or below a folder of this name."""
    matching = [kind for kind in kinds if kind_matches(kind, wanted)]
    exact = [kind for kind in matching if _plain(kind) == _plain(wanted)]
    return exact or matching


def _plain(name: str) -> str:
    """Return a path in lower case and without splits."""
    return "/".join(filter(None, map(without_split, Path(name).parts))).lower()


def without_split(name: str) -> str:
    """Return a folder's name without its split: ``annotations_train`` -> ``annotations``."""
    return _without(name, split_of)


def _without(name: str, drop: Callable[[str], object]) -> str:
    words = words_of(name)
    left = tuple(itertools.filterfalse(drop, words))
    if left == words:
        return name
    return "_".join(left)


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
        pieces = [word]
        if not _says(word) and any(map(_says, _CAMEL.findall(word))):
            pieces = _CAMEL.findall(word)
        words += pieces
    return tuple(words)


def _says(word: str) -> bool:
    """Return whether a word says a split, or that something is an image or a mask."""
    return split_of(word) is not None or word.lower() in SPOKEN
