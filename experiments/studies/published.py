"""Scores from the literature that a study's report shows beside its own."""

from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from encoder_ablations.engine.evaluation.main_metric import MAIN_METRICS
from encoder_ablations.experiments.runs.spec import RunSpec
from encoder_ablations.experiments.studies.grid import RunFilter
from encoder_ablations.utils.config import Config, build, read_yaml
from encoder_ablations.utils.errors import InputError
from encoder_ablations.utils.texts import refuse_unprintable

STUDY_FILE = "study.yaml"
"""In a study's folder: the study with everything resolved."""

Saved = TypeVar("Saved", bound=BaseModel)

Place = tuple[str, str, str, float]
"""Encoder title, segmenter, dataset, fraction."""


class PublishedScore(Config):
    """What somebody else has measured for one encoder of a study."""

    encoder: str
    """Its title, as reports show it."""
    segmenter: str
    """Its name, as reports show it."""
    dataset: str
    """Its name, as reports show it."""
    fraction: float = Field(default=1.0, ge=0, le=1)
    """Share of the training images; 0 for a head that needs no labels."""
    miou: float | None = Field(default=None, le=100, exclude_if=lambda miou: miou is None)
    """Percent."""
    accuracy: float | None = Field(default=None, le=100, exclude_if=lambda share: share is None)
    """Percent, instead of ``miou``, where the task is classification."""
    source: str
    """Who says so, e.g. "Oquab et al., TMLR 2024"."""

    @field_validator("miou", "accuracy")
    @classmethod
    def _is_percent(cls, value: float | None) -> float | None:
        if value is not None and not value > 1:  # no paper reports so little; nan, too
            raise ValueError("is in percent; write 47.3, not 0.473")
        return value

    @field_validator("source")
    @classmethod
    def _is_named(cls, value: str) -> str:
        if not value.strip():
            raise ValueError(
                'names nobody; write who published the score, e.g. "Oquab et al., TMLR 2024"'
            )
        return refuse_unprintable(value)

    @model_validator(mode="after")
    def _has_one_score(self) -> "PublishedScore":
        if (self.miou is None) == (self.accuracy is None):
            raise ValueError("needs miou, or accuracy for classification, and not both")
        return self

    @property
    def percent(self) -> float:
        """The score."""
        value = self.miou
        if value is None:
            value = self.accuracy
        assert value is not None
        return value

    @property
    def place(self) -> Place:
        """What the score is for."""
        return self.encoder, self.segmenter, self.dataset, self.fraction


class _Published(BaseModel):
    """The one part of a study that reports read."""

    model_config = ConfigDict(extra="ignore", frozen=True)
    published: tuple[PublishedScore, ...] = ()


def read_published(folder: Path) -> dict[Place, PublishedScore]:
    """Return the published scores of the study in ``folder``; none if runs lie there without one.

    Raises:
        InputError: the study's file is damaged.
    """
    path = folder / STUDY_FILE
    if not path.exists():
        return {}
    return {score.place: score for score in read_saved(_Published, folder).published}


def read_saved(model: type[Saved], folder: Path) -> Saved:
    """Return the study in ``folder``, or that part of it which ``model`` describes.

    Raises:
        InputError: its file is missing or damaged, and how to go on.
    """
    path = folder / STUDY_FILE
    try:
        return build(model, read_yaml(path), path)
    except InputError as error:
        raise InputError(
            f"{error} This is the study that the folder's runs belong to. Restore the file, or "
            f"write it again with 'ablate run STUDY.yaml --output {folder} --extend'; finished "
            "runs are kept."
        ) from error


def refuse_second(scores: Sequence[PublishedScore]) -> None:
    """Check that every place has one score at most.

    Raises:
        ValueError: two scores for the same place.
    """
    seen: dict[Place, int] = {}
    for position, score in enumerate(scores):
        first = seen.setdefault(score.place, position)
        if first != position:
            where = (
                f"{score.encoder}, {score.segmenter}, {score.dataset}, fraction {score.fraction:g}"
            )
            raise ValueError(
                f"entries {first} and {position} are both for {where}; keep one of them"
            )


def check_published(study: str, scores: Sequence[PublishedScore], runs: Sequence[RunSpec]) -> None:
    """Check that every published score is for something that a study compares.

    Args:
        study: its name.
        scores: from the literature.
        runs: of the study.

    Raises:
        InputError: no run has what a score is for, or it is of another metric.
    """
    metric = MAIN_METRICS[runs[0].dataset.task].key
    for position, score in enumerate(scores):
        where = f"study {study}: published.{position}"
        if getattr(score, metric) is None:
            raise InputError(f"{where}: this study is judged by {metric}; give that, in percent.")
        wanted = score.model_dump(include=set(RunFilter.model_fields))
        problem = RunFilter.model_validate(wanted).unknown_value(runs)
        if problem is not None:
            raise InputError(f"{where}: {problem}")
