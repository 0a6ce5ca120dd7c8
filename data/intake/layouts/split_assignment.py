"""Which split each recognised pair belongs to, and whether the files can be used where they lie."""

import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np

from encoder_ablations.data.datasets.folder import scene_of
from encoder_ablations.data.datasets.pairing import Pair, find_pairs
from encoder_ablations.data.datasets.scene_names import likely_scenes
from encoder_ablations.data.datasets.spec import DatasetSpec, Split
from encoder_ablations.data.datasets.tile_names import INDEPENDENT
from encoder_ablations.data.intake.layouts.folder_names import split_of
from encoder_ablations.data.intake.layouts.proposal import Item, Proposal
from encoder_ablations.data.intake.layouts.survey import Source
from encoder_ablations.data.intake.splits import Ratios, divide
from encoder_ablations.utils.errors import InputError

SPLITS: tuple[Split, ...] = ("train", "val", "test")
VAL_SHARE = 0.2
SEPARATORS = re.compile(r"[_\-\s/]+")
_SPLIT_FOLDER = re.compile(r"/\{split\}/\{id\}\.[^/]*$")
"""The end of a pattern that a folder says as well."""

Wanted = set[tuple[Split, Pair]]
Places = dict[str, Any]
"""What a YAML says about where the files lie: its images, masks and splits."""


def settle_splits(proposal: Proposal, seed: int) -> None:
    """Give every item its split, and make ids distinct within a split.

    Where no folder says which images are for validation, some training images become that.

    Raises:
        InputError: there are no training images, or too few to set some apart.
    """
    said = {item.source.split for item in proposal.items}
    items = proposal.items
    splits = {item.split for item in items}
    if "train" not in splits:
        raise InputError(
            "the folders hold validation or test images only; training images are needed, too."
        )
    if "val" not in splits:
        items = _set_apart(proposal, items, seed)
    elif None in said:
        proposal.remarks.append(
            "Images outside of train, val and test folders count as training images."
        )
    proposal.items = _with_distinct_ids(items)
    named = _ordered({item.split: item.split for item in items})
    proposal.spec = proposal.spec.model_copy(update={"splits": named})


def _set_apart(proposal: Proposal, items: list[Item], seed: int) -> list[Item]:
    """Return the items, some training ones of which are now for validation."""
    train = [number for number, item in enumerate(items) if item.split == "train"]
    if len(train) < 2:
        raise InputError(
            "one image with a mask is not enough: training and validation need one each. "
            f"A large raster is cut into tiles first: ablate tile {proposal.spec.root}"
        )
    pixels = proposal.class_pixels()[train]
    ids = [items[number].id for number in train]
    if proposal.spec.scene_pattern is None:
        _take_likely_scenes(proposal, ids, pixels)
    scenes = [scene_of(proposal.spec, each) for each in ids]
    if len(set(scenes)) == 1:
        scenes = ids
    chosen = divide(scenes, pixels, Ratios(val=VAL_SHARE, test=0), seed)["val"]
    items = list(items)
    for number in np.array(train)[chosen]:
        items[number] = replace(items[number], split="val")
    whole = ", whole scenes" * (len(set(scenes)) < len(train))
    proposal.remarks.append(
        f"No folder was named val: {len(chosen)} of {len(train)} images set apart (seed {seed}) "
        f"so that every class has its share there{whole}; 'ablate split' makes a test set and "
        "folds."
    )
    return items


def _with_distinct_ids(items: list[Item]) -> list[Item]:
    """Return the items; those of one id in one split are numbered: ``a``, ``a_2``."""
    seen: Counter[tuple[str, str]] = Counter()
    distinct = []
    for item in items:
        key = (item.split, item.id)
        seen[key] += 1
        if seen[key] > 1:
            item = replace(item, id=f"{item.id}_{seen[key]}")
        distinct.append(item)
    return distinct


def _take_likely_scenes(proposal: Proposal, ids: list[str], pixels: np.ndarray) -> None:
    """Give the dataset the scenes that its names show, so that no scene is in train and val."""
    found = likely_scenes(ids, pixels)
    if found is None:
        return
    if found.sure:
        proposal.spec = proposal.spec.model_copy(update={"scene_pattern": found.pattern})
        proposal.remarks.append(
            f"Scenes stay whole: the images look like {found.about}. Correct scene_pattern if that "
            f"is wrong; {INDEPENDENT} says that images are independent."
        )
    else:
        proposal.remarks.append(
            f"Every image is taken for independent, but perhaps these are {found.about}: then "
            f"write scene_pattern: '{found.pattern}' into the YAML, and divide it with "
            "'ablate split'."
        )


