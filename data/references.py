"""A dataset by name, path or delta."""

from collections.abc import Mapping
from typing import Any

from encoder_ablations.data.spec import DatasetSpec
from encoder_ablations.utils.config import build, merge
from encoder_ablations.utils.references import Reference, resolve


def load_dataset(reference: Reference, overrides: Mapping[str, Any] | None = None) -> DatasetSpec:
    """The dataset that a reference means: the name of a YAML, its path, or a delta over one of them."""
    content, source = resolve("datasets", reference)
    return build(DatasetSpec, merge(content, overrides or {}), source)
