"""How settings are tuned, and what a run is for in a study that tunes."""

import math
from contextlib import suppress
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    ConfigDict,
    Discriminator,
    Field,
    JsonValue,
    Tag,
    ValidationError,
    model_validator,
)

from encoder_ablations.engine.recipe_parts import OptimizerSpec, ScheduleSpec
from encoder_ablations.utils.config import Config
from encoder_ablations.utils.errors import nearest

SECTIONS: dict[str, type[Config]] = {"optimizer": OptimizerSpec, "schedule": ScheduleSpec}
"""The parts of a recipe that may be tuned. All else must be equal for all encoders."""
FIXED = ("optimizer.name", "optimizer.settings")
"""Settings in them that may not: values of the others mean something else for another optimiser."""
DIGITS = 3
"""Significant digits of drawn numbers, so that every machine finds the same ones."""


def tunable() -> list[str]:
    """Return the settings that may be tuned, as ``section.name``."""
    names = [f"{part}.{name}" for part, spec in SECTIONS.items() for name in spec.model_fields]
    return [name for name in names if name not in FIXED]


class Range(Config):
    """Numbers from ``from`` to ``to``, both included."""

    model_config = ConfigDict(serialize_by_alias=True, validate_by_alias=True)

    low: float = Field(alias="from")
    """The smallest number."""
    high: float = Field(alias="to")
    """The largest number."""
    log: bool = False
    """Whether numbers are drawn evenly on a logarithmic scale."""

    @model_validator(mode="after")
    def _is_a_range(self) -> "Range":
        if self.low >= self.high:
            raise ValueError(f"from {self.low:g} must be less than to {self.high:g}")
        if self.log and self.low <= 0:
            raise ValueError(f"a logarithmic range must begin above 0, not at {self.low:g}")
        return self

    def at(self, share: float) -> float:
        """Return the number at a share, 0..1, of the range, rounded to 3 digits."""
        if self.log:
            return self.rounded(self.low * math.exp(share * math.log(self.high / self.low)))
        return self.rounded(self.low + share * (self.high - self.low))

    def rounded(self, number: float) -> float:
        """Return a number with 3 significant digits that lies in the range."""
        return min(max(float(f"{number:.{DIGITS}g}"), self.low), self.high)

    def share(self, number: float) -> float:
        """Return where a number lies in the range, 0..1."""
        if self.log:
            return math.log(number / self.low) / math.log(self.high / self.low)
        return (number - self.low) / (self.high - self.low)


def _as_number(value: JsonValue) -> JsonValue:
    """Return the number that a text such as "1e-4" is, which YAML 1.1 does not read as one."""
    if isinstance(value, str):
        with suppress(ValueError):
            return float(value)
    return value


def _several(values: list[JsonValue]) -> list[JsonValue]:
    values = list(map(_as_number, values))
    texts = [repr(value) for value in values]
    if len(values) < 2 or len(set(texts)) < len(values):
        raise ValueError("needs two different values or more, and none of them twice")
    return values


Values = Annotated[list[JsonValue], AfterValidator(_several)]


def _known(settings: dict[str, Any]) -> dict[str, Any]:
    """Refuse settings that do not exist, or that all encoders must have in common."""
    allowed = tunable()
    for name, values in settings.items():
        if name in FIXED:
            raise ValueError(
                f"{name} cannot be tuned, because the other settings mean something else for "
                f"another optimiser. Allowed are {', '.join(allowed)}"
            )
        if name not in allowed:
            hint = nearest(name, allowed)
            raise ValueError(
                f"{name} cannot be tuned.{hint} Allowed are {', '.join(allowed)}; everything else "
                "must be the same for all encoders"
            )
        _refuse_impossible(name, values)
    return settings


def _refuse_impossible(name: str, values: Range | list[JsonValue]) -> None:
    """Refuse values that the setting cannot have, whatever the other settings are."""
    section, _, key = name.partition(".")
    tried: list[JsonValue] = [values.low, values.high] if isinstance(values, Range) else values
    for value in tried:
        try:
            SECTIONS[section].model_validate({key: value})
        except ValidationError as error:
            problems = [each["msg"] for each in error.errors() if each["loc"][:1] == (key,)]
            if problems:
                message = problems[0].removeprefix("Value error, ")
                message = message[0].lower() + message[1:]
                raise ValueError(f"{name} {value}: {message}") from error


def _kind(value: object) -> str:
    """Return which of the two forms of values is meant, for messages as well."""
    if isinstance(value, dict | Range):
        return "range"
    return "list"


Tried = Annotated[
    Annotated[Range, Tag("range")] | Annotated[Values, Tag("list")], Discriminator(_kind)
]
Settings = Annotated[dict[str, Tried], Field(min_length=1), AfterValidator(_known)]
"""Setting, such as ``optimizer.lr`` -> the values that are tried, or a range."""
Chosen = dict[str, JsonValue]
"""Setting -> value: one trial."""
Place = Literal["encoder", "segmenter", "dataset", "fraction", "federation", "pseudo_labels"]
"""By what choices can be made apart."""
FIRST_SEED = 10_000
"""Seeds from here on are those of trials; a study's own seeds must be smaller."""
MOST_TRIALS = 10_000


