"""A dataset by name, path or delta."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from encoder_ablations.data.datasets.spec import DatasetSpec
from encoder_ablations.utils.config import build, config_names, merge
from encoder_ablations.utils.errors import InputError, unknown
from encoder_ablations.utils.references import Reference, resolve


def load_dataset(
    reference: Reference,
    overrides: Mapping[str, Any] | None = None,
    given: str = "the given settings",
) -> DatasetSpec:
    """Return the dataset that a reference means.

    Args:
        reference: a YAML's name or path, ``hub:owner/name``, or a delta over one of them.
        overrides: settings that go before those of the YAML.
        given: where these come from, for messages.

    Raises:
        InputError: there is no such dataset, or a setting is wrong.
    """
    content, source = resolve_dataset(reference)
    return build(DatasetSpec, merge(content, overrides or {}), source, overrides, given)


def resolve_dataset(reference: Reference) -> tuple[dict[str, Any], str]:
    """Return what a dataset's YAML says, and where it stands."""
    return resolve("datasets", reference, _otherwise)


def _otherwise(name: str) -> dict[str, Any]:
    """Return the content of a name for which there is no YAML."""
    if name.startswith("hub:"):
        # here and not above, because it needs an optional package
        from encoder_ablations.data.intake.hub_reference import describe

        return describe(name)
    if Path(name).is_dir():
        raise InputError(
            f"{name} is a folder, not a dataset. 'ablate init {name}' writes a YAML for it; name "
            "that instead."
        )
    raise unknown("dataset", name, [*config_names("datasets"), "hub:owner/name"])
