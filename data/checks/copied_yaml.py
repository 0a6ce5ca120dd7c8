"""The dataset YAML of a corrected copy: the original's, with its comments, as far as it still holds."""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from encoder_ablations.data.datasets.spec import DatasetSpec
from encoder_ablations.utils.config import in_yaml

DROPPED: tuple[str, ...] = ("base", "images", "masks", "hub")
"""Keys that say where the original lies."""


def copied_yaml(
    spec: DatasetSpec, root: Path, names: Mapping[str, str], source: Path | None
) -> str:
    """The text of the copy's YAML.

    Args:
        names: id in the original -> name in the copy, of all pairs in it.
        source: the original's YAML; None where there is none.
    """
    changed = {
        "name": f"{spec.name}_fixed",
        "root": str(root),
        "splits": {split: split for split in spec.splits},
    }
    content, full = (
        spec.model_dump(mode="json", exclude_defaults=short) | changed for short in (True, False)
    )
    head = f"# The dataset {spec.name}, corrected by  ablate lint --fix\n"
    dropped = DROPPED
    if spec.scene_pattern is not None:
        content["scene_pattern"] = full["scene_pattern"] = _pattern_for(spec.scene_pattern, names)
        if content["scene_pattern"] is None:
            dropped = (*DROPPED, "scene_pattern")
            head += f"# Its scene_pattern does not fit the names here: {json.dumps(spec.scene_pattern)}\n"
    for key in dropped:
        content.pop(key, None)
        full.pop(key, None)
    if source is not None:
        told = f"{head}# Comments are those of {source}.\n{_retold(source.read_text(encoding='utf-8'), content, full)}"
        if _read(told) == DatasetSpec.model_validate(content):
            return told
    # also for YAMLs of anchors or on one line: their comments have no place of their own
    return head + yaml.safe_dump(
        content, sort_keys=False, allow_unicode=True, default_flow_style=None
    )


def _read(text: str) -> DatasetSpec | None:
    """The dataset that a YAML describes; None where it describes none."""
    try:
        return DatasetSpec.model_validate(yaml.safe_load(text))
    except (yaml.YAMLError, ValueError):
        return None


def _retold(text: str, content: Mapping[str, Any], full: Mapping[str, Any]) -> str:
    """The lines of a YAML where they say what ``full`` says, otherwise new ones; then what else ``content`` holds."""
    head, blocks, tail = _blocks(text)
    said = yaml.safe_load(text)
    told = head
    for block in blocks:
        if block.key in full:
            same = _plain(said[block.key]) == _plain(full[block.key])
            told += block.comments + (
                block.lines if same else f"{block.key}: {in_yaml(full[block.key])}\n"
            )
    told += "".join(
        f"{key}: {in_yaml(value)}\n" for key, value in content.items() if key not in said
    )
    return told + tail


def _plain(value: Any) -> Any:
    """The same value whether it comes from YAML or from a model: lists for tuples, texts for keys."""
    return json.loads(json.dumps(value))


class _Block(NamedTuple):
    """A key of a YAML: the comments above it, and its own lines."""

    key: str
    comments: str
    lines: str


def _blocks(text: str) -> tuple[str, list[_Block], str]:
    """Comments at the beginning, all keys, comments at the end; no key where the YAML is no block mapping."""
    node = yaml.compose(text, Loader=yaml.SafeLoader)
    if not isinstance(node, yaml.MappingNode) or node.flow_style or not node.value:
        return "", [], ""
    lines = [
        line if line.endswith("\n") else f"{line}\n" for line in text.splitlines(keepends=True)
    ]
    starts = [key.start_mark.line for key, _ in node.value]
    ends = [*starts[1:], len(lines)]
    own = [_without_comments(lines, start, end) for start, end in zip(starts, ends, strict=True)]
    blocks, before = [], ""
    for (key, _), start, last, end in zip(node.value, starts, own, ends, strict=True):
        blocks.append(_Block(key.value, before, "".join(lines[start:last])))
        before = "".join(lines[last:end])
    return "".join(lines[: starts[0]]), blocks, before


def _without_comments(lines: Sequence[str], start: int, end: int) -> int:
    """The end of a key's own lines: comments and empty lines after them belong to what follows."""
    while end > start + 1 and (lines[end - 1].startswith("#") or not lines[end - 1].strip()):
        end -= 1
    return end


def _pattern_for(pattern: str, names: Mapping[str, str]) -> str | None:
    """A scene_pattern that finds the same scenes in the copy's names; None where neither form of it does."""
    for candidate in (pattern, pattern.replace("/", "__")):
        pairs = {
            (_scene(pattern, before), _scene(candidate, after)) for before, after in names.items()
        }
        known = [pair for pair in pairs if pair[0] is not None]
        if len({after for _, after in known}) == len(known) == len(
            {before for before, _ in known}
        ) and all(after is not None for _, after in known):
            return candidate
    return None


def _scene(pattern: str, name: str) -> str | None:
    match = re.search(pattern, name)
    return match[1] if match else None
