"""Which split each recognised pair belongs to, and whether the files can be used where they lie."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from encoder_ablations.data.datasets.pairing import Pair, find_pairs
from encoder_ablations.data.datasets.scene_names import likely_scenes
from encoder_ablations.data.datasets.spec import DatasetSpec, Split
from encoder_ablations.data.intake.layouts.folder_names import split_of
from encoder_ablations.data.intake.layouts.proposal import Item, Proposal
from encoder_ablations.data.intake.layouts.survey import Source
from encoder_ablations.data.intake.splits import Ratios, divide
from encoder_ablations.utils.errors import InputError

SPLITS: tuple[Split, ...] = ("train", "val", "test")
VAL_SHARE = 0.2
KINDS = ("image", "mask")
SEPARATORS = re.compile(r"[_\-\s]+")

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
    items = [replace(item, split=item.source.split or "train") for item in proposal.items]
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
    _take_likely_scenes(proposal, ids, pixels)
    scenes = _scenes(proposal.spec, ids)
    chosen = divide(scenes, pixels, Ratios(val=VAL_SHARE, test=0), seed)["val"]
    items = list(items)
    for place in chosen:
        number = train[place]
        items[number] = replace(items[number], split="val")
    whole = ", whole scenes" * (len(set(scenes)) < len(train))
    proposal.remarks.append(
        f"No folder was named val: {len(chosen)} of {len(train)} images set apart (seed {seed}) "
        f"so that every class has its share there{whole}; 'ablate split' makes a test set and "
        "folds."
    )
    return items


def _with_distinct_ids(items: list[Item]) -> list[Item]:
    """Return the items; those of one id in one split are numbered: ``a_1``, ``a_2``."""
    times = Counter((item.split, item.id) for item in items)
    seen: Counter[tuple[str, str]] = Counter()
    distinct = []
    for item in items:
        key = (item.split, item.id)
        seen[key] += 1
        if times[key] > 1:
            item = replace(item, id=f"{item.id}_{seen[key]}")
        distinct.append(item)
    return distinct


def _take_likely_scenes(proposal: Proposal, ids: list[str], pixels: np.ndarray) -> None:
    """Give the dataset the scenes that its names show, so that no scene is in train and val."""
    if proposal.spec.scene_pattern is not None:
        return
    found = likely_scenes(ids, pixels)
    if found is None:
        return
    groups = f"the names look like {found.scenes} scenes, the largest '{found.largest}'"
    if found.sure:
        proposal.spec = proposal.spec.model_copy(update={"scene_pattern": found.pattern})
        proposal.remarks.append(
            f"Scenes stay whole: {groups}. Correct scene_pattern if that is wrong."
        )
    else:
        proposal.remarks.append(
            f"Every image is taken for independent, but perhaps {groups}: then write "
            f"scene_pattern: '{found.pattern}' into the YAML, and divide it with 'ablate split'."
        )


def _scenes(spec: DatasetSpec, ids: list[str]) -> list[str]:
    """Return the scene of each image: its id where scenes are unknown, or where all are one."""
    if spec.scene_pattern is None:
        return ids
    scenes = []
    for identity in ids:
        match = re.search(spec.scene_pattern, identity)
        scenes.append(match[1] if match else identity)
    return scenes if len(set(scenes)) > 1 else ids


def is_direct(proposal: Proposal, root: Path, lists: Mapping[Split, Path]) -> bool:
    """Return whether the files can be used where they lie; if so, the spec then says where.

    Args:
        lists: index files that say the splits, if folders do not.
    """
    if proposal.meaning is None or proposal.meaning.convert:
        return False
    wanted: Wanted = set()
    for item in proposal.items:
        source = item.source
        if not isinstance(source, Source) or source.split is None or source.mask is None:
            return False
        wanted.add((item.split, Pair(item.id, item.image, source.mask)))
    resolved = {(split, _resolved(pair)) for split, pair in wanted}
    for places in _places(wanted, root, lists):
        # a description counts only if reading by it finds the very same pairs
        spec = proposal.spec.model_copy(update=places)
        if _found(spec) == resolved:
            proposal.spec = spec
            return True
    return False


def _found(spec: DatasetSpec) -> Wanted:
    """Return the pairs that reading finds; none where a split cannot be read."""
    found: Wanted = set()
    for split in spec.splits:
        try:
            found |= {(split, _resolved(pair)) for pair in find_pairs(spec, split)}
        except InputError:
            return set()
    return found


def _resolved(pair: Pair) -> Pair:
    return Pair(pair.id, pair.image.resolve(), pair.mask.resolve())


def _places(wanted: Wanted, root: Path, lists: Mapping[Split, Path]) -> list[Places]:
    """Return ways to write in a YAML where the files lie; some may find other files."""
    tried = [_as_folders(wanted, root), _as_patterns(wanted, root)]
    if lists:
        tried = [_as_lists(wanted, root, lists)]
    return [places for places in tried if places is not None]


def _as_lists(wanted: Wanted, root: Path, lists: Mapping[Split, Path]) -> Places | None:
    """Return two folders, and index files for the splits."""
    images = _only_folder(root, (pair.image.parent for _, pair in wanted))
    masks = _only_folder(root, (pair.mask.parent for _, pair in wanted))
    if images is None or masks is None:
        return None
    splits = {split: path.relative_to(root).as_posix() for split, path in lists.items()}
    return {"images": images, "masks": masks, "splits": _ordered(splits)}


def _as_folders(wanted: Wanted, root: Path) -> Places | None:
    """Return ``images/SPLIT`` and ``masks/SPLIT``, whatever they are called."""
    images = _only_folder(root, (pair.image.parent.parent for _, pair in wanted))
    masks = _only_folder(root, (pair.mask.parent.parent for _, pair in wanted))
    if images is None or masks is None or images == masks:
        return None
    splits = {split: pair.image.parent.name for split, pair in wanted}
    return {"images": images, "masks": masks, "splits": _ordered(splits)}


def _only_folder(root: Path, folders: Iterable[Path]) -> str | None:
    """Return the folder that all of these are, below ``root``; None where they differ."""
    first, *others = set(folders)
    return None if others else first.relative_to(root).as_posix()


def _as_patterns(wanted: Wanted, root: Path) -> Places | None:
    """Return two patterns of paths, for any other tree whose folders name the split."""
    words: dict[Split, str] = {}
    shapes: dict[str, set[tuple[str, ...]]] = {kind: set() for kind in KINDS}
    for split, pair in wanted:
        word = _word(pair.image.relative_to(root), split)
        if word is None or words.setdefault(split, word) != word:
            return None
        for kind, shape in shapes.items():
            shape.add(_shape(getattr(pair, kind).relative_to(root), word, pair.id))
    patterns = {f"{kind}s": _common(shape) for kind, shape in shapes.items()}
    if not all("{split}" in pattern and "{id}" in pattern for pattern in patterns.values()):
        return None
    return {**patterns, "splits": _ordered(words)}


def _word(path: Path, split: Split) -> str | None:
    """Return the word in a path's folders that means the split, as it is written there."""
    for part in path.parts[:-1]:
        for word in SEPARATORS.split(part):
            if split_of(word) == split:
                return word
    return None


def _shape(path: Path, word: str, identity: str) -> tuple[str, ...]:
    """Return a path's parts with ``{split}`` and ``{id}`` in them, its suffix last."""
    folders = [
        re.sub(rf"(?<![A-Za-z]){word}", "{split}", part, count=1) for part in path.parts[:-1]
    ]
    return (*folders, path.stem.replace(identity, "{id}", 1), path.suffix)


def _common(shapes: set[tuple[str, ...]]) -> str:
    """Return one pattern for all, with ``*`` for what differs; empty where depths differ."""
    if len({len(shape) for shape in shapes}) != 1:
        return ""
    parts = []
    for different in map(set, zip(*shapes, strict=True)):
        parts.append(different.pop() if len(different) == 1 else "*")
    *folders, stem, suffix = parts
    if suffix == "*":
        suffix = ".*"
    return "/".join([*folders, f"{stem}{suffix}"])


def _ordered(splits: Mapping[Split, str]) -> dict[Split, str]:
    return {split: splits[split] for split in SPLITS if split in splits}
