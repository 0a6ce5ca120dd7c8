"""A dataset by name, path or delta."""

from collections.abc import Mapping
from typing import Any

from encoder_ablations.data.datasets.spec import DatasetSpec
from encoder_ablations.utils.config import build, config_names, merge
from encoder_ablations.utils.errors import unknown
from encoder_ablations.utils.references import Reference, resolve


def load_dataset(reference: Reference, overrides: Mapping[str, Any] | None = None) -> DatasetSpec:
    """The dataset that a reference means: a YAML's name or path, ``hub:owner/name``, or a delta over one of them."""
    content, source = resolve_dataset(reference)
    return build(DatasetSpec, merge(content, overrides or {}), source)


def resolve_dataset(reference: Reference) -> tuple[dict[str, Any], str]:
    """What a dataset's YAML says, and where it stands."""
    return resolve("datasets", reference, _otherwise)


def _otherwise(name: str) -> dict[str, Any]:
    """The content of a name for which there is no YAML."""
    if name.startswith("hub:"):
        # here and not above, because it needs an optional package
        from encoder_ablations.data.intake.hub_reference import describe

        return describe(name)
    raise unknown("dataset", name, [*config_names("datasets"), "hub:owner/name"])
