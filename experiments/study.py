"""A study: the grid of runs that one YAML describes, and where it is kept."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import Field

from encoder_ablations.data.references import load_dataset
from encoder_ablations.encoders.references import load_encoder
from encoder_ablations.engine.recipe import Recipe
from encoder_ablations.experiments.run_record import RunRecord, load_record
from encoder_ablations.experiments.run_spec import RunSpec
from encoder_ablations.segmenters.references import load_segmenter
from encoder_ablations.utils.config import Config, build, config_names, find_config, merge, parse_overrides, read_yaml
from encoder_ablations.utils.errors import InputError, unknown
from encoder_ablations.utils.files import write_text

OUTPUTS = Path("outputs")
Entry = str | dict[str, Any]


class StudySpec(Config):
    """Encoders × fractions × seeds × datasets × segmenters under one recipe.

    Attributes:
        name: names the output folder.
        encoders, segmenters, datasets: names, paths of YAMLs, or mappings that may be a delta over a ``base``.
        fractions: shares of the training images.
        seeds: each decides subset, data order, augmentation and initial weights.
        recipe: the same for all runs.
    """

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")
    encoders: list[Entry] = Field(min_length=1)
    segmenters: list[Entry] = Field(min_length=1)
    datasets: list[Entry] = Field(min_length=1)
    fractions: list[float] = Field(default=[1.0], min_length=1)
    seeds: list[int] = Field(default=[0, 1, 2], min_length=1)
    recipe: Recipe = Recipe()


def load_study(reference: str, overrides: Sequence[str] = ()) -> StudySpec:
    """A study by the name of a file in ``configs/studies`` or by path, with ``key.sub=value`` over it."""
    path = find_config("studies", reference)
    if path is None:
        if reference.endswith((".yaml", ".yml")):
            raise InputError(
                f"there is no file {reference}. The built-in studies are {', '.join(config_names('studies'))}."
            )
        raise unknown("study", reference, config_names("studies"))
    return build(StudySpec, merge(read_yaml(path), parse_overrides(overrides)), path)


def plan(study: StudySpec) -> list[RunSpec]:
    """All runs of a study. Encoders vary fastest, so that an unfinished study already compares them.

    Raises:
        InputError: two entries that reports could not tell apart, or a run that is asked for twice.
    """
    encoders = [load_encoder(entry) for entry in study.encoders]
    segmenters = [load_segmenter(entry) for entry in study.segmenters]
    datasets = [load_dataset(entry) for entry in study.datasets]
    for kind, names in (
        ("encoders", [encoder.title for encoder in encoders]),
        ("segmenters", [str(segmenter.name) for segmenter in segmenters]),
        ("datasets", [dataset.name for dataset in datasets]),
        ("fractions", [str(fraction) for fraction in study.fractions]),
        ("seeds", [str(seed) for seed in study.seeds]),
    ):
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            hint = " Give one of them a label." if kind == "encoders" else ""
            raise InputError(f"study {study.name}: {kind} lists '{twice[0]}' twice.{hint}")
    return [
        build(
            RunSpec,
            {
                "encoder": encoder,
                "segmenter": segmenter,
                "dataset": dataset,
                "fraction": fraction,
                "seed": seed,
                "recipe": study.recipe,
            },
            f"study {study.name}",
        )
        for dataset in datasets
        for segmenter in segmenters
        for seed in study.seeds
        for fraction in study.fractions
        for encoder in encoders
    ]


RunState = Literal["finished", "failed", "interrupted", "new"]


@dataclass(frozen=True)
class PlannedRun:
    """A run of a study and how far it has got."""

    spec: RunSpec
    folder: Path
    record: RunRecord | None

    @property
    def state(self) -> RunState:
        if self.record is not None:
            return self.record.status
        return "interrupted" if (self.folder / "checkpoints" / "last.pt").exists() else "new"


def locate(specs: Sequence[RunSpec], study_folder: Path) -> list[PlannedRun]:
    """Where each run is kept, and its record if it has one.

    Raises:
        InputError: a record that is damaged or of another schema.
    """
    folders = [study_folder / "runs" / spec.run_id for spec in specs]
    return [PlannedRun(spec, folder, load_record(folder)) for spec, folder in zip(specs, folders, strict=True)]


def save_config(spec: RunSpec, folder: Path) -> None:
    """Writes the resolved spec; ``ablate train --config`` on it gives the same run id."""
    write_text(folder / "config.yaml", yaml.safe_dump(spec.model_dump(mode="json"), sort_keys=False))
