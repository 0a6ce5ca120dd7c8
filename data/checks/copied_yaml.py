"""The dataset YAML of a corrected copy: the original's with its comments, where it still holds."""

import json
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

import yaml

from encoder_ablations.data.datasets.spec import DatasetSpec
from encoder_ablations.data.datasets.tile_names import scene_in
from encoder_ablations.utils.config import in_yaml

DROPPED: tuple[str, ...] = ("base", "images", "masks", "hub")
"""Keys that say where the original lies."""


def copied_yaml(
    spec: DatasetSpec, root: Path, names: Mapping[str, str], source: Path | None
) -> str:
    """Return the text of the copy's YAML.

    Args:
        spec: the original.
        root: the copy's folder.
        names: id in the original -> name in the copy, of all pairs in it.
        source: the original's YAML; None where there is none.
    """
    head = f"# The dataset {spec.name}, corrected by  ablate lint --fix\n"
    changed: dict[str, Any] = {
        "name": f"{spec.name}_fixed",
        "root": str(root),
        "splits": {split: split for split in spec.splits},
    }
    dropped = set(DROPPED)
    if spec.scene_pattern is not None:
        changed["scene_pattern"] = _pattern_for(spec.scene_pattern, names)
        if changed["scene_pattern"] is None:
            dropped.add("scene_pattern")
            pattern = json.dumps(spec.scene_pattern)
            head += f"# Its scene_pattern does not fit the names here: {pattern}\n"
    # all keys, for those that the original states; the others only where they are not the defaults
    full = _without(dropped, spec.model_dump(mode="json") | changed)
    content = _without(dropped, spec.model_dump(mode="json", exclude_defaults=True) | changed)
    if source is not None:
        retold = _retold(source.read_text(encoding="utf-8"), content, full)
        told = f"{head}# Comments are those of {source}.\n{retold}"
        if _read(told) == DatasetSpec.model_validate(content):
            return told
    # YAMLs with anchors or on one line come here, too: their comments have no place of their own
    written = yaml.safe_dump(content, sort_keys=False, allow_unicode=True, default_flow_style=None)
    return head + written


def _without(keys: Collection[str], content: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in content.items() if key not in keys}


def _read(text: str) -> DatasetSpec | None:
    """Return the dataset that a YAML describes; None where it describes none."""
    try:
        return DatasetSpec.model_validate(yaml.safe_load(text))
    except (yaml.YAMLError, ValueError):
        return None


def _retold(text: str, content: Mapping[str, Any], full: Mapping[str, Any]) -> str:
    """Return a YAML with those lines kept that say what ``full`` says.

    Other keys get new lines, and what else ``content`` holds is added.
    """
    told, blocks, tail = _blocks(text)
    said = yaml.safe_load(text)
    for block in blocks:
        if block.key in full:
            same = _plain(said[block.key]) == _plain(full[block.key])
            told += block.comments
            if same:
                told += block.lines
            else:
                told += _line(block.key, full[block.key])
    added = [_line(key, value) for key, value in content.items() if key not in said]
    return told + "".join(added) + tail


def _line(key: str, value: Any) -> str:
    return f"{key}: {in_yaml(value)}\n"


def _plain(value: Any) -> Any:
    """Return a value as JSON holds it: lists for tuples, texts for keys."""
    return json.loads(json.dumps(value))


class _Block(NamedTuple):
    """A key of a YAML: the comments above it, and its own lines."""

    key: str
    comments: str
    lines: str


def _blocks(text: str) -> tuple[str, list[_Block], str]:
    """Return the comments at the beginning, all keys, and the comments at the end.

    The texts make no YAML if the original stands on one line.
    """
    # a dataset is a mapping of keys to values
    node = cast(yaml.MappingNode, yaml.compose(text, Loader=yaml.SafeLoader))
    lines = [f"{line}\n" for line in text.splitlines()]
    starts = [key.start_mark.line for key, _ in node.value]
    ends = [*starts[1:], len(lines)]
    blocks, before = [], ""
    for (key, _), start, end in zip(node.value, starts, ends, strict=True):
        last = _without_comments(lines, start, end)
        blocks.append(_Block(key.value, before, "".join(lines[start:last])))
        before = "".join(lines[last:end])
    return "".join(lines[: starts[0]]), blocks, before


def _without_comments(lines: Sequence[str], start: int, end: int) -> int:
    """Return the end of a key's own lines; later comments and empty lines belong to the next."""
    while end > start + 1 and (lines[end - 1].startswith("#") or not lines[end - 1].strip()):
        end -= 1
    return end


def _pattern_for(pattern: str, names: Mapping[str, str]) -> str | None:
    """Return a scene_pattern that finds the same scenes in the copy's names.

    None where neither the pattern nor its form for joined folder names does.
    """
    for candidate in (pattern, pattern.replace("/", "__")):
        found = {(scene_in(pattern, old), scene_in(candidate, new)) for old, new in names.items()}
        pairs = [(old, new) for old, new in found if old is not None]
        new_scenes = {new for _, new in pairs} - {None}
        # the same scenes: none is divided, joined or lost
        if len(dict(pairs)) == len(pairs) == len(new_scenes):
            return candidate
    return None
