"""A study: the grid of runs that one YAML describes, and where it is kept."""

from collections.abc import Callable, Sequence
from itertools import product
from pathlib import Path
from typing import Any

from pydantic import Field, field_validator

from encoder_ablations.data.datasets.pseudo_labels.spec import PseudoLabelSpec
from encoder_ablations.data.datasets.spec import DatasetSpec
from encoder_ablations.data.references import load_dataset
from encoder_ablations.encoders.references import load_encoder
from encoder_ablations.encoders.spec import EncoderSpec
from encoder_ablations.engine.recipe import Recipe
from encoder_ablations.engine.training.federated.spec import FederationSpec
from encoder_ablations.experiments.runs.federated.arms import CENTRAL
from encoder_ablations.experiments.runs.spec import RunSpec
from encoder_ablations.experiments.runs.tasks import refuse_two_tasks
from encoder_ablations.experiments.runs.tuning.spec import TuneSpec
from encoder_ablations.experiments.studies.grid import (
    NO_TEACHER,
    RunFilter,
    federations_of,
    refuse_twice,
    select,
)
from encoder_ablations.experiments.studies.privacy import Privacy, recipes_of
from encoder_ablations.experiments.studies.pseudo_labels import PseudoLabelChoice, teachers_of
from encoder_ablations.experiments.studies.published import (
    PublishedScore,
    check_published,
    refuse_second,
)
from encoder_ablations.experiments.studies.seed_rule import SeedRule, Seeds
from encoder_ablations.experiments.zero_labels.grid import needs_labels, places_of, refuse_zero
from encoder_ablations.experiments.zero_labels.queries import load_with_vocabulary, with_queries
from encoder_ablations.segmenters.references import check_texts
from encoder_ablations.segmenters.spec import SegmenterSpec
from encoder_ablations.utils.config import (
    Config,
    build,
    config_names,
    find_config,
    merge,
    parse_overrides,
    read_yaml,
)
from encoder_ablations.utils.errors import InputError, unknown

OUTPUTS = Path("outputs")
YAML = (".yaml", ".yml")
KINDS = ("encoders", "segmenters", "datasets")
FILES = ("base", "vocabulary", "vfm")
"""Keys of an entry that may name a file."""
Entry = str | dict[str, Any]
Arm = tuple[FederationSpec | None, PseudoLabelSpec | None]
"""Clients and teacher of a run."""


