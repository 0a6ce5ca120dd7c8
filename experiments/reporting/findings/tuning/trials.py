"""What trials say: choices, edges, what more trials bring, and who leads with which values."""

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from encoder_ablations.experiments.reporting.findings.groups import RunGroup
from encoder_ablations.experiments.runs.record import RunRecord
from encoder_ablations.experiments.runs.tuning.spec import Chosen, Range, TuneSpec
from encoder_ablations.experiments.stats.expected_best import (
    ExpectedBest,
    expected_best_with_interval,
)
from encoder_ablations.experiments.studies.grid import place_of

EDGE = 0.1
"""Share of a range at each end that counts as its edge."""


@dataclass(frozen=True)
class Trial:
    """One trial of an encoder.

    Attributes:
        values: setting -> value.
        score: mean main metric on validation, 0..1; 0 if a training diverged.
        diverged: whether one did.
        seconds: of training, over all seeds.
    """

    values: Chosen
    score: float
    diverged: bool
    seconds: float


@dataclass(frozen=True, eq=False)
class Tuned:
    """An encoder's trials at one fraction, and what followed.

    Attributes:
        encoder: its title.
        trials: with equal steps: all of them, or the short ones of successive halving.
        spent: training time of all trials, long ones too, in seconds.
        group: the runs with the chosen values.
        untuned: the runs with the study's recipe, where there are any.
    """

    encoder: str
    trials: tuple[Trial, ...]
    spent: float
    group: RunGroup
    untuned: RunGroup | None

    @property
    def tune(self) -> TuneSpec:
        """Return how settings were tuned."""
        tuning = self.group.spec.tuning
        assert tuning is not None  # see tuning()
        assert tuning.chosen_by is not None
        return tuning.chosen_by

    @property
    def chosen(self) -> Chosen:
        """Return setting -> value that was chosen."""
        assert self.group.spec.tuning is not None
        return self.group.spec.tuning.values

    @property
    def best(self) -> float:
        """Return the best validation score of the trials, 0..1."""
        return max(trial.score for trial in self.trials)

    @cached_property
    def expected(self) -> ExpectedBest:
        """Return what to expect of the best of 1, 2, … trials."""
        return expected_best_with_interval(np.array([trial.score for trial in self.trials]))

    @cached_property
    def edges(self) -> dict[str, str]:
        """Return the settings whose chosen value lies at an end: "smallest" or "largest"."""
        found = {name: _end(self.tune, name, value) for name, value in self.chosen.items()}
        return {name: end for name, end in found.items() if end}

    def score_with(self, values: Chosen) -> float | None:
        """Return the validation score of the trial with these values; None if there is none."""
        return next((trial.score for trial in self.trials if trial.values == values), None)


@dataclass(frozen=True, eq=False)
class TunedPlace:
    """Encoders that were tuned and are compared: one dataset, head and fraction."""

    title: str
    fraction: float
    encoders: tuple[Tuned, ...]

    @property
    def settings(self) -> list[str]:
        """Return the settings that were tuned."""
        return list(self.encoders[0].tune.settings)

    @cached_property
    def shared(self) -> list[Chosen]:
        """Return the trials that all encoders have: one recipe for all of them."""
        first, *others = self.encoders
        values = [trial.values for trial in first.trials]
        return [
            each for each in values if all(other.score_with(each) is not None for other in others)
        ]

    def leader_with(self, values: Chosen) -> str:
        """Return the encoder that scores most on validation if all have these values."""
        return max(self.encoders, key=lambda each: each.score_with(values) or 0.0).encoder

    @property
    def leader(self) -> str:
        """Return the encoder that scores most on validation, each with its best trial."""
        return max(self.encoders, key=lambda each: each.best).encoder

    @property
    def own_recipe(self) -> Chosen:
        """Return the values of the tuned settings in the study's recipe."""
        spec = self.encoders[0].group.spec
        recipe = (spec.study_recipe or spec.recipe).model_dump(mode="json")
        pairs = [name.split(".") for name in self.settings]
        return {f"{section}.{key}": recipe[section][key] for section, key in pairs}