def is_direct(proposal: Proposal, root: Path, lists: Mapping[Split, Path]) -> bool:
    """Return whether the files can be used where they lie; if so, the spec then says where.

    Args:
        proposal: gets the spec.
        root: the dataset's folder.
        lists: index files that say the splits, if folders do not.
    """
    said = {item.source.split for item in proposal.items}
    if None in said or proposal.meaning is None or proposal.meaning.convert:
        return False
    wanted = {(item.split, Pair(item.id, item.image, _mask_of(item))) for item in proposal.items}
    resolved = {(split, _resolved(pair)) for split, pair in wanted}
    for places in _as_lists(wanted, root, lists) or _as_folders(wanted, root):
        # a description counts only if reading by it finds the very same pairs
        spec = proposal.spec.model_copy(update=places)
        if _found(spec) == resolved:
            proposal.spec = spec
            return True
    return False


def _mask_of(item: Item) -> Path:
    assert isinstance(item.source, Source)
    assert item.source.mask is not None
    return item.source.mask


def _found(spec: DatasetSpec) -> Wanted:
    """Return the pairs that reading finds; none where a split cannot be read."""
    try:
        pairs = {split: find_pairs(spec, split) for split in spec.splits}
    except InputError:
        return set()
    return {(split, _resolved(pair)) for split, own in pairs.items() for pair in own}


def _resolved(pair: Pair) -> Pair:
    return Pair(pair.id, pair.image.resolve(), pair.mask.resolve())


def _as_lists(wanted: Wanted, root: Path, lists: Mapping[Split, Path]) -> list[Places]:
    """Return two folders, and index files for the splits, if there are such files."""
    if not lists:
        return []
    images = _common_folder(root, (pair.image.parent for _, pair in wanted))
    masks = _common_folder(root, (pair.mask.parent for _, pair in wanted))
    splits = {split: path.relative_to(root).as_posix() for split, path in lists.items()}
    return [{"images": images, "masks": masks, "splits": _ordered(splits)}]


def _common_folder(root: Path, folders: Iterable[Path]) -> str:
    """Return the deepest folder that holds all of these, below ``root``."""
    return Path(os.path.commonpath(set(folders))).relative_to(root).as_posix()


def _as_folders(wanted: Wanted, root: Path) -> list[Places]:
    """Return ways to write a tree whose folders name the split: as two folders, or as patterns."""
    words: dict[Split, str] = {}
    shapes: dict[str, set[tuple[str, ...]]] = {"images": set(), "masks": set()}
    for split, pair in wanted:
        image, mask = pair.image.relative_to(root), pair.mask.relative_to(root)
        word = words.setdefault(split, _word(image, split))
        shapes["images"].add(_shape(image, word, pair.id))
        shapes["masks"].add(_shape(mask, word, pair.id))
    patterns = {kind: _common(shape) for kind, shape in shapes.items()}
    if "" in words.values() or not all("{id}" in pattern for pattern in patterns.values()):
        return []
    folders = {kind: _SPLIT_FOLDER.sub("", pattern) for kind, pattern in patterns.items()}
    named = {"splits": _ordered(words)}
    return [folders | named, patterns | named]


def _word(path: Path, split: Split) -> str:
    """Return the word in a path's folders that means the split, as it is written there."""
    words = SEPARATORS.split("/".join(path.parts[:-1]))
    return next((word for word in words if split_of(word) == split), "")


def _shape(path: Path, word: str, identity: str) -> tuple[str, ...]:
    """Return a path's parts with ``{split}`` and ``{id}`` in them, its suffix last."""
    folders = [
        re.sub(rf"(?<![A-Za-z]){word}", "{split}", part, count=1) for part in path.parts[:-1]
    ]
    return (*folders, path.stem.replace(identity, "{id}", 1), path.suffix)


def _common(shapes: set[tuple[str, ...]]) -> str:
    """Return one pattern for all, with ``*`` for what differs."""
    parts = [_only(set(different)) for different in zip_longest(*shapes, fillvalue="")]
    *folders, stem, suffix = parts
    return "/".join([*folders, f"{stem}.{suffix.removeprefix('.')}"])


def _only(different: set[str]) -> str:
    """Return what all are, else ``*``."""
    if len(different) > 1:
        return "*"
    return different.pop()


def _ordered(splits: Mapping[Split, str]) -> dict[Split, str]:
    return dict(sorted(splits.items(), key=lambda each: SPLITS.index(each[0])))