class StudySpec(Config):
    """Encoders × fractions × seeds × datasets × segmenters × privacy × federation, one recipe."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", max_length=100)
    """Names the output folder."""
    encoders: list[Entry] = Field(min_length=1)
    """Names, paths of YAMLs, or mappings that may be a delta over a ``base``."""
    segmenters: list[Entry] = Field(min_length=1)
    """As ``encoders``."""
    datasets: list[Entry] = Field(min_length=1)
    """As ``encoders``."""
    fractions: list[float] = Field(default=[1.0], min_length=1)
    """Shares of the training images. 0 is for heads that need no labels, which have one run at 0
    and no other, with or without it.
    """
    seeds: Seeds = Field(default=[0, 1, 2])
    """Each decides subset, data order, augmentation and initial weights. Heads that need no labels
    have one run with the seed 0. A mapping adds seeds until they say enough.
    """
    privacy: list[Privacy] | None = Field(
        default=None, min_length=1, exclude_if=lambda listed: listed is None
    )
    """Values of ``recipe.privacy``, such as [none, {epsilon: 10}, {epsilon: 3}]; "none" is training
    without privacy. null = what the recipe says.
    """
    federation: list[FederationSpec | None] = Field(
        default=[None], min_length=1, exclude_if=lambda listed: listed == [None]
    )
    """Settings of federated training; null is central training. "algorithm: local" without a client
    stands for a run of each client.
    """
    pseudo_labels: list[PseudoLabelChoice | None] = Field(
        default=[None], min_length=1, exclude_if=lambda listed: listed == [None]
    )
    """Finished runs that predict masks for the training images that a fraction leaves out; null is
    training without these. At fraction 1 there are none, so that it has only the runs of null.
    """
    tune: TuneSpec | None = Field(default=None, exclude_if=lambda each: each is None)
    """Settings of the recipe whose values every encoder chooses by the same number of trials."""
    recipe: Recipe = Recipe()
    """The same for all runs. An encoder's mapping may hold a ``recipe`` of its own, as a delta over
    it.
    """
    include: tuple[RunFilter, ...] = ()
    """Runs that are kept; all where there is none."""
    exclude: tuple[RunFilter, ...] = ()
    """Runs that are left out."""
    published: tuple[PublishedScore, ...] = ()
    """Scores from the literature, for the report; they change no run."""

    @property
    def first_seeds(self) -> list[int]:
        """Return the seeds that are known before there is any result."""
        if isinstance(self.seeds, SeedRule):
            return list(range(self.seeds.first))
        return self.seeds

    @field_validator("published")
    @classmethod
    def _published_once(cls, scores: tuple[PublishedScore, ...]) -> tuple[PublishedScore, ...]:
        refuse_second(scores)
        return scores


def load_study_spec(reference: str, overrides: Sequence[str] = ()) -> StudySpec:
    """Return a study by the name of a file in ``configs/studies``, or by its path.

    Paths of YAMLs in a study are looked for beside the study's YAML, then in the current folder;
    those on the command line in the current folder.

    Args:
        reference: a name or a path.
        overrides: ``key.sub=value``, which change what the file says.

    Raises:
        InputError: there is no such study, or it is not valid.
    """
    path = find_config("studies", reference)
    if path is None:
        raise _no_study(reference)
    content = read_yaml(path)
    for kind in KINDS:
        if isinstance(content.get(kind), list):
            content[kind] = [_beside(path.parent, entry) for entry in content[kind]]
    return build(StudySpec, merge(content, parse_overrides(overrides)), path)


def _no_study(reference: str) -> InputError:
    known = config_names("studies")
    if reference.endswith(YAML):
        names = ", ".join(known)
        return InputError(f"there is no file {reference}. The built-in studies are {names}.")
    return unknown("study", reference, known)


def _beside(folder: Path, entry: Any) -> Any:
    """Return the entry of a study in ``folder``, with the path of a YAML that lies there."""
    if isinstance(entry, dict):
        files = {key: _beside(folder, entry[key]) for key in FILES if key in entry}
        return entry | files
    if not isinstance(entry, str) or not entry.endswith(YAML):
        return entry
    beside = folder / entry
    if beside.exists():
        return str(beside)
    return entry


def plan(
    study: StudySpec, load_head: Callable[[Entry], SegmenterSpec] = load_with_vocabulary
) -> list[RunSpec]:
    """Return all runs of a study; one that tunes has others, see :func:`known_runs` of ``rounds``.

    Encoders vary fastest, so that an unfinished study already compares them.

    Args:
        study: what its YAML says.
        load_head: makes a head of an entry of ``segmenters``.

    Raises:
        InputError: two entries that reports could not tell apart, a run that is asked for twice,
            a published score for something else, or no run at all.
    """
    segmenters = [load_head(entry) for entry in study.segmenters]
    datasets = [load_dataset(entry) for entry in study.datasets]
    federations = federations_of(study.federation)
    where = f"study {study.name}"
    teachers = teachers_of(study.pseudo_labels, study.fractions, where)
    refuse_two_tasks(datasets, where)
    names: dict[str, Sequence[object]] = {
        "encoders": [encoder.title for encoder, _ in _encoders(study)],
        "segmenters": [segmenter.title for segmenter in segmenters],
        "datasets": [dataset.name for dataset in datasets],
        "fractions": study.fractions,
        "seeds": study.first_seeds,
        "privacy": study.privacy or (),
        "federation": _titles(federations, CENTRAL),
        "pseudo_labels": _titles(teachers, NO_TEACHER),
    }
    for kind, listed in names.items():
        refuse_twice(study.name, kind, list(map(str, listed)))
    refuse_zero(study.fractions, segmenters, where)
    grid = _grid(study, datasets, segmenters, list(product(federations, teachers)))
    check_published(study.name, study.published, grid)
    return select(grid, study.include, study.exclude, study.name)


def _titles(arms: Sequence[FederationSpec | PseudoLabelSpec | None], without: str) -> list[str]:
    """Return what the entries of an axis are called; ``without`` names the entry null."""
    return [without if each is None else each.title for each in arms]


def _grid(
    study: StudySpec,
    datasets: Sequence[DatasetSpec],
    segmenters: Sequence[SegmenterSpec],
    arms: Sequence[Arm],
) -> list[RunSpec]:
    """Return the runs of all heads. Without labels nothing is trained, and nothing else varies."""
    unlearned = [each for each in segmenters if not needs_labels(each)]
    learning = [each for each in segmenters if needs_labels(each)]
    grid = _runs(study, datasets, unlearned, [(None, None)])
    for recipe in recipes_of(study.recipe, study.privacy, f"study {study.name}"):
        level = study.model_copy(update={"recipe": recipe})
        grid += _runs(level, datasets, learning, arms)
    return grid


def _runs(
    study: StudySpec,
    datasets: Sequence[DatasetSpec],
    segmenters: Sequence[SegmenterSpec],
    arms: Sequence[Arm],
) -> list[RunSpec]:
    """Return the runs of some heads on some datasets, with the study's recipe."""
    encoders = _encoders(study)
    found = []
    for dataset, segmenter in product(datasets, segmenters):
        for seed, fraction in places_of(segmenter, study.first_seeds, study.fractions):
            # with all labels there is nothing left for a teacher
            fitting = [arm for arm in arms if fraction < 1 or arm[1] is None]
            for arm, encoder in product(fitting, encoders):
                found.append(_run(study, dataset, segmenter, seed, fraction, arm, encoder))
    return found