@dataclass(frozen=True)
class Part:
    """A part of the values of one setting, and who leads with it.

    Attributes:
        setting: which one.
        values: of the part, in words.
        best: encoder -> best validation score of its trials in this part.
    """

    setting: str
    values: str
    best: dict[str, float]

    @property
    def leader(self) -> str:
        """Return the encoder with the best score."""
        return max(self.best, key=self.best.__getitem__)

    @property
    def lead(self) -> float:
        """Return how much the leader is ahead of the next; NaN if it is alone."""
        ordered = sorted(self.best.values(), reverse=True)
        return ordered[0] - ordered[1] if len(ordered) > 1 else math.nan


def tuning(groups: Sequence[RunGroup], records: Sequence[RunRecord]) -> list[TunedPlace]:
    """Return everything that was tuned, by dataset, head and fraction.

    Args:
        groups: of a study.
        records: of its trials.
    """
    trials: dict[str, list[RunRecord]] = defaultdict(list)
    for record in records:
        trials[place_of(record.spec)].append(record)
    untuned = {place_of(group.spec): group for group in groups if not group.is_tuned}
    found: dict[tuple[str, float], list[Tuned]] = defaultdict(list)
    for group in groups:
        if not group.is_tuned:
            continue
        place = place_of(group.spec)
        one = _tuned(group, trials[place], untuned.get(place))
        if one is not None:
            found[group.setting, group.fraction].append(one)
    return [TunedPlace(*where, tuple(encoders)) for where, encoders in found.items()]


def _tuned(group: RunGroup, records: Sequence[RunRecord], untuned: RunGroup | None) -> Tuned | None:
    """Return the trials of a group's encoder; None if there are none with its settings."""
    tuning = group.spec.tuning
    assert tuning is not None
    records = [each for each in records if _values(each).keys() == tuning.values.keys()]
    if not records:
        return None
    fewest = min(record.spec.recipe.steps for record in records)
    runs: dict[str, list[RunRecord]] = defaultdict(list)
    for record in records:
        if record.spec.recipe.steps == fewest:
            runs[repr(_values(record))].append(record)
    trials = tuple(map(_trial, runs.values()))
    return Tuned(group.encoder, trials, sum(map(_seconds, records)), group, untuned)


def _values(record: RunRecord) -> Chosen:
    assert record.spec.tuning is not None  # that of a trial
    return record.spec.tuning.values


def _trial(records: Sequence[RunRecord]) -> Trial:
    scores = [record.metrics.main or 0.0 for record in records if record.metrics is not None]
    diverged = len(scores) < len(records)
    score = 0.0 if diverged else float(np.mean(scores))
    return Trial(_values(records[0]), score, diverged, sum(map(_seconds, records)))


def _seconds(record: RunRecord) -> float:
    if record.cost is None:
        return 0.0
    return record.cost.train_seconds


def _end(tune: TuneSpec, name: str, value: object) -> str:
    """Return at which end of what was tried a number lies; "" for none, and for other values."""
    values = tune.settings[name]
    if isinstance(value, bool) or not isinstance(value, int | float):
        return ""
    if isinstance(values, Range):
        share = values.share(value)
        return _name_of_end(share <= EDGE, share >= 1 - EDGE)
    numbers = [each for each in values if isinstance(each, int | float)]
    return _name_of_end(value == min(numbers), value == max(numbers))


def _name_of_end(smallest: bool, largest: bool) -> str:
    if smallest:
        return "smallest"
    return "largest" * largest


def sensitivity(place: TunedPlace) -> Iterator[Part]:
    """Yield who leads with each part of the values of each setting."""
    for name in place.settings:
        for words, values in _parts(place, name):
            best = {each.encoder: _best_with(each, name, values) for each in place.encoders}
            yield Part(name, words, {encoder: found for encoder, found in best.items() if found})


def _best_with(tuned: Tuned, name: str, values: Sequence[object]) -> float:
    scores = [trial.score for trial in tuned.trials if trial.values[name] in values]
    return max(scores, default=0.0)


def _parts(place: TunedPlace, name: str) -> Iterator[tuple[str, Sequence[object]]]:
    """Yield the values of a list one by one; those of a range as a lower and an upper half."""
    tried = place.encoders[0].tune.settings[name]
    if not isinstance(tried, Range):
        yield from ((str(value), [value]) for value in tried)
        return
    numbers = {trial.values[name] for each in place.encoders for trial in each.trials}
    middle = tried.at(0.5)
    yield f"up to {middle:g}", [each for each in numbers if float(str(each)) <= middle]
    yield f"above {middle:g}", [each for each in numbers if float(str(each)) > middle]
