"""Names that tell different contents apart."""

import json
from collections.abc import Sequence
from typing import Any


def canonical(content: Any) -> str:
    """Return JSON that is equal for equal contents."""
    return json.dumps(content, sort_keys=True)


def unique_titles(named: Sequence[tuple[str, str]]) -> list[str]:
    """Return a title for each content; a title that several contents share says what differs.

    Args:
        named: title and content (JSON) of each.
    """
    variants: dict[str, dict[str, str]] = {}
    for title, content in named:
        variants.setdefault(title, {}).setdefault(content, title)
    for title, contents in variants.items():
        if len(contents) > 1:
            _tell_apart(title, contents)
    return [variants[title][content] for title, content in named]


def _tell_apart(title: str, contents: dict[str, str]) -> None:
    """Add what differs to the title of each of ``contents`` (JSON -> title)."""
    flat = {content: flatten(json.loads(content)) for content in contents}
    keys = sorted(set().union(*flat.values()))
    differing = [
        key for key in keys if len({canonical(each.get(key)) for each in flat.values()}) > 1
    ]
    # a run of our loop has none of Detectron2's keys: that the loop differs says it all
    if "loop" in differing:
        differing = [key for key in differing if not key.startswith("detectron2")]
    for content, each in flat.items():
        texts = [f"{key}={each.get(key)}" for key in differing]
        if texts:
            contents[content] = f"{title} ({', '.join(texts)})"


def flatten(content: Any, prefix: str = "") -> dict[str, Any]:
    """Return nested content as one level: {"a": {"b": [1, 2]}} -> {"a.b.0": 1, "a.b.1": 2}."""
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
