"""``ablate plan``: how long a study takes, what it needs, and how many seeds show a difference."""

import argparse
import csv
import io
import os
import sys
from collections.abc import Sequence
from itertools import product
from pathlib import Path

from encoder_ablations.experiments import options
from encoder_ablations.experiments.cli import LEFT_OUT
from encoder_ablations.experiments.reporting.findings.collection import collect
from encoder_ablations.experiments.reporting.findings.groups import Setting
from encoder_ablations.experiments.reporting.findings.power import (
    CURVE_SEEDS,
    DIFFERENCES,
    PowerPlan,
    pilot_plans,
    power_lines,
)
from encoder_ablations.experiments.runs.execution import Execution
from encoder_ablations.experiments.runs.fractions import impossible_fractions
from encoder_ablations.experiments.runs.planned_run import PlannedRun
from encoder_ablations.experiments.runs.spec import RunSpec
from encoder_ablations.experiments.stats.power import Spread
from encoder_ablations.experiments.studies.kinds import kinds_of
from encoder_ablations.experiments.studies.plan_problems import impossible_settings
from encoder_ablations.experiments.studies.plan_refusals import refuse_before_start
from encoder_ablations.experiments.studies.planning.budget import (
    proposal_lines,
    proposals,
    read_budget,
    refuse_small,
    smallest_form,
    total,
)
from encoder_ablations.experiments.studies.planning.description import plan_lines
from encoder_ablations.experiments.studies.planning.estimates import Known, known_of
from encoder_ablations.experiments.studies.planning.measured import (
    SavedPlan,
    read_plan,
    write_plan,
)
from encoder_ablations.experiments.studies.rounds import all_runs, locate_known
from encoder_ablations.experiments.studies.seed_rule import SeedRule
from encoder_ablations.experiments.studies.study import OUTPUTS, StudySpec, load_study_spec, plan
from encoder_ablations.utils.errors import InputError
from encoder_ablations.utils.files import ensure_writable, write_text
from encoder_ablations.utils.texts import duration

EXAMPLES = """  ablate plan my_study.yaml
  ablate plan my_study.yaml --device cuda --workers 4 --budget 8h
  ablate plan my_study.yaml --power                    from the finished runs of a pilot
  ablate plan my_study.yaml --power --spread 0.8       with a stated spread, in points"""
ABOUT = """Times some real steps of every encoder and head of a study on this machine, and says how
long the study takes, how much memory and disk it needs, and what it downloads. It trains no run and
downloads nothing. With --power it says how many seeds show a difference between encoders."""


def main(argv: Sequence[str] | None = None) -> int:
    """See ``ablate plan --help``."""
    arguments = _parser().parse_intermixed_args(argv)
    if os.environ.get("WORLD_SIZE", "1") != "1":
        raise InputError("ablate plan works in one process; start it without torchrun.")
    execution = options.read_execution(arguments)
    if not 1 <= arguments.steps <= 1000:
        raise InputError(f"--steps {arguments.steps}: allowed are 1 to 1000.")
    budget = None
    if arguments.budget is not None:
        budget = read_budget(arguments.budget)
    study = load_study_spec(arguments.study, arguments.overrides)
    folder = arguments.output or OUTPUTS / study.name
    if arguments.power:
        return _power(study, folder, arguments)
    return _plan(study, folder, execution, arguments, budget)


def _parser() -> argparse.ArgumentParser:
    parser = options.make_parser("plan", ABOUT, EXAMPLES)
    parser.add_argument("study", help="a YAML, or the name of one in configs/studies")
    parser.add_argument(
        "--budget", metavar="TIME", help="propose what fits into a time such as 8h or 90min"
    )
    parser.add_argument(
        "--steps", type=int, default=10, help="that are timed of each encoder and head (default 10)"
    )
    parser.add_argument(
        "--again", action="store_true", help="measure anew what was measured on this device before"
    )
    parser.add_argument(
        "--power", action="store_true", help="say how many seeds show a difference; time nothing"
    )
    parser.add_argument(
        "--spread",
        type=float,
        metavar="POINTS",
        help="standard deviation of differences between seeds (default: of the finished runs)",
    )
    options.add_overrides(parser, "seeds=[0,1,2,3,4]")
    options.add_output_option(parser, "outputs/<study>")
    options.add_execution_options(parser)
    return parser


def _plan(
    study: StudySpec,
    folder: Path,
    execution: Execution,
    arguments: argparse.Namespace,
    budget: float | None,
) -> int:
    """Measure, write the plan, and print it."""
    located = locate_known(study, folder)
    specs = [run.spec for run in (*located.runs, *located.expected)]
    refuse_before_start(specs)
    problems = impossible_settings(specs) | impossible_fractions(specs)
    runs = [run for run in located.runs if run.spec.run_id not in problems]
    expected = [run for run in located.expected if run.spec.run_id not in problems]
    if not runs:
        raise InputError(next(iter(problems.values())))
    ensure_writable(folder)
    saved, unmeasured = _measured(runs, folder, execution, arguments)
    known = known_of(runs, saved)
    print("\n".join([*plan_lines([*runs, *expected], known), *_most_seeds(study, known)]))
    path = write_plan(saved, folder)
    if budget is not None:
        _print_budget(study, [*runs, *expected], known, budget)
    for title, problem in unmeasured.items():
        print(f"not timed: {title}: {problem}", file=sys.stderr)
    for problem in dict.fromkeys(problems.values()):
        print(f"left out: {problem}", file=sys.stderr)
    print(f"wrote {path}")
    if problems or unmeasured:
        return LEFT_OUT
    return 0


