"""Names that tell different contents apart."""

import json
from collections.abc import Mapping, Sequence
from typing import Any


def canonical(content: Any) -> str:
    """JSON that is equal for equal contents."""
    return json.dumps(content, sort_keys=True)


def unique_titles(named: Sequence[tuple[str, str]]) -> list[str]:
    """For each (title, content as JSON) the title; where one title stands for different contents, with what differs."""
    variants: dict[str, dict[str, str]] = {}
    for title, content in named:
        variants.setdefault(title, {}).setdefault(content, title)
    for title, contents in variants.items():
        if len(contents) > 1:
            _tell_apart(title, contents)
    return [variants[title][content] for title, content in named]


def _tell_apart(title: str, contents: dict[str, str]) -> None:
    """Gives each of ``contents`` (JSON -> title) the title with what differs."""
    flat = {content: flatten(json.loads(content)) for content in contents}
    keys = sorted({key for each in flat.values() for key in each})
    differing = [
        key for key in keys if len({canonical(each.get(key)) for each in flat.values()}) > 1
    ]
    if "loop" in differing:  # then all of Detectron2's keys differ, for one of the two has none
        differing = [key for key in differing if not key.startswith("detectron2")]
    for content, each in flat.items():
        contents[content] = f"{title} ({_difference(differing, each)})" if differing else title


def _difference(keys: Sequence[str], content: Mapping[str, Any]) -> str:
    return ", ".join(f"{key}={content.get(key)}" for key in keys)


def flatten(content: Any, prefix: str = "") -> dict[str, Any]:
    """``{"a": {"b": [1, 2]}}`` -> ``{"a.b.0": 1, "a.b.1": 2}``."""
    if isinstance(content, dict):
        items = [(str(key), value) for key, value in content.items()]
    elif isinstance(content, list | tuple):
        items = [(str(position), value) for position, value in enumerate(content)]
    else:
        return {prefix: content}
    flat: dict[str, Any] = {}
    for key, value in items:
        flat.update(flatten(value, f"{prefix}.{key}" if prefix else key))
    return flat