def _once(names: tuple[Place, ...]) -> tuple[Place, ...]:
    if len(set(names)) < len(names):
        raise ValueError("names one of them twice")
    return names


class HalvingSpec(Config):
    """Successive halving (Jamieson & Talwalkar, AISTATS 2016): most trials are short.

    In each round the best trials go on to ``factor`` times as many steps, trained anew.
    """

    factor: int = Field(default=3, ge=2)
    """One trial in this many goes on, with this many times as many steps."""
    rounds: int = Field(default=2, ge=2, le=10)
    """The last of which trains as long as the study's recipe says."""


class TuneSpec(Config):
    """The trials that every encoder gets; the best on validation is chosen."""

    settings: Settings
    """Values by setting, such as {optimizer.lr: [1e-4, 1e-3]}, or a range such as {from: 1e-5, to:
    1e-3, log: true}. Settings of ``recipe.optimizer`` and ``recipe.schedule`` may be tuned, but for
    ``optimizer.name`` and ``optimizer.settings``.
    """
    trials: Annotated[int, Field(ge=1, le=MOST_TRIALS)] | None = None
    """Trials of every encoder; null = all combinations of the lists (``search: grid``)."""
    seeds: int = Field(default=1, ge=1, le=1000)
    """Trainings of every trial, with the seeds 10000, 10001, …; their mean counts."""
    per: Annotated[tuple[Place, ...], AfterValidator(_once)] = (
        "encoder",
        "segmenter",
        "dataset",
        "fraction",
    )
    """By what values are chosen apart. What is not named shares a choice: the trial with the best
    mean is taken.
    """
    search: Literal["grid", "random", "sobol", "tpe"] = "grid"
    """Which trials: combinations of the lists; random draws; Sobol' points, which fill the space
    evenly; or Optuna's TPE, which chooses each trial by the results of the ones before.
    """
    halving: HalvingSpec | None = Field(default=None, exclude_if=lambda each: each is None)
    """Short trials first, such as {factor: 3, rounds: 2}; null = all trials have all steps."""
    seed: int = Field(default=0, ge=0)
    """Of the draw of the trials."""
    untuned: bool = False
    """Whether the study's own recipe is run, too. It is shown beside, and never compared."""

    @property
    def combinations(self) -> int | None:
        """Number of different trials; None with a range, which has any number."""
        lists = [values for values in self.settings.values() if not isinstance(values, Range)]
        if len(lists) < len(self.settings):
            return None
        return math.prod(map(len, lists))

    @property
    def number(self) -> int:
        """Number of trials of every encoder."""
        if self.trials is not None:
            return self.trials
        assert self.combinations is not None  # checked below
        return self.combinations

    @model_validator(mode="after")
    def _has_so_many_trials(self) -> "TuneSpec":
        if self.search == "grid" and self.combinations is None:
            raise ValueError(
                "search: grid needs lists of values; use random, sobol or tpe for ranges"
            )
        if self.trials is None and self.search != "grid":
            raise ValueError(f"search: {self.search} needs trials, such as trials: 8")
        if self.combinations is not None and self.number > self.combinations:
            raise ValueError(
                f"trials {self.number} are more than the {self.combinations} combinations of the "
                "values; list more values, or ask for fewer trials"
            )
        return self

    @model_validator(mode="after")
    def _can_be_halved(self) -> "TuneSpec":
        if self.halving is None:
            return self
        if self.search == "tpe":
            raise ValueError("halving goes with grid, random and sobol, not with tpe")
        least = self.halving.factor ** (self.halving.rounds - 1)
        if self.number < least:
            raise ValueError(
                f"halving by {self.halving.factor} in {self.halving.rounds} rounds needs "
                f"{least} trials or more, and there are {self.number}"
            )
        return self


class TuningRole(Config):
    """What a run is for."""

    role: Literal["trial", "report"]
    """A trial is judged on validation images alone; what is reported has the chosen values."""
    values: Chosen
    """Setting, such as ``optimizer.lr`` -> the value that the recipe has."""
    chosen_by: TuneSpec | None = Field(default=None, exclude_if=lambda each: each is None)
    """How the values of a run that is reported were chosen; null for a trial."""

    @model_validator(mode="after")
    def _says_how(self) -> "TuningRole":
        if (self.role == "report") != (self.chosen_by is not None):
            raise ValueError("chosen_by belongs to role: report, and to that alone")
        return self

    @property
    def title(self) -> str:
        """Return ``trial: lr 0.001, weight_decay 0.05``."""
        kind = {"trial": "trial", "report": "tuned"}[self.role]
        return f"{kind}: {in_words(self.values)}"


def in_words(values: Chosen) -> str:
    """Return ``lr 0.001, weight_decay 0.05``."""
    return ", ".join(f"{name.partition('.')[2]} {value}" for name, value in values.items())
