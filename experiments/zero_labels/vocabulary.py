"""The texts by which a head that needs no labels finds classes: a YAML ``class: [synonyms]``."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from encoder_ablations.utils.config import read_yaml
from encoder_ablations.utils.errors import InputError, unknown
from encoder_ablations.utils.texts import shortened
from encoder_ablations.utils.yaml_text import one_line

Vocabulary = dict[str, list[str]]
"""Class → the texts that stand for it."""


def read_vocabulary(path: Path) -> Vocabulary:
    """Return the vocabulary in a YAML.

    Raises:
        InputError: the file cannot be read, or holds no vocabulary.
    """
    return checked_vocabulary(read_yaml(path), str(path))


def checked_vocabulary(content: Mapping[str, Any], where: str) -> Vocabulary:
    """Return a vocabulary whose entries were checked.

    Args:
        content: class → a text or several.
        where: begins messages.

    Raises:
        InputError: there is no class, a class has no text, or a text stands for two classes.
    """
    if not content:
        raise InputError(f"{where} is empty; write lines such as  road: [road, street].")
    found = {str(name): _texts(name, value, where) for name, value in content.items()}
    classes: dict[str, str] = {}
    for name, texts in found.items():
        for text in texts:
            other = classes.setdefault(text, name)
            if other != name:
                raise InputError(
                    f"{where}: '{text}' stands for both {other} and {name}. Keep it in one of them."
                )
    return found


def _texts(name: object, value: object, where: str) -> list[str]:
    """Return the texts of a class, each once."""
    if isinstance(value, str):
        value = [value]
    texts = value if isinstance(value, list) else []
    if not texts or not all(isinstance(text, str) and text.strip() for text in texts):
        raise InputError(
            f"{where}: {name} has {shortened(repr(value))}; write a list of texts, such as "
            f"{name}: [road, street]."
        )
    return list(dict.fromkeys(text.strip() for text in texts))


def queries_of(vocabulary: Vocabulary | None, classes: Sequence[str]) -> dict[str, int]:
    """Return every text with the id of its class.

    Args:
        vocabulary: must have each of the classes; None = every class stands for itself.
        classes: names in id order.

    Raises:
        InputError: the vocabulary lacks a class, or has one that is none of these.
    """
    if vocabulary is None:
        vocabulary = {name: [name] for name in classes}
    for name in vocabulary:
        if name not in classes:
            raise unknown("class of the vocabulary", name, classes)
    missing = [name for name in classes if name not in vocabulary]
    if missing:
        raise InputError(
            f"the vocabulary has no texts for {', '.join(missing)}. Add lines such as  "
            f"{missing[0]}: [{missing[0]}]."
        )
    return {text: number for number, name in enumerate(classes) for text in vocabulary[name]}


def vocabulary_yaml(classes: Sequence[str]) -> str:
    """Return a first vocabulary: every class by its own name, without underscores."""
    lines = [
        "# The texts that stand for each class. Add synonyms; no text may stand for two classes.",
        "# Use it:  segmenters: [{name: HEAD, vocabulary: THIS_FILE}]   or  ablate zero-shot",
    ]
    lines += [f"{one_line(name)}: {one_line([name.replace('_', ' ')])}" for name in classes]
    return "\n".join([*lines, ""])
