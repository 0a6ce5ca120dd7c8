"""Features of texts, kept on disk."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor
from torch.nn.functional import normalize

from encoder_ablations.encoders.text.random_tower import RandomTower
from encoder_ablations.encoders.text.sources import RANDOM, tower_source
from encoder_ablations.encoders.text.spec import TextSpec
from encoder_ablations.encoders.text.templates import prompts_of, templates_of
from encoder_ablations.encoders.text.towers import (
    TextTower,
    load_tower,
    tower_digest,
    tower_folder,
)
from encoder_ablations.utils.cache_folder import cache_folder
from encoder_ablations.utils.errors import InputError
from encoder_ablations.utils.files import write_bytes

NAME = "features"
FORMAT = 1
"""Raised whenever the same files and texts give other features."""


def text_features(encoder: str, texts: Sequence[str], spec: TextSpec) -> Tensor:
    """Return the features Q×D float32 of texts, of unit length, on the CPU.

    They are kept in the cache folder, by the tower's files, the texts and the templates.

    Args:
        encoder: name of the encoder whose text tower is used, unless ``spec`` names one.
        texts: Q texts.
        spec: prompts and tower.

    Raises:
        InputError: there are no texts, there is no tower, or it cannot be had.
    """
    if not texts:
        raise InputError("there are no texts to compare images with. Give at least one.")
    source = tower_source(encoder, spec.tower)
    folder = tower_folder(source)
    templates = templates_of(spec.templates)
    path = _cache_path(tower_digest(folder), texts, templates)
    kept = _read(path)
    if kept is None:
        kept = mean_features(load_tower(str(folder)), texts, templates)
        write_bytes(path, save({NAME: kept}))
    return kept


def random_features(texts: Sequence[str], spec: TextSpec, width: int) -> Tensor:
    """Return random features Q×width float32 of texts, of unit length.

    Args:
        texts: Q texts.
        spec: prompts.
        width: numbers of a feature.
    """
    return mean_features(RandomTower(width), texts, templates_of(spec.templates))


def text_facts(encoder: str, spec: TextSpec) -> dict[str, object]:
    """Return what a record says of the texts' features: tower, SHA-256 of its files, templates.

    Args:
        encoder: name of the encoder whose text tower is used, unless ``spec`` names one.
        spec: prompts and tower.

    Raises:
        InputError: there is no tower, or it cannot be had.
    """
    source = tower_source(encoder, spec.tower)
    if source == RANDOM:
        return {"tower": RANDOM, "templates": list(templates_of(spec.templates))}
    return {
        "tower": source,
        "tower_sha256": tower_digest(tower_folder(source)),
        "templates": list(templates_of(spec.templates)),
    }


def mean_features(
    tower: TextTower | RandomTower, texts: Sequence[str], templates: tuple[str, ...]
) -> Tensor:
    """Return the features Q×D of unit length of texts, each the mean over its prompts.

    The order is that of OpenAI's notebook on prompts: the features of all prompts are brought to
    unit length, averaged, and brought to unit length again.
    """
    prompts = [prompt for text in texts for prompt in prompts_of(text, templates)]
    each = normalize(tower.features(prompts), dim=1)
    means = each.unflatten(0, (len(texts), len(templates))).mean(1)
    return normalize(means, dim=1)


def _cache_path(digest: str, texts: Sequence[str], templates: tuple[str, ...]) -> Path:
    """Return the file that holds the features."""
    content = json.dumps([FORMAT, digest, list(texts), list(templates)])
    key = hashlib.sha256(content.encode()).hexdigest()
    return cache_folder("texts") / f"{key}.safetensors"


def _read(path: Path) -> Tensor | None:
    """Return what a file holds; None if it is missing or damaged."""
    if not path.is_file():
        return None
    try:
        return load_file(path)[NAME]
    except (SafetensorError, KeyError, OSError):
        return None
