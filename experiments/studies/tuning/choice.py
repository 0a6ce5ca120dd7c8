"""The choice of values in a cell: trials that are known so far, and the best on validation."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from encoder_ablations.experiments.runs.record import RunRecord
from encoder_ablations.experiments.runs.spec import RunSpec
from encoder_ablations.experiments.runs.tuning.spec import Chosen, HalvingSpec, TuneSpec
from encoder_ablations.experiments.studies.known import Records
from encoder_ablations.experiments.studies.tuning.cells import Cell, trial_runs
from encoder_ablations.experiments.studies.tuning.draws import listed_trials

DIVERGED = "FloatingPointError"
"""The error of a training whose loss was not finite."""


@dataclass
class Progress:
    """How far the choice in a cell is.

    Attributes:
        runs: of all trials that are known so far.
        chosen: setting -> value; None as long as trials are missing, or if all have diverged.
        to_come: a stand-in for each run of a trial that is not known yet. It has as many steps.
    """

    runs: list[RunSpec] = field(default_factory=list)
    chosen: Chosen | None = None
    to_come: list[RunSpec] = field(default_factory=list)

    def is_stuck(self, records: Records) -> bool:
        """Return whether no choice comes although all known trials have ended."""
        return self.chosen is None and all(run.run_id in records for run in self.runs)


def diverged(record: RunRecord) -> bool:
    """Return whether a trial's loss was not finite: a result like others, and the worst."""
    is_trial = record.spec.tuning is not None and record.spec.tuning.role == "trial"
    return is_trial and record.error is not None and record.error.type == DIVERGED


def validation_score(record: RunRecord) -> float | None:
    """Return the main metric of a trial on validation, 0..1; -inf if it has diverged.

    None if it has no result yet, or failed for another reason. Trials are not evaluated on test
    images, so no choice can depend on these.
    """
    if diverged(record):
        return -math.inf
    if record.metrics is None or record.data is None:
        return None
    assert record.data.report_split != "test"
    if record.metrics.main is None:
        return -math.inf
    return record.metrics.main


def trial_score(runs: Sequence[RunSpec], records: Records) -> float | None:
    """Return the mean validation score of a trial's runs; None if one has no result."""
    scores = []
    for run in runs:
        record = records.get(run.run_id)
        score = None
        if record is not None:
            score = validation_score(record)
        if score is None:
            return None
        scores.append(score)
    return sum(scores) / len(scores)


def progress_of(cell: Cell, tune: TuneSpec, records: Records) -> Progress:
    """Return the trials of a cell that are known, and the choice if all have a result.

    Raises:
        InputError: a value is impossible.
    """
    if tune.halving is not None:
        return _halving(cell, tune, tune.halving, records)
    if tune.search == "tpe":
        return _one_by_one(cell, tune, records)
    return _all_at_once(cell, tune, records)


def _all_at_once(cell: Cell, tune: TuneSpec, records: Records) -> Progress:
    progress = Progress()
    trials = listed_trials(tune)
    scores = _scores(cell, tune, trials, records, progress)
    if None not in scores:
        progress.chosen = _best(trials, scores, 1)[0]
    return _settled(progress, scores)


def _scores(
    cell: Cell,
    tune: TuneSpec,
    trials: Sequence[Chosen],
    records: Records,
    progress: Progress,
    divisor: int = 1,
) -> list[float | None]:
    """Return the score of each trial, and add its runs to ``progress``."""
    scores = []
    for trial in trials:
        runs = trial_runs(cell, trial, tune, divisor)
        progress.runs += runs
        scores.append(trial_score(runs, records))
    return scores


def _best(trials: Sequence[Chosen], scores: Sequence[float | None], count: int) -> list[Chosen]:
    """Return the best trials, best first; of equals the one that is listed first."""
    known = [-math.inf if score is None else score for score in scores]
    order = sorted(range(len(trials)), key=lambda place: (-known[place], place))
    return [trials[place] for place in order[:count]]


def _settled(progress: Progress, scores: Sequence[float | None]) -> Progress:
    """Return the progress, without a choice if no trial has learnt anything."""
    if all(score in (None, -math.inf) for score in scores):
        progress.chosen = None
    return progress


def _halving(cell: Cell, tune: TuneSpec, halving: HalvingSpec, records: Records) -> Progress:
    """Return the progress of successive halving (Jamieson & Talwalkar, AISTATS 2016, sec. 3)."""
    progress = Progress()
    trials = listed_trials(tune)
    for left in reversed(range(halving.rounds)):
        scores = _scores(cell, tune, trials, records, progress, halving.factor**left)
        if None in scores:
            progress.to_come = _later_rounds(cell, tune, halving, trials, left)
            return progress
        if left:
            trials = _best(trials, scores, max(1, len(trials) // halving.factor))
    progress.chosen = _best(trials, scores, 1)[0]
    return _settled(progress, scores)


def _later_rounds(
    cell: Cell, tune: TuneSpec, halving: HalvingSpec, trials: Sequence[Chosen], left: int
) -> list[RunSpec]:
    """Return stand-ins for the runs of the ``left`` rounds that follow one with these trials."""
    runs = []
    for later in reversed(range(left)):
        trials = trials[: max(1, len(trials) // halving.factor)]
        for trial in trials:
            runs += trial_runs(cell, trial, tune, halving.factor**later)
    return runs


def _one_by_one(cell: Cell, tune: TuneSpec, records: Records) -> Progress:
    """Return the progress of TPE: each trial after the first ones is chosen by those before."""
    # not above: most studies do without Optuna
    from encoder_ablations.experiments.studies.tuning.tpe import next_trial

    progress = Progress()
    trials = listed_trials(tune)
    scores = _scores(cell, tune, trials, records, progress)
    while None not in scores and len(trials) < tune.number:
        trials.append(next_trial(tune, trials, scores))
        scores += _scores(cell, tune, trials[-1:], records, progress)
    progress.to_come = trial_runs(cell, trials[0], tune) * (tune.number - len(trials))
    if None not in scores:
        progress.chosen = _best(trials, scores, 1)[0]
    return _settled(progress, scores)
