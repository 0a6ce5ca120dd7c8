"""What the names of folders and files say about them: images or masks, which split."""

import re
from collections.abc import Iterable
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
    "image", "images", "img", "imgs", "jpegimages", "photo", "photos", "picture", "pictures", "input", "inputs", "rgb",
    "frame", "frames", "sat", "leftimg8bit", "original", "originals",
})  # fmt: skip
MASK_WORDS = frozenset({
    "mask", "masks", "label", "labels", "ann", "anns", "annotation", "annotations", "annot", "annots", "gt",
    "groundtruth", "truth", "seg", "segs", "segmentation", "segmentations", "segmentationclass", "target", "targets",
    "gtfine", "trimap", "trimaps", "labelids", "labeltrainids",
})  # fmt: skip
_SPLIT_NAME = "|".join(sorted(SPLIT_WORDS, key=len, reverse=True))
_GLUED = re.compile(rf"^({_SPLIT_NAME})(?=annot|mask|label|image|gt)", re.IGNORECASE)
_YEAR = re.compile(r"(?<=[a-z])(19|20)\d\d$")
_CAMEL = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+")


def kind_matches(kind: str, wanted: str) -> bool:
    """Whether ``labels`` or ``v1.2/labels`` or ``training/v1.2/labels`` means the kind ``v1.2/labels``."""
    own, parts = _kind_parts(kind), _kind_parts(wanted)
    starts = range(len(own) - len(parts) + 1)
    return bool(parts) and any(own[start : start + len(parts)] == parts for start in starts)


def kinds_meant(kinds: Iterable[str], wanted: str) -> list[str]:
    """The kinds that a name means: the one that is called so, else all that lie in or below such a folder."""
    every = list(kinds)
    exact = [kind for kind in every if _kind_parts(kind) == _kind_parts(wanted)]
    return exact or [kind for kind in every if kind_matches(kind, wanted)]


def _kind_parts(name: str) -> list[str]:
    return [
        part.lower() for part in map(without_split, Path(name).parts) if part not in ("", "/", ".")
    ]


@lru_cache(maxsize=4096)
def without_split(part: str) -> str:
    """A folder's name without the words that say the split: ``annotations_train`` -> ``annotations``."""
    words = words_of(part)
    left = [word for word in words if split_of(word) is None]
    return part if len(left) == len(words) else "_".join(left)


def split_of(word: str) -> Split | None:
    """The split that a word names: "Training", "val2017"."""
    return SPLIT_WORDS.get(_YEAR.sub("", word.lower()))


@lru_cache(maxsize=4096)
def words_of(name: str) -> tuple[str, ...]:
    """Words of a name: ``val_labels`` -> val, labels; ``SegmentationClassPNG`` -> Segmentation, Class, PNG.

    A word of several capitals is taken apart only where that gives a word with a meaning.
    """
    words: list[str] = []
    for word in re.split(r"[_\-\s]+", _GLUED.sub(r"\1_", name)):
        pieces = _CAMEL.findall(word)
        known = has_meaning(word) or not any(map(has_meaning, pieces))
        words += [word] if known or "".join(pieces) != word else pieces
    return tuple(words)


def has_meaning(word: str) -> bool:
    """Whether a word says a split, or that something is an image or a mask."""
    return split_of(word) is not None or word.lower() in IMAGE_WORDS | MASK_WORDS


def strip_role(stem: str) -> tuple[str, Role | None]:
    """``tile_7_mask`` is the mask of ``tile_7``; ``aachen_1_gtFine_labelTrainIds`` that of ``aachen_1``."""
    words = re.split(r"([_\-.\s]+)", stem)
    role: Role | None = None
    while len(words) > 2 and (words[-1].lower() in MASK_WORDS | IMAGE_WORDS | {"l"}):
        role = role or ("image" if words[-1].lower() in IMAGE_WORDS else "mask")
        words = words[:-2]
    return "".join(words), role
