"""``ablate run``: a study from one YAML. It repeats no finished run, and continues others."""

import os
import sys
from collections import Counter
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from encoder_ablations.experiments import options
from encoder_ablations.experiments.cli import LEFT_OUT
from encoder_ablations.experiments.runs.execution import Execution
from encoder_ablations.experiments.runs.fractions import impossible_fractions
from encoder_ablations.experiments.runs.planned_run import PlannedRun, locate
from encoder_ablations.experiments.studies.plan_notes import notes_before_start
from encoder_ablations.experiments.studies.plan_problems import impossible_settings
from encoder_ablations.experiments.studies.plan_table import Standing
from encoder_ablations.experiments.studies.saved_study import check_same_study, save_study
from encoder_ablations.experiments.studies.study import OUTPUTS, StudySpec, load_study_spec, plan
from encoder_ablations.experiments.study_options import Choices, add_choices, read_choices
from encoder_ablations.experiments.workers.display import Display
from encoder_ablations.experiments.workers.job import Job
from encoder_ablations.experiments.workers.locks import is_held
from encoder_ablations.experiments.workers.outcome import Outcome
from encoder_ablations.experiments.workers.progress import clear_up
from encoder_ablations.experiments.workers.ray_cluster import connected, run_on_ray
from encoder_ablations.utils.errors import InputError
from encoder_ablations.utils.files import ensure_writable
from encoder_ablations.utils.texts import plural

RESUMES = True
"""The same command goes on where Ctrl-C has stopped it."""

EXAMPLES = """  ablate run demo
  ablate run my_study.yaml --dry-run
  ablate run my_study.yaml --device cuda --workers 4 recipe.steps=5000 seeds=[0,1,2,3,4] --extend
  ablate run my_study.yaml --processes 4                       on four GPUs, or shares of the cores
  ablate run my_study.yaml --ray HOST:6379 --gpus-per-run 1    on a cluster, see docs/cluster.md"""


def main(argv: Sequence[str] | None = None) -> int:
    """See ``ablate run --help``."""
    parser = options.make_parser("run", "Runs a study and writes its report.", EXAMPLES)
    parser.add_argument("study", help="a YAML, or the name of one in configs/studies")
    options.add_overrides(parser, "recipe.steps=5000")
    options.add_output_option(parser, "outputs/<study>")
    options.add_training_options(parser)
    options.add_profile_option(parser)
    add_choices(parser)
    arguments = parser.parse_intermixed_args(argv)
    study = load_study_spec(arguments.study, arguments.overrides)
    return run_study(study, arguments.output or OUTPUTS / study.name, read_choices(arguments))


def run_study(study: StudySpec, folder: Path, choices: Choices) -> int:
    """Run what is left of a study and write the report.

    Returns:
        The exit code: 1 if a run failed; otherwise 2 if a run could not start, or its files cannot
        be used.

    Raises:
        InputError: the study has changed, no run can start, or torchrun started this.
    """
    several = choices.processes is not None or choices.cluster is not None
    if _torchrun("WORLD_SIZE", 1) > 1 and several:
        raise InputError(
            "torchrun makes each run span its processes; leave out --processes and --ray."
        )
    runs = locate(plan(study), folder)
    if not choices.extend:
        check_same_study(study, folder)
    if choices.dry_run:
        return _show_plan(study, folder, runs, choices)
    # if several processes share each run (torchrun), the first one speaks
    shown = _torchrun("RANK", 0) == 0
    if shown:
        print(f"study {study.name}: {Standing(runs).counts()}, in {folder}")
    outcomes, problems = _compute(study, folder, runs, choices, shown)
    if not shown:
        return 0
    return _conclude(folder, locate(plan(study), folder), outcomes, problems)


def _torchrun(variable: str, default: int) -> int:
    """Return a number that torchrun tells each of its processes; ``default`` without it."""
    return int(os.environ.get(variable, default))


def _compute(
    study: StudySpec, folder: Path, runs: Sequence[PlannedRun], choices: Choices, shown: bool
) -> tuple[list[Outcome], dict[str, str]]:
    """Compute the runs that are left.

    Returns:
        What became of them, and why others could not start: run id -> a line.
    """
    from encoder_ablations.experiments.workers.preflight import find_problems

    if shown:
        _clear_up(runs, choices.execution.keep_last)
    pending = _pending(runs, choices.retry_failed)
    if not pending:
        _save(study, folder, shown)  # its published scores may be new
        return [], {}
    cluster: AbstractContextManager[object] = nullcontext()
    if choices.cluster is not None:
        cluster = connected(choices.cluster)
    with cluster:
        earlier = _usable(folder, runs)
        problems = find_problems([run.spec for run in pending], _checked_on(choices), earlier)
        startable = [run for run in pending if run.spec.run_id not in problems]
        if not startable:
            raise InputError(next(iter(problems.values())))
        ensure_writable(folder)
        _save(study, folder, shown)
        return _execute(startable, choices, shown), problems


