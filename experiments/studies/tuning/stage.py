"""The stage of a study that tunes: its trials, and the runs with the chosen values."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from encoder_ablations.experiments.runs.spec import RunSpec
from encoder_ablations.experiments.runs.tuning.spec import FIRST_SEED, TuneSpec
from encoder_ablations.experiments.studies.known import Known, Records
from encoder_ablations.experiments.studies.tuning.cells import (
    Key,
    cells_of,
    interleaved,
    key_of,
    tuned_run,
)
from encoder_ablations.experiments.studies.tuning.choice import Progress, progress_of
from encoder_ablations.utils.errors import InputError
from encoder_ablations.utils.texts import plural


class Tuned(Protocol):
    """The part of a study that this stage reads."""

    @property
    def name(self) -> str:
        """Return what messages call the study."""

    @property
    def tune(self) -> TuneSpec | None:
        """Return how it tunes settings."""


def tunes(study: Tuned) -> bool:
    """Return whether a study tunes settings."""
    return study.tune is not None


def with_tuning(study: Tuned, known: Known, records: Records) -> Known:
    """Return the trials that are known, and the runs whose values have been chosen.

    Heads that do not learn by steps have no settings to tune; their runs stay as they are.

    Raises:
        InputError: a value is impossible, or a seed is one of the trials'.
    """
    assert study.tune is not None
    tune = study.tune
    _check_seeds(study.name, known.runs)
    learning = [run for run in known.runs if run.segmenter.learning == "steps"]
    cells = cells_of(learning, tune)
    found = {key: progress_of(cell, tune, records) for key, cell in cells.items()}
    trials = interleaved([progress.runs for progress in found.values()])
    waiting: list[RunSpec] = []
    tuned: list[RunSpec] = []
    for run in known.runs:
        if run.segmenter.learning != "steps":
            tuned.append(run)
            continue
        chosen = found[key_of(run, tune)].chosen
        if chosen is None:
            waiting.append(run)
        else:
            tuned.append(tuned_run(run, chosen, tune))
    untuned = [run for run in learning if tune.untuned]
    following = (*known.following, *_following(trials, waiting, list(found.values()), records))
    expected = _expected(found, waiting, tune, records)
    return Known([*trials, *untuned, *tuned], following, known.stopped, expected)


def _expected(
    cells: Mapping[Key, Progress], waiting: Sequence[RunSpec], tune: TuneSpec, records: Records
) -> tuple[RunSpec, ...]:
    """Return stand-ins for trials and runs that will follow: those of cells that are not stuck."""
    open_cells = {key: each for key, each in cells.items() if not each.is_stuck(records)}
    trials = [run for progress in open_cells.values() for run in progress.to_come]
    # without values: the steps, and so the time, are those of the study's recipe
    runs = [tuned_run(run, {}, tune) for run in waiting if key_of(run, tune) in open_cells]
    return (*trials, *runs)


def _check_seeds(study: str, runs: Sequence[RunSpec]) -> None:
    """Refuse seeds of trials among those of a study.

    Raises:
        InputError: one of them is.
    """
    largest = max(run.seed for run in runs)
    if largest >= FIRST_SEED:
        raise InputError(
            f"study {study}: seeds has {largest}, but seeds from {FIRST_SEED} on are those of "
            "trials (tune), which must differ from the study's. Choose smaller ones."
        )


def _following(
    trials: Sequence[RunSpec],
    waiting: Sequence[RunSpec],
    cells: Sequence[Progress],
    records: Records,
) -> list[str]:
    """Say what follows from the trials; nothing if all choices are made."""
    if not waiting:
        return []
    ended = sum(run.run_id in records for run in trials)
    undecided = sum(progress.chosen is None for progress in cells)
    text = (
        f"Tuning: {ended} of the {len(trials)} trials known so far have ended; "
        f"{plural(len(waiting), 'run')} with chosen values follow."
    )
    if ended == len(trials):
        # no result to come can change this
        text = (
            f"Tuning: {plural(undecided, 'choice')} cannot be made, because trials failed or all "
            f"of them diverged; {plural(len(waiting), 'run')} with chosen values wait for "
            "ablate run … --retry-failed, or for other values."
        )
    return [text]
