"""Names that tell different contents apart."""

import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import product
from typing import Any

IN_WORDS = frozenset({"pseudo_labels", "tuning"})
"""Keys whose values say what they are, so that titles leave the key out."""
NESTED = (dict, list, tuple)
"""What :func:`flatten` looks into."""


def canonical(content: Any) -> str:
    """Return JSON that is equal for equal contents."""
    return json.dumps(content, sort_keys=True)


def unique_titles(named: Sequence[tuple[str, str]]) -> list[str]:
    """Return a title for each content; a title that several contents share says what differs.

    Args:
        named: title and content (JSON) of each.
    """
    contents: dict[str, set[str]] = defaultdict(set)
    for title, content in named:
        contents[title].add(content)
    endings = {title: _differences(variants) for title, variants in contents.items()}
    return [title + endings[title][content] for title, content in named]


def _differences(contents: Iterable[str]) -> dict[str, str]:
    """Return content (JSON) -> what differs from the others: `` (recipe.steps=400)``, or ""."""
    flat = {content: flatten(json.loads(content)) for content in contents}
    values: dict[str, list[str]] = defaultdict(list)
    for key, each in product(sorted(set().union(*flat.values())), flat.values()):
        values[key].append(canonical(each.get(key)))
    differing = [key for key, variants in values.items() if len(set(variants)) > 1]
    # other runs have none of Detectron2's keys: that the loop differs says enough
    if "loop" in differing:
        differing = [key for key in differing if not key.startswith("detectron2")]
    if not differing:
        return dict.fromkeys(flat, "")
    return {content: f" ({_listed(each, differing)})" for content, each in flat.items()}


def _listed(content: dict[str, Any], keys: list[str]) -> str:
    return ", ".join(_told(key, content.get(key)) for key in keys)


def _told(key: str, value: Any) -> str:
    if key in IN_WORDS:
        return str(value)
    return f"{key}={value}"


def flatten(content: Any, prefix: str = "") -> dict[str, Any]:
    """Return nested content as one level: {"a": {"b": [1, 2]}} -> {"a.b.0": 1, "a.b.1": 2}.

    Args:
        content: dictionaries and lists of any depth.
        prefix: start of every key, with a dot at its end.
    """
    if not isinstance(content, NESTED):
        return {prefix.removesuffix("."): content}
    flat: dict[str, Any] = {}
    _add_flat(flat, content, prefix)
    return flat


def _add_flat(flat: dict[str, Any], content: Any, prefix: str) -> None:
    """Add every single value of a dictionary or list to ``flat``."""
    if not isinstance(content, dict):
        content = dict(enumerate(content))
    for key, value in content.items():
        if isinstance(value, NESTED):
            _add_flat(flat, value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
