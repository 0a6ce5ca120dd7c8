"""The end of ``ablate run``: a line for everything that is not as it should be."""

import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from encoder_ablations.experiments.cli import LEFT_OUT
from encoder_ablations.experiments.runs.planned_run import PlannedRun
from encoder_ablations.experiments.studies.located import Located
from encoder_ablations.experiments.studies.planning.description import error_lines
from encoder_ablations.experiments.studies.planning.measured import read_plan
from encoder_ablations.experiments.studies.tuning.choice import diverged
from encoder_ablations.experiments.workers.outcome import Outcome
from encoder_ablations.utils.files import write_json
from encoder_ablations.utils.texts import plural

STOPPED = "seeds.json"
"""In a study's folder: why each encoder got no more seeds, where a rule adds them."""


def tell(lines: Sequence[str]) -> None:
    """Print each line."""
    for line in lines:
        print(line)


def conclude(
    folder: Path,
    located: Located,
    outcomes: Sequence[Outcome],
    problems: dict[str, str],
    left_out: Sequence[str],
) -> int:
    """Print a line for everything that is not as it should be.

    Args:
        folder: of the study.
        located: its runs.
        outcomes: what became of those that were to be computed.
        problems: why others could not start: run id -> a line.
        left_out: what the report has named already.

    Returns:
        The exit code: 1 if a run has failed, otherwise 2 if something was left out.
    """
    runs = located.runs
    elsewhere = sum(outcome.state == "elsewhere" for outcome in outcomes)
    if elsewhere:
        what = plural(elsewhere, "run", "is/are being computed by another process")
        print(f"{what}; 'ablate status {folder}' follows.")
    records = [run.record for run in runs if run.record is not None]
    tell(error_lines(records, read_plan(folder)))
    if located.stopped:
        write_json(folder / STOPPED, list(located.stopped))
    tell([*located.stopped, *located.following])
    # the report has named what it leaves out; the others are named here
    unreadable = [run.problem for run in runs if run.problem not in (None, *left_out)]
    unused = [*not_started(problems), *map("unreadable: {}".format, unreadable)]
    failed = [*_failed(runs), *_lost(runs, outcomes)]
    for line in [*unused, *failed]:
        print(line, file=sys.stderr)
    if failed:
        return 1
    if unused or left_out:
        return LEFT_OUT
    return 0


def _failed(runs: Sequence[PlannedRun]) -> list[str]:
    """Return a line for every run that failed, and what to do about them."""
    # the trial of a too large learning rate is a result
    records = [run.record for run in runs if run.record is not None and not diverged(run.record)]
    errors = {record.run_id: record.error for record in records if record.error}
    lines = [f"failed: {run_id}: {error.line}" for run_id, error in errors.items()]
    refused = sum(error.type == "CheckpointError" for error in errors.values())
    if refused:
        which = plural(refused, "run", "has/have a checkpoint that cannot be used")
        lines.append(f"{which}: restore it and say --retry-failed, or delete the run's folder.")
    if len(errors) > refused:
        which = plural(len(errors) - refused, "run")
        lines.append(f"{which} failed; --retry-failed repeats what failed.")
    return lines


def _lost(runs: Sequence[PlannedRun], outcomes: Sequence[Outcome]) -> list[str]:
    """Return a line for each reason why runs have failed before they began, so without a record."""
    without = {run.spec.run_id for run in runs if run.record is None and run.problem is None}
    messages = [
        outcome.message
        for outcome in outcomes
        if outcome.state == "failed" and outcome.run_id in without
    ]
    return [
        f"not computed ({plural(count, 'run')}): {message}. The same command tries again."
        for message, count in Counter(messages).items()
    ]


def not_started(problems: dict[str, str]) -> list[str]:
    """Return a line for each reason why runs could not start: run id -> a line."""
    return [
        f"not started ({plural(count, 'run')}): {text}"
        for text, count in Counter(problems.values()).items()
    ]
