"""``ablate run``: a study from one YAML. It repeats no finished run, and continues others."""

import os
import sys
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path

from encoder_ablations.experiments import options
from encoder_ablations.experiments.cli import LEFT_OUT
from encoder_ablations.experiments.reporting.planned import reported, say_writing
from encoder_ablations.experiments.runs.execution import Execution
from encoder_ablations.experiments.runs.fractions import impossible_fractions
from encoder_ablations.experiments.runs.planned_run import PlannedRun
from encoder_ablations.experiments.studies.conclusion import conclude, not_started, tell
from encoder_ablations.experiments.studies.located import Located
from encoder_ablations.experiments.studies.plan_notes import notes_before_start
from encoder_ablations.experiments.studies.plan_problems import impossible_settings
from encoder_ablations.experiments.studies.plan_refusals import (
    refuse_before_start,
    refuse_client_processes,
)
from encoder_ablations.experiments.studies.plan_table import Standing
from encoder_ablations.experiments.studies.planning.description import summary_lines
from encoder_ablations.experiments.studies.planning.estimates import known_of
from encoder_ablations.experiments.studies.planning.measured import read_plan
from encoder_ablations.experiments.studies.rounds import locate_known
from encoder_ablations.experiments.studies.saved_study import check_same_study, save_study
from encoder_ablations.experiments.studies.study import OUTPUTS, StudySpec, load_study_spec
from encoder_ablations.experiments.study_options import Choices, add_choices, read_choices
from encoder_ablations.experiments.workers.display import Display, Rounds
from encoder_ablations.experiments.workers.job import Job
from encoder_ablations.experiments.workers.locks import is_held
from encoder_ablations.experiments.workers.outcome import Outcome
from encoder_ablations.experiments.workers.progress import clear_up
from encoder_ablations.experiments.workers.ray_cluster import connected, run_on_ray
from encoder_ablations.experiments.workers.slurm.following import run_on_slurm
from encoder_ablations.experiments.workers.slurm.submission import Submitter, require_slurm
from encoder_ablations.utils.errors import InputError
from encoder_ablations.utils.files import ensure_writable
from encoder_ablations.utils.texts import plural

RESUMES = True
"""The same command goes on where Ctrl-C has stopped it."""

EXAMPLES = """  ablate run demo
  ablate run my_study.yaml --dry-run
  ablate run my_study.yaml --device cuda --workers 4 recipe.steps=5000 seeds=[0,1,2,3,4] --extend
  ablate run my_study.yaml --processes 4                       on four GPUs, or shares of the cores
  ablate run my_study.yaml --client-processes 2          two clients of a federated run at a time
  ablate run my_study.yaml --slurm partition=gpu,gres=gpu:1,time=4:00:00    as jobs of SLURM
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
        InputError: the study has changed or has a fault that a plan shows, no run can start, or
            torchrun started this.
    """
    if _torchrun("WORLD_SIZE", 1) > 1 and choices.several_runs:
        raise InputError(
            "torchrun makes each run span its processes; leave out --processes, --ray and --slurm."
        )
    located = locate_known(study, folder)
    refuse_client_processes(study.name, located.runs, choices.execution.client_processes)
    if not choices.extend:
        check_same_study(study, folder)
    refuse_before_start([run.spec for run in _pending(located.runs, choices.retry_failed)])
    if choices.dry_run:
        return _show_plan(study, folder, located, choices)
    # if several processes share each run (torchrun), the first one speaks
    shown = _torchrun("RANK", 0) == 0
    if shown:
        counts = Standing(located.runs, located.expected).counts()
        print(f"study {study.name}: {counts}, in {folder}")
        tell(located.following)
    outcomes, problems = _compute(study, folder, located, choices, shown)
    if not shown:
        return 0
    located = locate_known(study, folder)
    return conclude(folder, located, outcomes, problems, _write_report(folder, located))


def _write_report(folder: Path, located: Located) -> list[str]:
    """Write the report, if a run has ended that it shows; return what it leaves out."""
    if all(run.record is None or run.spec.is_trial for run in located.runs):
        return []
    say_writing()
    from encoder_ablations.experiments.reporting.page.page import report_of

    report = report_of(reported(folder))
    report.announce()
    return report.problems


def _torchrun(variable: str, default: int) -> int:
    """Return a number that torchrun tells each of its processes; ``default`` without it."""
    return int(os.environ.get(variable, default))


