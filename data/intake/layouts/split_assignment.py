"""Which split each recognised pair belongs to, and whether the files can be used where they lie."""

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from encoder_ablations.data.datasets.pairing import Pair, find_pairs
from encoder_ablations.data.datasets.scene_names import likely_scenes
from encoder_ablations.data.datasets.spec import DatasetSpec, Split
from encoder_ablations.data.intake.layouts.folder_names import split_of
from encoder_ablations.data.intake.layouts.proposal import Proposal
from encoder_ablations.data.intake.layouts.survey import Source
from encoder_ablations.data.intake.splits import Ratios, divide
from encoder_ablations.utils.errors import InputError

SPLITS: tuple[Split, ...] = ("train", "val", "test")
VAL_SHARE = 0.2


def settle_splits(proposal: Proposal, seed: int) -> None:
    """Makes validation images out of training ones where the folders name none; ids become distinct."""
    said = {item.source.split for item in proposal.items}
    items = [replace(item, split=item.source.split or "train") for item in proposal.items]
    if not any(item.split == "train" for item in items):
        raise InputError(
            "the folders hold validation or test images only; training images are needed, too."
        )
    if not any(item.split == "val" for item in items):
        train = [number for number, item in enumerate(items) if item.split == "train"]
        if len(train) < 2:
            raise InputError(
                "one image with a mask is not enough: training and validation need one each. A large raster is cut "
                f"into tiles first: ablate tile {proposal.spec.root}"
            )
        pixels = proposal.class_pixels()[train]
        _take_likely_scenes(proposal, [items[each].id for each in train], pixels)
        scenes = _scenes(proposal.spec, [items[each].id for each in train])
        ratios = Ratios(val=VAL_SHARE, test=0)
        chosen = divide(scenes, pixels, ratios, seed)["val"]
        for number in chosen:
            items[train[number]] = replace(items[train[number]], split="val")
        proposal.remarks.append(
            f"No folder was named val: {len(chosen)} of {len(train)} images set apart (seed {seed}) so that every "
            f"class has its share there{', whole scenes' if len(set(scenes)) < len(train) else ''}; "
            "'ablate split' makes a test set and folds."
        )
    elif None in said:
        proposal.remarks.append(
            "Images outside of train, val and test folders count as training images."
        )
    times = Counter((item.split, item.id) for item in items)
    seen: Counter[tuple[str, str]] = Counter()
    for number, item in enumerate(items):
        key = (item.split, item.id)
        seen[key] += 1
        if times[key] > 1:
            items[number] = replace(item, id=f"{item.id}_{seen[key]}")
    proposal.items = items
    splits = {split: split for split in SPLITS if any(item.split == split for item in items)}
    proposal.spec = proposal.spec.model_copy(update={"splits": splits})


def _take_likely_scenes(proposal: Proposal, ids: list[str], pixels: np.ndarray) -> None:
    """Gives the dataset the scenes that its names speak of, so that no scene is in train and val."""
    found = likely_scenes(ids, pixels) if proposal.spec.scene_pattern is None else None
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
            f"Every image is taken for independent, but perhaps {groups}: then write scene_pattern: '{found.pattern}' "
            "into the YAML, and divide it with 'ablate split'."
        )


def _scenes(spec: DatasetSpec, ids: list[str]) -> list[str]:
    """The scene of each image; itself where scenes are not known, or where there is but one."""
    matches = [
        re.search(spec.scene_pattern, identity) if spec.scene_pattern else None for identity in ids
    ]
    scenes = [match[1] if match else identity for match, identity in zip(matches, ids, strict=True)]
    return scenes if len(set(scenes)) > 1 else ids


def is_direct(proposal: Proposal, root: Path, lists: Mapping[Split, Path]) -> bool:
    """Tries whether the files can be used where they lie; then the spec says where.

    Args:
        lists: index files that say the splits, if folders do not.
    """
    if proposal.meaning is None or proposal.meaning.convert:
        return False
    sources = {item: item.source for item in proposal.items if isinstance(item.source, Source)}
    if any(source.split is None or source.mask is None for source in sources.values()):
        return False
    wanted = {
        (item.split, Pair(item.id, item.image, source.mask or item.image))
        for item, source in sources.items()
    }
    for places in _places(wanted, root, lists):
        if places is None:
            continue
        spec = proposal.spec.model_copy(update=places)
        found = {(split, pair) for split in spec.splits for pair in _pairs_or_none(spec, split)}
        if found == {
            (split, Pair(name, *map(Path.resolve, files))) for split, (name, *files) in wanted
        }:
            proposal.spec = spec
            return True
    return False


