"""``hub:owner/name``: a dataset of the Hugging Face hub without a YAML. One is written beside the copy."""

import hashlib
import json
import os
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import numpy as np
import yaml

from encoder_ablations.data.datasets.class_names import require_names
from encoder_ablations.data.datasets.folder import FolderDataset
from encoder_ablations.data.datasets.hub import copy_from_hub, find_splits
from encoder_ablations.data.datasets.index_files import write_index
from encoder_ablations.data.datasets.pixel_counts import scan_masks
from encoder_ablations.data.datasets.reading import read_ids
from encoder_ablations.data.datasets.sample import IGNORE, ignore_label
from encoder_ablations.data.datasets.spec import DatasetSpec, HubSource
from encoder_ablations.data.intake.splits import Ratios, divide
from encoder_ablations.utils.config import build, read_yaml
from encoder_ablations.utils.errors import InputError, unknown
from encoder_ablations.utils.files import write_text
from encoder_ablations.utils.texts import plural

PREFIX = "hub:"
OPTIONS = {
    "image": "image_column",
    "mask": "mask_column",
    "revision": "revision",
    "config": "config",
    "max_samples": "max_samples",
}
RATIOS = Ratios(1, 0.15, 0)
SEED = 42


def describe(reference: str) -> dict[str, Any]:
    """The content of a dataset's YAML for ``hub:owner/name[?image=COLUMN&mask=COLUMN&revision=…&max_samples=…]``.

    The first time the dataset is copied to ``$DATASETS_ROOT/hub/…``, its classes are found, and where it has no
    validation split 15 % of train become one; all of this is written down and not asked again.

    Raises:
        InputError: the reference is malformed, or as :func:`copy_from_hub`.
    """
    source = _parse(reference)
    asked = source.model_dump(mode="json", exclude_defaults=True, exclude={"repository"})
    digest = (
        f"-{hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()[:8]}"
        if asked
        else ""
    )
    root = f"hub/{source.repository.replace('/', '__')}{digest}"
    folder = Path(os.environ.get("DATASETS_ROOT", "datasets")) / root
    path = folder / "dataset.yaml"
    if not path.exists():
        source = source.model_copy(update={"splits": find_splits(source)})
        content = _examined(source, folder, root)
        head = f"# {source.repository} on the Hugging Face hub, as 'ablate' has found it. Change what is wrong.\n"
        write_text(path, head + yaml.safe_dump(content, sort_keys=False, allow_unicode=True))
    return read_yaml(path)


def _parse(reference: str) -> HubSource:
    repository, _, query = reference.removeprefix(PREFIX).partition("?")
    repository, _, revision = repository.partition("@")
    content: dict[str, Any] = {"repository": repository, "revision": revision or None}
    for key, value in parse_qsl(query, keep_blank_values=True):
        if key not in OPTIONS:
            raise unknown(f"option of '{reference}'", key, OPTIONS)
        content[OPTIONS[key]] = value
    return build(HubSource, content, reference)


def _examined(source: HubSource, folder: Path, root: str) -> dict[str, Any]:
    """Copies the dataset and finds out what a YAML says."""
    facts = copy_from_hub(folder, source)
    splits = source.splits or {}
    content: dict[str, Any] = {
        "name": source.repository.split("/")[1],
        "root": root,
        **_classes(facts["classes"], _ids_in(folder / "masks"), source.repository),
        "splits": {split: split for split in splits},
        "hub": {**facts["requested"], "revision": facts["revision"]},
    }
    if "val" not in splits:
        spec = build(
            DatasetSpec,
            {**content, "splits": {**content["splits"], "val": "train"}},
            source.repository,
        )
        dataset = FolderDataset(spec, "train")
        parts = divide(dataset.scenes, scan_masks(dataset).counts, RATIOS, SEED)
        for part, positions in parts.items():
            name = f"splits/{part}_images.txt"
            write_index(
                folder / name, folder, [dataset.pairs[position].image for position in positions]
            )
            content["splits"][part] = name
    return content


def _ids_in(folder: Path) -> list[int]:
    """All ids that the masks hold."""
    found: set[int] = set()
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not path.name.startswith("."):
            found |= set(np.unique(read_ids(path)).tolist())
    return sorted(found)


def _classes(names: list[str], ids: list[int], repository: str) -> dict[str, Any]:
    """``classes``, and ``value_map`` where the masks hold 0 and 255, or ``ignore_ids`` where 255 is a class."""
    require_names(names, f"dataset '{repository}': the hub's class names")
    if set(ids) <= {0, IGNORE} and len(names) in (0, 2):
        return {"classes": names or ["background", "foreground"], "value_map": {0: 0, IGNORE: 1}}
    ignore = ignore_label(len(names))
    known = [value for value in ids if value != ignore]
    if names and known and known[-1] >= len(names):
        raise InputError(
            f"dataset '{repository}': the masks hold the id {known[-1]}, but the hub names "
            f"{plural(len(names), 'class')} ({', '.join(names[:5])}, …). Write a YAML with classes and value_map "
            "(docs/datasets.md)."
        )
    if not names and (not known or known[-1] >= IGNORE):
        raise InputError(
            f"dataset '{repository}': the masks hold ids up to {ids[-1] if ids else 0}, and the hub names no classes. "
            "Write a YAML with classes and value_map (docs/datasets.md)."
        )
    wide = {} if ignore == IGNORE else {"ignore_ids": [ignore]}
    return {"classes": names or [f"class_{value}" for value in range(known[-1] + 1)], **wide}