def _compute(
    study: StudySpec, folder: Path, located: Located, choices: Choices, shown: bool
) -> tuple[list[Outcome], dict[str, str]]:
    """Compute the runs that are left, and round by round those that follow from their results.

    Returns:
        What became of them, and why others could not start: run id -> a line.

    Raises:
        InputError: no run of the first round can start.
    """
    if shown:
        _clear_up(located.runs, choices.execution.keep_last)
    pending = _pending(located.runs, choices.retry_failed)
    if not pending:
        _save(study, folder, shown)  # its published scores may be new
        return [], {}
    outcomes: list[Outcome] = []
    problems: dict[str, str] = {}
    tried: dict[str, PlannedRun] = {}
    with _cluster(choices):
        while pending:
            startable = _startable(folder, located.runs, pending, choices, problems)
            if startable:
                _save(study, folder, shown)
                rounds = Rounds(list(tried.values()), located.expected)
                outcomes += _execute(startable, choices, shown, rounds)
            elif not tried:
                raise InputError(next(iter(problems.values())))
            tried |= {run.folder.name: run for run in pending}
            located = _next_round(study, folder, located)
            known = _pending(located.runs, choices.retry_failed)
            pending = [run for run in known if run.folder.name not in tried]
            if pending and shown:
                print(f"{plural(len(pending), 'run', 'follows/follow')} from these results")
                tell(located.following)
    return outcomes, problems


def _cluster(choices: Choices) -> AbstractContextManager[object]:
    """Return the connection to a cluster, if one computes the runs.

    Raises:
        InputError: SLURM is asked for, and it or submitit is not here.
    """
    if choices.cluster is not None:
        return connected(choices.cluster)
    if choices.slurm is not None:
        require_slurm()
    return nullcontext()


def _startable(
    folder: Path,
    runs: Sequence[PlannedRun],
    pending: Sequence[PlannedRun],
    choices: Choices,
    problems: dict[str, str],
) -> list[PlannedRun]:
    """Return the runs that can start; why others cannot is added to ``problems``."""
    from encoder_ablations.experiments.workers.preflight import find_problems

    earlier = _usable(folder, runs)
    problems |= find_problems([run.spec for run in pending], _checked_on(choices), earlier)
    startable = [run for run in pending if run.folder.name not in problems]
    if startable:
        ensure_writable(folder)
    return startable


def _next_round(study: StudySpec, folder: Path, located: Located) -> Located:
    """Return what is known now; the first of several processes that share the runs decides."""
    if not located.following:
        return located
    if _torchrun("WORLD_SIZE", 1) == 1:
        return locate_known(study, folder)
    from accelerate.utils import broadcast_object_list

    agreed: list[Located] = [located]
    if _torchrun("RANK", 0) == 0:
        agreed = [locate_known(study, folder)]
    broadcast_object_list(agreed)
    return agreed[0]


def _clear_up(runs: Sequence[PlannedRun], keep_last: bool) -> None:
    """Delete what finished runs no longer need and a crash, or --keep-last, has left."""
    for run in runs:
        if run.state == "finished":
            clear_up(run.folder, keep_last)


def _save(study: StudySpec, folder: Path, shown: bool) -> None:
    """Write the study; of several processes that share the runs the first one does."""
    if shown:
        save_study(study, folder)


def _show_plan(study: StudySpec, folder: Path, located: Located, choices: Choices) -> int:
    """Print the plan as it stands, and which runs could not start.

    Raises:
        InputError: none could.
    """
    standing = Standing(located.runs, located.expected)
    pending = _pending(located.runs, choices.retry_failed)
    specs = [run.spec for run in pending]
    problems = impossible_settings(specs) | impossible_fractions(specs)
    if problems and len(problems) == len(pending):
        raise InputError(next(iter(problems.values())))
    notes = notes_before_start([spec for spec in specs if spec.run_id not in problems])
    print(f"{standing.table()}\n\nstudy {study.name}: {standing.counts()}, in {folder}")
    print(standing.estimate(choices.retry_failed))
    known = known_of(located.runs, read_plan(folder))
    tell(summary_lines([*located.runs, *located.expected], known))
    tell([*located.stopped, *located.following, *notes])
    for line in not_started(problems):
        print(line, file=sys.stderr)
    if problems:
        return LEFT_OUT
    return 0


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
    if choices.cluster is None and choices.slurm is None:
        return choices.execution
    return Execution("cpu")


def _execute(
    pending: list[PlannedRun], choices: Choices, shown: bool, rounds: Rounds
) -> list[Outcome]:
    from encoder_ablations.experiments.workers.worker import compute

    job = Job(compute, choices.execution, choices.retry_failed)
    execute = _executor(choices)
    with Display(pending, shown, rounds) as display:
        execute(pending, job, display)
        return display.outcomes


def _executor(choices: Choices) -> Callable[[Sequence[PlannedRun], Job, Display], None]:
    """Return what computes runs, and shows how they get on."""
    from encoder_ablations.experiments.workers.child_process import slots
    from encoder_ablations.experiments.workers.processes import run_here, run_in_processes

    if choices.cluster is not None:
        return partial(run_on_ray, cluster=choices.cluster)
    if choices.slurm is not None:
        submitter_of = partial(Submitter, choices.slurm, run_here)
        return partial(run_on_slurm, submitter_of=submitter_of, wait=choices.slurm.wait)
    if choices.processes is not None:
        return partial(run_in_processes, places=slots(choices.processes, choices.execution))
    return run_here