def _clear_up(runs: Sequence[PlannedRun], keep_last: bool) -> None:
    """Delete what finished runs no longer need and a crash, or --keep-last, has left."""
    for run in runs:
        if run.state == "finished":
            clear_up(run.folder, keep_last)


def _save(study: StudySpec, folder: Path, shown: bool) -> None:
    """Write the study; of several processes that share the runs the first one does."""
    if shown:
        save_study(study, folder)


def _show_plan(study: StudySpec, folder: Path, runs: Sequence[PlannedRun], choices: Choices) -> int:
    """Print the plan as it stands, and which runs could not start.

    Raises:
        InputError: none could.
    """
    standing, pending = Standing(runs), _pending(runs, choices.retry_failed)
    specs = [run.spec for run in pending]
    problems = impossible_settings(specs) | impossible_fractions(specs)
    if problems and len(problems) == len(pending):
        raise InputError(next(iter(problems.values())))
    notes = notes_before_start([spec for spec in specs if spec.run_id not in problems])
    print(f"{standing.table()}\n\nstudy {study.name}: {standing.counts()}, in {folder}")
    print(standing.estimate(choices.retry_failed))
    for note in notes:
        print(note)
    for line in _not_started(problems):
        print(line, file=sys.stderr)
    if problems:
        return LEFT_OUT
    return 0


def _not_started(problems: dict[str, str]) -> list[str]:
    return [
        f"not started ({plural(count, 'run')}): {text}"
        for text, count in Counter(problems.values()).items()
    ]


def _pending(runs: Sequence[PlannedRun], retry_failed: bool) -> list[PlannedRun]:
    """Return what is to be computed; runs that another process seems to compute come last."""
    states = {"not begun", "interrupted"}
    if retry_failed:
        states.add("failed")
    return sorted((run for run in runs if run.state in states), key=lambda run: is_held(run.folder))


def _usable(folder: Path, runs: Sequence[PlannedRun]) -> list[Path]:
    """Return the folders of the readable runs, which new ones will be compared with."""
    refused = {run.folder.name for run in runs if run.problem is not None}
    return [path for path in sorted(folder.glob("runs/*")) if path.name not in refused]


def _checked_on(choices: Choices) -> Execution:
    """Return what runs are checked with: who hands them to a cluster needs no GPU."""
    if choices.cluster is None:
        return choices.execution
    return Execution("cpu")


def _execute(pending: list[PlannedRun], choices: Choices, shown: bool) -> list[Outcome]:
    from encoder_ablations.experiments.workers.processes import run_here, run_in_processes, slots
    from encoder_ablations.experiments.workers.worker import compute

    job = Job(compute, choices.execution, choices.retry_failed)
    with Display(pending, shown) as display:
        if choices.cluster is not None:
            run_on_ray(pending, job, display, choices.cluster)
        elif choices.processes is not None:
            run_in_processes(pending, job, display, slots(choices.processes, choices.execution))
        else:
            run_here(pending, job, display)
        return display.outcomes


def _conclude(
    folder: Path, runs: Sequence[PlannedRun], outcomes: Sequence[Outcome], problems: dict[str, str]
) -> int:
    """Write the report, and a line for everything that is not as it should be.

    Returns:
        The exit code: 1 if a run has failed, otherwise 2 if something was left out.
    """
    left_out: list[str] = []
    if any(run.record is not None for run in runs):
        from encoder_ablations.experiments.reporting.page.page import write_report

        report = write_report(folder)
        report.announce()
        left_out = report.problems
    elsewhere = sum(outcome.state == "elsewhere" for outcome in outcomes)
    if elsewhere:
        what = plural(elsewhere, "run", "is/are being computed by another process")
        print(f"{what}; 'ablate status {folder}' follows.")
    # the report has named what it leaves out; the others are named here
    unreadable = [run.problem for run in runs if run.problem not in (None, *left_out)]
    unused = [*_not_started(problems), *map("unreadable: {}".format, unreadable)]
    failed = _failed(runs)
    for line in [*unused, *failed]:
        print(line, file=sys.stderr)
    if failed:
        return 1
    if unused or left_out:
        return LEFT_OUT
    return 0


def _failed(runs: Sequence[PlannedRun]) -> list[str]:
    """Return a line for every run that failed, and what to do about them."""
    records = [run.record for run in runs if run.record is not None]
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