def _measured(
    runs: Sequence[PlannedRun],
    folder: Path,
    execution: Execution,
    arguments: argparse.Namespace,
) -> tuple[SavedPlan, dict[str, str]]:
    """Return the plan with what was measured now and before, and what could not be measured."""
    from encoder_ablations.experiments.studies.planning.timing import measure_kinds, with_seconds

    specs, earlier = [run.spec for run in runs], read_plan(folder)
    kept = None if arguments.again else earlier
    with options.bar("timing", "model", len(kinds_of(specs))) as bar:

        def advance(title: str) -> None:
            bar.set_postfix_str(title)
            bar.update()

        saved, problems = measure_kinds(specs, execution, arguments.steps, kept, advance)
    pending = [run.spec for run in runs if run.state != "finished"]
    return with_seconds(saved, earlier, pending), problems


def _most_seeds(study: StudySpec, known: Known) -> list[str]:
    """Return how long a study takes at most, if a rule adds seeds to the first ones."""
    if not isinstance(study.seeds, SeedRule):
        return []
    most = study.model_copy(update={"seeds": list(range(study.seeds.to))})
    seconds = duration(total(plan(most), known))
    return [f"seeds: {study.seeds.words}; with all of them the study takes about {seconds}"]


def _print_budget(
    study: StudySpec, runs: Sequence[PlannedRun], known: Known, budget: float
) -> None:
    """Print what of the study fits into a budget, with the runs that have finished for free."""
    left = [run.spec for run in runs if run.state != "finished"]
    refuse_small(budget, left, known)
    records = {run.spec.run_id: run.record for run in runs if run.record is not None}
    finished = {run.spec.run_id for run in runs if run.state == "finished"}

    def smaller(fractions: list[float], seeds: list[int]) -> list[RunSpec] | None:
        changed = study.model_copy(update={"fractions": fractions, "seeds": seeds})
        try:
            return [spec for spec in all_runs(changed, records) if spec.run_id not in finished]
        except InputError:  # include or exclude names what is gone
            return None

    needed = total(left, known)
    encoders = len({spec.encoder.title for spec in left})
    comparisons = max(1, encoders * (encoders - 1) // 2)
    found = proposals(left, known, budget, comparisons, smaller)
    smallest = smallest_form(left, known, smaller)
    print("\n".join(proposal_lines(budget, needed, found, smallest)))


def _power(study: StudySpec, folder: Path, arguments: argparse.Namespace) -> int:
    """Print how many seeds show a difference, and write the table and the figure."""
    plans = _power_plans(study, folder, arguments.spread)
    ensure_writable(folder)
    for each in plans:
        print("\n".join(power_lines(each)))
    table, figure = folder / "power.csv", folder / "power.png"
    _write_table(plans, table)
    from encoder_ablations.experiments.reporting.figures.power import draw_power

    draw_power(plans, figure)
    print(f"wrote {table} and {figure}")
    return 0


def _power_plans(study: StudySpec, folder: Path, spread: float | None) -> list[PowerPlan]:
    """Return plans by a stated spread, or by the finished runs of a study's folder.

    Raises:
        InputError: the spread is not above 0, or no runs tell it.
    """
    if spread is None:
        found = pilot_plans(_finished(folder))
        if not found:
            raise InputError(
                f"{folder} holds no two encoders with two shared seeds, so that no spread is "
                "known; finish a pilot study of 2 or 3 seeds, or state one: --spread 0.8"
            )
        return found
    if not 0 < spread <= 100:
        raise InputError(f"--spread {spread:g}: allowed are points above 0, at most 100.")
    encoders = len({spec.encoder.title for spec in plan(study)})
    if encoders < 2:
        raise InputError(f"study {study.name} has one encoder, so that nothing is compared.")
    title = f"study {study.name}, stated spread"
    return [PowerPlan(title, Spread(spread), encoders * (encoders - 1) // 2)]


def _finished(folder: Path) -> Sequence[Setting]:
    """Return the settings of the runs in a folder; none if it has no record."""
    if not any(folder.glob("runs/*/record.json")):
        return []
    return collect(folder).settings


def _write_table(plans: Sequence[PowerPlan], path: Path) -> None:
    """Write the power of 3 to 30 seeds for each difference as CSV."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["setting", "spread_points", "comparisons", "points", "seeds", "power"])
    for each in plans:
        about = [each.title, f"{each.spread.std:.4g}", each.comparisons]
        for points, seeds in product(DIFFERENCES, CURVE_SEEDS):
            writer.writerow([*about, points, seeds, f"{each.power(points, seeds):.4f}"])
    write_text(path, text.getvalue())
