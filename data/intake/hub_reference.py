"""``hub:owner/name``: a dataset of the Hugging Face hub without a YAML.

One is written beside the copy.
"""

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
from encoder_ablations.data.intake.layouts.survey import list_files
from encoder_ablations.data.intake.splits import Ratios, divide
from encoder_ablations.utils.config import build, read_yaml
from encoder_ablations.utils.errors import InputError, unknown
from encoder_ablations.utils.files import write_text
from encoder_ablations.utils.texts import first_names, plural

PREFIX = "hub:"
OPTIONS = {
    "image": "image_column",
    "mask": "mask_column",
    "revision": "revision",
    "config": "config",
    "max_samples": "max_samples",
}
RATIOS = Ratios(1, 0.15, 0)
"""How train is divided where a dataset has no validation split."""
SEED = 42


def describe(reference: str) -> dict[str, Any]:
    """Return the content of the YAML of a dataset on the hub.

    The first time the dataset is copied to ``$DATASETS_ROOT/hub/…`` and its classes are found.
    Where it has no validation split 15 % of train become one. All of this is written down and not
    asked again.

    Args:
        reference: ``hub:owner/name[?image=COLUMN&mask=COLUMN&revision=…&max_samples=…]``.

    Raises:
        InputError: the reference is malformed, or as :func:`copy_from_hub`.
    """
    source = _parse(reference)
    root = f"hub/{source.repository.replace('/', '__')}"
    asked = source.model_dump(mode="json", exclude_defaults=True, exclude={"repository"})
    if asked:
        digest = hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()
        root = f"{root}-{digest[:8]}"
    folder = Path(os.environ.get("DATASETS_ROOT", "datasets")) / root
    path = folder / "dataset.yaml"
    if not path.exists():
        source = source.model_copy(update={"splits": find_splits(source)})
        content = _examined(source, folder, root)
        head = (
            f"# {source.repository} on the Hugging Face hub, as 'ablate' has found it. Change what "
            "is wrong.\n"
        )
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
    """Copy the dataset and return the content of its YAML."""
    facts = copy_from_hub(folder, source)
    splits = {split: split for split in source.splits or {}}
    content: dict[str, Any] = {
        "name": source.repository.split("/")[1],
        "root": root,
        **_classes(facts["classes"], _ids_in(folder / "masks"), source.repository),
        "splits": splits,
        "hub": {**facts["requested"], "revision": facts["revision"]},
    }
    if "val" not in splits:
        # a spec needs both splits
        known = {**content, "splits": {**splits, "val": "train"}}
        spec = build(DatasetSpec, known, source.repository)
        content["splits"] = splits | _set_apart(FolderDataset(spec, "train"), folder)
    return content


def _set_apart(dataset: FolderDataset, folder: Path) -> dict[str, str]:
    """Divide the training images, write a list for each part, and return where the lists lie."""
    parts = divide(dataset.scenes, scan_masks(dataset).counts, RATIOS, SEED)
    written = {}
    for part, positions in parts.items():
        written[part] = f"splits/{part}_images.txt"
        images = [dataset.pairs[position].image for position in positions]
        write_index(folder / written[part], folder, images)
    return written


def _ids_in(folder: Path) -> list[int]:
    """Return all ids that the masks hold, rising."""
    found: set[int] = set()
    for path in list_files(folder):
        found.update(np.unique(read_ids(path)).tolist())
    return sorted(found)


def _classes(names: list[str], ids: list[int], repository: str) -> dict[str, Any]:
    """Return ``classes``, and how masks become ids where they do not hold them.

    These are ``value_map`` where masks hold 0 and 255, and ``ignore_ids`` where 255 is a class.
    """
    where = f"dataset '{repository}'"
    require_names(names, f"{where}: the hub's class names")
    if set(ids) <= {0, IGNORE} and len(names) in (0, 2):
        return {"classes": names or ["background", "foreground"], "value_map": {0: 0, IGNORE: 1}}
    ignore = ignore_label(len(names))
    highest = max(set(ids) - {ignore}, default=-1)
    advice = "Write a YAML with classes and value_map (docs/datasets.md)."
    if not names and not 0 <= highest < IGNORE:
        raise InputError(
            f"{where}: the masks hold ids up to {max(ids, default=0)}, and the hub names no "
            f"classes. {advice}"
        )
    if names and highest >= len(names):
        raise InputError(
            f"{where}: the masks hold the id {highest}, but the hub names "
            f"{plural(len(names), 'class')} ({first_names(names, 5)}). {advice}"
        )
    content: dict[str, Any] = {
        "classes": names or [f"class_{value}" for value in range(highest + 1)]
    }
    if ignore != IGNORE:
        content["ignore_ids"] = [ignore]
    return content