Wanted = set[tuple[Split, Pair]]


def _places(wanted: Wanted, root: Path, lists: Mapping[Split, Path]) -> list[dict[str, Any] | None]:
    """Ways to write in a YAML where the files lie; some may not fit."""
    if lists:
        return [_as_lists(wanted, root, lists)]
    return [_as_folders(wanted, root), _as_patterns(wanted, root)]


def _as_lists(wanted: Wanted, root: Path, lists: Mapping[Split, Path]) -> dict[str, Any] | None:
    """Two folders, and index files for the splits."""
    parents = {
        kind: {getattr(pair, kind).parent for _, pair in wanted} for kind in ("image", "mask")
    }
    if any(len(found) != 1 for found in parents.values()):
        return None
    where = {
        f"{kind}s": found.pop().relative_to(root).as_posix() for kind, found in parents.items()
    }
    return {
        **where,
        "splits": _ordered(
            {split: path.relative_to(root).as_posix() for split, path in lists.items()}
        ),
    }


def _as_folders(wanted: Wanted, root: Path) -> dict[str, Any] | None:
    """``images/SPLIT`` and ``masks/SPLIT``, whatever they are called."""
    parents = {
        kind: {getattr(pair, kind).parent.parent for _, pair in wanted}
        for kind in ("image", "mask")
    }
    if any(len(found) != 1 for found in parents.values()) or parents["image"] == parents["mask"]:
        return None
    where = {
        f"{kind}s": parents[kind].pop().relative_to(root).as_posix() for kind in ("image", "mask")
    }
    return {**where, "splits": _ordered({split: pair.image.parent.name for split, pair in wanted})}


def _as_patterns(wanted: Wanted, root: Path) -> dict[str, Any] | None:
    """Any other tree of equal depth whose folders name the split, as two patterns of paths."""
    words: dict[Split, set[str]] = {}
    shapes: dict[str, set[tuple[str, ...]]] = {"image": set(), "mask": set()}
    for split, pair in wanted:
        word = next(
            (
                word
                for part in pair.image.relative_to(root).parts[:-1]
                for word in _words(part, split)
            ),
            None,
        )
        if word is None:
            return None
        words.setdefault(split, set()).add(word)
        for kind, shape in shapes.items():
            path = getattr(pair, kind).relative_to(root)
            folders = [
                re.sub(rf"(?<![A-Za-z]){word}", "{split}", part, count=1)
                for part in path.parts[:-1]
            ]
            shape.add((*folders, path.stem.replace(pair.id, "{id}", 1), path.suffix))
    patterns = {f"{kind}s": _common(shape) for kind, shape in shapes.items()}
    if any(len(found) > 1 for found in words.values()):
        return None
    if any(
        pattern is None or "{split}" not in pattern or "{id}" not in pattern
        for pattern in patterns.values()
    ):
        return None
    return {**patterns, "splits": _ordered({split: found.pop() for split, found in words.items()})}


def _words(part: str, split: Split) -> list[str]:
    """The word in a folder's name that means the split, as it is written there."""
    return [word for word in re.split(r"[_\-\s]+", part) if split_of(word) == split]


def _common(shapes: set[tuple[str, ...]]) -> str | None:
    """One pattern for all; what differs becomes ``*``."""
    if len({len(shape) for shape in shapes}) != 1:
        return None
    *folders, stem, suffix = [
        parts.pop() if len(parts) == 1 else "*" for parts in map(set, zip(*shapes, strict=True))
    ]
    return "/".join([*folders, f"{stem}{suffix if suffix != '*' else '.*'}"])


def _ordered(splits: dict[Split, str]) -> dict[Split, str]:
    return {split: splits[split] for split in SPLITS if split in splits}


def _pairs_or_none(spec: DatasetSpec, split: Split) -> list[Pair]:
    try:
        return [
            Pair(pair.id, pair.image.resolve(), pair.mask.resolve())
            for pair in find_pairs(spec, split)
        ]
    except InputError:
        return []
