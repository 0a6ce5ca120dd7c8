"""``ablate status``: how far a study is, also while other processes and machines compute it."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from encoder_ablations.experiments import options
from encoder_ablations.experiments.cli import LEFT_OUT
from encoder_ablations.experiments.runs.planned_run import PlannedRun
from encoder_ablations.experiments.studies.located import Located
from encoder_ablations.experiments.studies.plan_table import Standing, training_left
from encoder_ablations.experiments.studies.rounds import locate_known
from encoder_ablations.experiments.studies.saved_study import read_study, study_file
from encoder_ablations.experiments.studies.study import OUTPUTS, StudySpec, load_study_spec
from encoder_ablations.experiments.studies.time_left import seconds_left
from encoder_ablations.experiments.studies.watching.loop import only_watching, watch
from encoder_ablations.experiments.studies.watching.table import live_table
from encoder_ablations.experiments.studies.watching.terminal import Live
from encoder_ablations.experiments.workers.progress import read_progress
from encoder_ablations.experiments.workers.slurm.standing import jobs_of
from encoder_ablations.segmenters.references import load_segmenter
from encoder_ablations.segmenters.spec import SegmenterSpec
from encoder_ablations.utils import garbage
from encoder_ablations.utils.errors import InputError
from encoder_ablations.utils.texts import duration, plural

EXAMPLES = """  ablate status outputs/demo
  ablate status my_study.yaml --table
  ablate status outputs/demo --watch"""


def main(argv: Sequence[str] | None = None) -> int:
    """See ``ablate status --help``."""
    parser = options.make_parser(
        "status", "Says which runs of a study are finished, running, failed, left.", EXAMPLES
    )
    parser.add_argument(
        "study", help="the folder of a study, a YAML, or the name of one in configs/studies"
    )
    parser.add_argument("--table", action="store_true", help="also list every run")
    parser.add_argument(
        "--watch",
        action="store_true",
        help="show all runs, and look again every 2 s until the last has ended; Ctrl-C leaves",
    )
    options.add_overrides(parser, "seeds=[0,1]")
    options.add_output_option(parser, "outputs/<study>")
    arguments = parser.parse_intermixed_args(argv)
    study, folder = _find(arguments.study, arguments.overrides, arguments.output)
    load_head: Callable[[Any], SegmenterSpec] = load_segmenter
    if Path(arguments.study).is_dir():
        # what a folder says is resolved: no head need be installed, nor imported, which takes long
        load_head = SegmenterSpec.model_validate

    def look() -> Located:
        with garbage.paused():
            return locate_known(study, folder, load_head)

    garbage.not_at_exit()

    if arguments.watch:
        with only_watching():
            return _watch(study.name, folder, look)
    located = look()
    standing = Standing(located.runs, located.expected)
    if arguments.table:
        print(standing.table())
    print(describe(study.name, folder, standing))
    for line in (*located.stopped, *located.following):
        print(line)
    return _code(standing)


def _code(standing: Standing) -> int:
    if standing.of("unreadable"):
        return LEFT_OUT
    return 0


def _watch(name: str, folder: Path, locate: Callable[[], Located]) -> int:
    """Show the study until it has ended; return the exit code."""
    live = Live()
    code = 0

    def look() -> bool:
        nonlocal code
        located = locate()
        standing = Standing(located.runs, located.expected)
        code, ended = _code(standing), standing.has_ended(located.following)
        above, below = _frame(name, folder, standing)
        line = f"{above[0]}; {below[0]}"
        above, below = live.wrapped(above), live.wrapped([*below, *located.following])
        table = live_table(standing, live.height - len(above) - len(below), live.width)
        live.show([*above, *table, *below], line, last=ended)
        return ended

    watch(look)
    return code


def _frame(name: str, folder: Path, standing: Standing) -> tuple[list[str], list[str]]:
    """Return what stands above and below the table: counts and jobs, and the time left."""
    above = [f"study {name}: {standing.counts()}, in {folder}"]
    jobs = jobs_of(folder, standing.runs)
    if jobs is not None:
        above += jobs.lines()
    return above, [_time_left(standing, jobs is not None and jobs.pending > 0)]


def _find(reference: str, overrides: Sequence[str], output: Path | None) -> tuple[StudySpec, Path]:
    folder = Path(reference)
    if folder.is_dir():
        if not study_file(folder).exists():
            raise InputError(
                f"there is no {study_file(folder)}; name a study's output folder, or its YAML."
            )
        return read_study(folder), folder
    if "/" in reference and not reference.endswith((".yaml", ".yml")):
        raise InputError(
            f"there is no folder {reference}; name a study's output folder, or its YAML."
        )
    study = load_study_spec(reference, overrides)
    return study, output or OUTPUTS / study.name


def describe(name: str, folder: Path, standing: Standing) -> str:
    """Return what ``ablate status`` prints."""
    (counts, *jobs), below = _frame(name, folder, standing)
    lines = [counts]
    lines += map(_running_line, standing.of("running"))
    lines += map(_failed_line, standing.of("failed"))
    lines += [f"  unreadable   {run.problem}" for run in standing.of("unreadable")]
    lines += [*jobs, *below]
    recorded = {path.parent.name for path in folder.glob("runs/*/record.json")}
    others = recorded - {run.folder.name for run in standing.runs}
    if others:
        found = plural(len(others), "further run", "is/are in the folder")
        lines.append(f"{found}, of earlier versions of the study or of other studies")
    return "\n".join(lines)


def _failed_line(run: PlannedRun) -> str:
    assert run.record is not None
    assert run.record.error is not None  # a record that says "failed" has one
    return f"  failed       {run.spec.run_id}: {run.record.error.line}"


def _running_line(run: PlannedRun) -> str:
    progress = read_progress(run.folder, run.spec.run_id)
    if progress is None:
        return f"  running      {run.spec.run_id}: starting"
    if not progress.steps:
        return f"  running      {run.spec.run_id}: {progress.status}"
    line = f"step {progress.step} of {progress.steps}, {progress.status}"
    seconds = _own_seconds(run)
    if seconds is not None:
        line += f", about {duration(seconds)} left"
    return f"  running      {run.spec.run_id}: {line}"


def _own_seconds(run: PlannedRun) -> float | None:
    """Return the seconds that a running run still needs; None if its speed is unknown."""
    if not run.spec.steps:
        return 0.0
    progress = read_progress(run.folder, run.spec.run_id)
    if progress is None or progress.seconds_per_step is None:
        return None
    return (progress.steps - progress.step) * progress.seconds_per_step


def _time_left(standing: Standing, queued: bool) -> str:
    """Return the last line: how long it takes until every run has ended.

    Args:
        standing: the runs.
        queued: whether jobs wait that will compute some of them.
    """
    running, waiting = standing.of("running"), standing.of("not begun", "interrupted")
    waiting += standing.expected
    if queued and not running:
        return f"its jobs wait; {training_left(waiting, standing.speeds)}"
    if not running:
        return _time_without_workers(standing, waiting)
    needed = [_own_seconds(run) for run in running]
    needed += [seconds_left(run, standing.speeds) for run in waiting]
    known = [seconds for seconds in needed if seconds is not None]
    if len(known) < len(needed):
        whose = "it"
        if len(needed) > 1:
            whose = f"{len(needed) - len(known)} of the {len(needed)} runs"
        return f"time left: unknown; nothing like {whose} has finished yet"
    left = duration(max(sum(known) / len(running), *known))
    return f"time left: about {left} with {plural(len(running), 'run', 'at a time')}"


def _time_without_workers(standing: Standing, waiting: Sequence[PlannedRun]) -> str:
    if waiting:
        return f"nobody computes it; {training_left(waiting, standing.speeds)}"
    if standing.of("failed"):
        return "nothing is left to compute; ablate run … --retry-failed repeats what failed"
    return "nothing is left to compute"
