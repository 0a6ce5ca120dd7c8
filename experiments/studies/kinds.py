"""Kinds of runs: those whose training steps take equally long."""

import hashlib
from collections.abc import Sequence
from typing import Any

from encoder_ablations.experiments.runs.spec import RunSpec


def kind_of(spec: RunSpec) -> str:
    """Return JSON of everything that decides how long a training step takes."""
    recipe = {"batch_size", "accumulation", "precision", "augmentation", "privacy"}
    included: dict[str, Any] = {
        "encoder": True,
        "segmenter": True,
        "dataset": {"name"},
        "recipe": recipe,
    }
    # several clients take each step; one alone takes it as central training does
    if spec.federation is not None and not spec.federation.is_local:
        included["federation"] = True
    return spec.model_dump_json(include=included)


def kind_key(spec: RunSpec) -> str:
    """Return a short name of what :func:`kind_of` returns."""
    return hashlib.sha256(kind_of(spec).encode()).hexdigest()[:16]


def kinds_of(specs: Sequence[RunSpec]) -> dict[str, RunSpec]:
    """Return a run of each kind: :func:`kind_key` -> the one with most training images."""
    found: dict[str, RunSpec] = {}
    for spec in specs:
        key = kind_key(spec)
        if key not in found or spec.fraction > found[key].fraction:
            found[key] = spec
    return found