def _encoders(study: StudySpec) -> list[tuple[EncoderSpec, Recipe]]:
    return [load_own_recipe(study, entry) for entry in study.encoders]


def _run(
    study: StudySpec,
    dataset: DatasetSpec,
    segmenter: SegmenterSpec,
    seed: int,
    fraction: float,
    arm: Arm,
    encoder_and_recipe: tuple[EncoderSpec, Recipe],
) -> RunSpec:
    """Return one run of the grid."""
    encoder, recipe = encoder_and_recipe
    check_texts(segmenter, encoder)
    content = {
        "encoder": encoder,
        "segmenter": with_queries(segmenter, dataset.classes),
        "dataset": dataset,
        "fraction": fraction,
        "seed": seed,
        "recipe": recipe,
    }
    federation, teacher = arm
    if federation is not None:
        content["federation"] = federation
    if teacher is not None:
        content["pseudo_labels"] = teacher
    if recipe != study.recipe:
        content["study_recipe"] = study.recipe
    return build(RunSpec, content, f"study {study.name}")


def load_own_recipe(study: StudySpec, entry: Entry) -> tuple[EncoderSpec, Recipe]:
    """Return an entry of ``encoders`` and its recipe: the study's with the entry's changes."""
    if isinstance(entry, str) or "recipe" not in entry:
        return load_encoder(entry), study.recipe
    encoder = load_encoder({key: value for key, value in entry.items() if key != "recipe"})
    if not isinstance(entry["recipe"], dict):
        raise InputError(
            f"study {study.name}: the recipe of {encoder.title} must be a mapping, "
            "e.g. {steps: 100}."
        )
    if "privacy" in entry["recipe"]:
        raise InputError(
            f"study {study.name}: the recipe of {encoder.title} has a privacy of its own, which "
            "would compare private with other training. Write privacy into the study."
        )
    content = merge(study.recipe.model_dump(), entry["recipe"])
    return encoder, build(Recipe, content, f"study {study.name}: recipe of {encoder.title}")
