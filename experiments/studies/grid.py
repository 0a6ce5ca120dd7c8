"""Which runs of a study's full grid are wanted: ``include`` and ``exclude``."""

from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import BeforeValidator, model_validator

from encoder_ablations.experiments.runs.spec import RunSpec
from encoder_ablations.utils.config import Config
from encoder_ablations.utils.errors import InputError, nearest
from encoder_ablations.utils.texts import plural


def _listed(value: Any) -> Any:
    return value if value is None or isinstance(value, list | tuple) else (value,)


Names = Annotated[tuple[str, ...] | None, BeforeValidator(_listed)]
Fractions = Annotated[tuple[float, ...] | None, BeforeValidator(_listed)]
Seeds = Annotated[tuple[int, ...] | None, BeforeValidator(_listed)]


class RunFilter(Config):
    """The runs that agree with everything that is said here; of a list any entry will do."""

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

    @model_validator(mode="after")
    def _says_something(self) -> "RunFilter":
        if not any(self._wanted().values()):
            raise ValueError(
                f"says nothing; name at least one of {', '.join(RunFilter.model_fields)}"
            )
        return self

    def _wanted(self) -> dict[str, tuple[Any, ...]]:
        return {
            name: wanted
            for name in RunFilter.model_fields
            if (wanted := getattr(self, name)) is not None
        }

    def matches(self, run: RunSpec) -> bool:
        return all(coordinates(run)[name] in wanted for name, wanted in self._wanted().items())

    def unknown_value(self, runs: Sequence[RunSpec]) -> str | None:
        """The first value that no run has, in words; None if there is none."""
        for name, wanted in self._wanted().items():
            there = list(dict.fromkeys(coordinates(run)[name] for run in runs))
            for value in wanted:
                if value not in there:
                    allowed = [str(each) for each in there]
                    hint = nearest(str(value), allowed)
                    return (
                        f"{name} '{value}' is not in the study.{hint} It has: {', '.join(allowed)}."
                    )
        return None


def coordinates(run: RunSpec) -> dict[str, Any]:
    """Where a run lies in the grid."""
    return {
        "encoder": run.encoder.title,
        "segmenter": str(run.segmenter.name),
        "dataset": run.dataset.name,
        "fraction": run.fraction,
        "seed": run.seed,
    }


def select(
    runs: Sequence[RunSpec], include: Sequence[RunFilter], exclude: Sequence[RunFilter], study: str
) -> list[RunSpec]:
    """The runs that an entry of ``include`` matches (all, if it is empty) and no entry of ``exclude``.

    Raises:
        InputError: an entry that names nothing of the grid, or that the other list takes back; nothing is left.
    """
    for kind, filters in (("include", include), ("exclude", exclude)):
        for position, each in enumerate(filters):
            problem = each.unknown_value(runs)
            if problem is not None:
                raise InputError(f"study {study}: {kind}.{position}: {problem}")
    kept = [run for run in runs if not any(each.matches(run) for each in exclude)]
    for position, each in enumerate(include):
        if not any(each.matches(run) for run in kept):
            raise InputError(
                f"study {study}: exclude takes back all that include.{position} asks for. Change one of them."
            )
    chosen = [run for run in kept if not include or any(each.matches(run) for each in include)]
    if not chosen:
        raise InputError(
            f"study {study}: exclude leaves none of the {plural(len(runs), 'run')}. Make it narrower."
        )
    return chosen
