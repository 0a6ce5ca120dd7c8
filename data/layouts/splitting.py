"""Which split each recognised pair belongs to, and whether the files can be used where they lie."""

import re
from collections import Counter
from dataclasses import replace
from pathlib import Path

from encoder_ablations.data.layouts.proposal import Proposal
from encoder_ablations.data.layouts.survey import Source
from encoder_ablations.data.pairing import Pair, find_pairs
from encoder_ablations.data.spec import DatasetSpec, Split
from encoder_ablations.utils.errors import InputError
from encoder_ablations.utils.seeding import numpy_stream

SPLITS: tuple[Split, ...] = ("train", "val", "test")
VAL_SHARE = 0.2


def settle_splits(proposal: Proposal, seed: int) -> None:
    """Makes validation images out of training ones where the folders name none; ids become distinct."""
    said = {item.source.split for item in proposal.items}
    items = [replace(item, split=item.source.split or "train") for item in proposal.items]
    if not any(item.split == "train" for item in items):
        raise InputError("the folders hold validation or test images only; training images are needed, too.")
    if not any(item.split == "val" for item in items):
        train = [number for number, item in enumerate(items) if item.split == "train"]
        count = max(1, round(VAL_SHARE * len(train)))
        if len(train) < 2:
            raise InputError("one image with a mask is not enough: training and validation need one each.")
        for number in _by_scene(proposal.spec, [items[each].id for each in train], count, seed):
            items[train[number]] = replace(items[train[number]], split="val")
        proposal.remarks.append(
            f"No folder was named val: {sum(item.split == 'val' for item in items)} images were set apart at random "
            f"(seed {seed}); 'ablate split' makes stratified splits and folds."
        )
    elif None in said:
        proposal.remarks.append("Images outside of train, val and test folders count as training images.")
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


def _by_scene(spec: DatasetSpec, ids: list[str], count: int, seed: int) -> list[int]:
    """About ``count`` positions, whole scenes at a time where scenes are known."""
    scenes: dict[str, list[int]] = {}
    for number, identity in enumerate(ids):
        match = re.search(spec.scene_pattern, identity) if spec.scene_pattern else None
        scenes.setdefault(match[1] if match else identity, []).append(number)
    if len(scenes) == 1:
        scenes = {identity: [number] for number, identity in enumerate(ids)}
    chosen: list[int] = []
    names = sorted(scenes)
    for position in numpy_stream(seed, "init", "val").permutation(len(names))[:-1]:
        if len(chosen) >= count:
            break
        chosen += scenes[names[position]]
    return chosen


def is_direct(proposal: Proposal, root: Path) -> bool:
    """Tries whether the files can be used where they lie; then the spec says where."""
    if proposal.meaning is None or proposal.meaning.convert:
        return False
    folders: dict[str, set[tuple[Path, str]]] = {"images": set(), "masks": set()}
    splits: dict[Split, str] = {}
    for item in proposal.items:
        assert isinstance(item.source, Source)
        if item.source.split is None or item.source.mask is None:
            return False
        splits[item.split] = item.image.parent.name
        for kind, path in (("images", item.image), ("masks", item.source.mask)):
            folders[kind].add((path.parent.parent, path.parent.name))
    parents = {kind: {parent for parent, _ in found} for kind, found in folders.items()}
    if any(len(found) != 1 for found in parents.values()) or folders["images"] == folders["masks"]:
        return False
    where = {kind: str(found.pop().relative_to(root)) for kind, found in parents.items()}
    spec = proposal.spec.model_copy(update={**where, "splits": splits})
    found = {(split, pair.image, pair.mask) for split in splits for pair in _pairs_or_none(spec, split)}
    root_of = {(item.split, item.image.resolve(), item.source.mask.resolve()) for item in proposal.items}  # type: ignore[union-attr]
    if {(split, image.resolve(), mask.resolve()) for split, image, mask in found} != root_of:
        return False
    proposal.spec = spec
    return True


def _pairs_or_none(spec: DatasetSpec, split: Split) -> list[Pair]:
    try:
        return find_pairs(spec, split)
    except InputError:
        return []
