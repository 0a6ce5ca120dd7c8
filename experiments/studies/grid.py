"""Which runs of a study's full grid are wanted: ``include`` and ``exclude``."""

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, model_validator

from encoder_ablations.engine.training.federated.spec import FederationSpec
from encoder_ablations.experiments.runs.federated.arms import federation_title
from encoder_ablations.experiments.runs.spec import RunSpec
from encoder_ablations.utils.config import Config
from encoder_ablations.utils.errors import InputError, nearest
from encoder_ablations.utils.texts import plural


def _listed(value: Any) -> Any:
    """Return a single value as a list of one."""
    if isinstance(value, str | float | int):
        return (value,)
    return value


HINTS = dict.fromkeys(("encoders", "segmenters"), " Give one of them a label.")
"""What to do about two entries of one name, by the list that they stand in."""
NO_TEACHER = "none"
"""What is said of a run without pseudo-labels."""
NOT_TUNED = "none"
"""What is said of a run that has the study's own recipe."""
Names = Annotated[tuple[str, ...] | None, BeforeValidator(_listed)]
Fractions = Annotated[tuple[float, ...] | None, BeforeValidator(_listed)]
Seeds = Annotated[tuple[int, ...] | None, BeforeValidator(_listed)]


class RunFilter(Config):
    """The runs that agree with every key given here, or with one value of each list."""

    encoder: Names = None
    """Titles, as reports show them (the label, if there is one)."""
    segmenter: Names = None
    """Names."""
    dataset: Names = None
    """Names."""
    fraction: Fractions = None
    """Fractions that the study lists."""
    seed: Seeds = None
    """Seeds that the study lists."""
    federation: Names = Field(default=None, exclude_if=lambda each: each is None)
    """Titles, as reports show them; "central" for central training."""
    pseudo_labels: Names = Field(default=None, exclude_if=lambda each: each is None)
    """Teachers and thresholds, as ``ablate run --dry-run`` shows them; "none" for runs without."""

    @model_validator(mode="after")
    def _says_something(self) -> "RunFilter":
        if not any(self._wanted().values()):
            raise ValueError(
                f"says nothing; name at least one of {', '.join(RunFilter.model_fields)}"
            )
        return self

    def _wanted(self) -> dict[str, tuple[Any, ...]]:
        given = {name: getattr(self, name) for name in RunFilter.model_fields}
        return {name: wanted for name, wanted in given.items() if wanted is not None}

    def matches(self, run: RunSpec) -> bool:
        """Return whether the run agrees with every key."""
        place = coordinates(run)
        return all(place[name] in wanted for name, wanted in self._wanted().items())

    def unknown_value(self, runs: Sequence[RunSpec]) -> str | None:
        """Say which value no run has; None if there is no such value."""
        for name, wanted in self._wanted().items():
            there = list(dict.fromkeys(coordinates(run)[name] for run in runs))
            unknown = [value for value in wanted if value not in there]
            if unknown:
                names = list(map(str, there))
                hint, known = nearest(str(unknown[0]), names), ", ".join(names)
                return f"{name} '{unknown[0]}' is not in the study.{hint} It has: {known}."
        return None


def coordinates(run: RunSpec) -> dict[str, Any]:
    """Return where a run lies in the grid, by the keys of :class:`RunFilter`."""
    return {
        "encoder": run.encoder.title,
        "segmenter": run.segmenter.title,
        "dataset": run.dataset.name,
        "fraction": run.fraction,
        "seed": run.seed,
        "federation": federation_title(run.federation),
        "pseudo_labels": teacher_title(run),
    }


def federations_of(listed: Sequence[FederationSpec | None]) -> list[FederationSpec | None]:
    """Return the federations of a study, with clients that train alone one by one.

    Args:
        listed: what the study says; None is central training.
    """
    found: list[FederationSpec | None] = []
    for each in listed:
        if each is None:
            found.append(None)
        else:
            found += each.by_client()
    return found


def teacher_title(run: RunSpec) -> str:
    """Return the teacher and the threshold of a run in words, or "none"."""
    if run.pseudo_labels is None:
        return NO_TEACHER
    return run.pseudo_labels.title


def tuning_title(run: RunSpec) -> str:
    """Return how the values of a run's recipe were chosen, in words, or "none"."""
    if run.tuning is None or run.tuning.chosen_by is None:
        return NOT_TUNED
    tune = run.tuning.chosen_by
    digest = hashlib.sha256(tune.model_dump_json().encode()).hexdigest()[:6]
    return f"{tune.number} trials, {digest}"


def place_of(spec: RunSpec) -> str:
    """Return what trials, the runs that follow from them and untuned runs have in common."""
    privacy = None
    if spec.recipe.privacy is not None:
        privacy = spec.recipe.privacy.model_dump_json()
    parts = (
        *(spec.encoder.model_dump_json(), spec.segmenter.model_dump_json()),
        *(spec.dataset.model_dump_json(), spec.fraction, federation_title(spec.federation)),
        *(teacher_title(spec), privacy),
    )
    return repr(parts)


def select(
    runs: Sequence[RunSpec], include: Sequence[RunFilter], exclude: Sequence[RunFilter], study: str
) -> list[RunSpec]:
    """Return the runs that ``include`` asks for and ``exclude`` does not take back.

    An empty ``include`` asks for all of them.

    Raises:
        InputError: an entry names nothing of the grid, ``exclude`` takes back all that an entry of
            ``include`` asks for, or no run is left.
    """
    _check_values(runs, {"include": include, "exclude": exclude}, study)
    kept = [run for run in runs if not _matches_any(run, exclude)]
    for position, each in enumerate(include):
        if not any(map(each.matches, kept)):
            raise InputError(
                f"study {study}: exclude takes back all that include.{position} asks for. "
                "Change one of them."
            )
    if include:
        kept = [run for run in kept if _matches_any(run, include)]
    if not kept:
        count = plural(len(runs), "run")
        raise InputError(
            f"study {study}: exclude leaves none of the {count}. Exclude fewer of them."
        )
    return kept


def _check_values(
    runs: Sequence[RunSpec], filters: Mapping[str, Sequence[RunFilter]], study: str
) -> None:
    """Check that every filter asks for what some run has.

    Raises:
        InputError: a filter asks for a value that no run has.
    """
    for kind, listed in filters.items():
        for position, each in enumerate(listed):
            problem = each.unknown_value(runs)
            if problem is not None:
                raise InputError(f"study {study}: {kind}.{position}: {problem}")


def _matches_any(run: RunSpec, filters: Sequence[RunFilter]) -> bool:
    return any(each.matches(run) for each in filters)


def refuse_twice(study: str, kind: str, names: Sequence[str]) -> None:
    """Check that the entries of a list have different names.

    Raises:
        InputError: two of them have one name.
    """
    for name, count in Counter(names).items():
        if count > 1:
            hint = HINTS.get(kind, "")
            raise InputError(f"study {study}: {kind} lists '{name}' twice.{hint}")
