"""``ablate run``: a study from one YAML. Finished runs are never repeated, interrupted ones go on."""

import sys
import time
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from encoder_ablations.experiments import options
from encoder_ablations.experiments.cli import command
from encoder_ablations.experiments.execution import Execution
from encoder_ablations.experiments.preflight import check_before_start
from encoder_ablations.experiments.report import announce
from encoder_ablations.experiments.reporting.page import write_report
from encoder_ablations.experiments.run import execute_run
from encoder_ablations.experiments.run_record import RunRecord
from encoder_ablations.experiments.study import OUTPUTS, PlannedRun, StudySpec, load_study, locate, plan
from encoder_ablations.utils.files import ensure_writable

EXAMPLES = """  ablate run demo
  ablate run configs/studies/camvid_small.yaml
  ablate run my_study.yaml --device cuda --workers 4 recipe.steps=5000 seeds=[0,1,2,3,4]"""


BAR = "{desc}{percentage:3.0f} % of the study |{bar}| {elapsed} gone, about {remaining} left{postfix}"


def main(argv: Sequence[str] | None = None) -> int:
    """See ``ablate run --help``."""
    parser = options.make_parser("run", "Runs a study and writes its report.", EXAMPLES)
    parser.add_argument("study", help="a YAML, or the name of one in configs/studies")
    options.add_overrides(parser, "recipe.steps=5000")
    options.add_output_option(parser, "outputs/<study>")
    options.add_execution_options(parser)
    arguments = parser.parse_intermixed_args(argv)
    study = load_study(arguments.study, arguments.overrides)
    return run_study(study, arguments.output or OUTPUTS / study.name, options.read_execution(arguments))


def run_study(study: StudySpec, folder: Path, execution: Execution) -> int:
    """Runs what is not finished and writes the report. Returns the exit code: 1 if a run failed."""
    runs = locate(plan(study), folder)
    pending = [run for run in runs if run.state != "finished"]
    print(f"study {study.name}: {len(runs)} runs, {len(runs) - len(pending)} finished, in {folder}")
    failed: list[RunRecord] = []
    if pending:
        check_before_start([run.spec for run in pending], execution)
        ensure_writable(folder)
        failed = _execute(pending, execution)
    announce(write_report(folder))
    for record in failed:
        assert record.error is not None
        print(f"failed: {record.run_id}: {record.error.type}: {record.error.message}", file=sys.stderr)
    return 1 if failed else 0


def _execute(pending: list[PlannedRun], execution: Execution) -> list[RunRecord]:
    """Runs one after the other; returns those that failed."""
    failed = []
    steps = sum(run.spec.recipe.steps for run in pending)
    with tqdm(
        total=steps, smoothing=0.05, dynamic_ncols=True, bar_format=BAR, mininterval=options.bar_interval()
    ) as bar:
        for number, run in enumerate(pending, start=1):
            before = bar.n
            bar.set_description(
                f"run {number}/{len(pending)} {run.spec.encoder.title} {run.spec.fraction:.0%} seed {run.spec.seed}"
            )

            def advance(status: str) -> None:
                bar.set_postfix_str(status, refresh=False)
                bar.update()

            began = time.monotonic()
            record = execute_run(run.spec, run.folder, execution, advance)
            bar.update(run.spec.recipe.steps - (bar.n - before))  # steps of an earlier start, or not done
            bar.write(_line(record, time.monotonic() - began))
            if record.status == "failed":
                failed.append(record)
    return failed


def _line(record: RunRecord, seconds: float) -> str:
    if record.error is not None:
        return f"  failed   {record.run_id}: {record.error.message}"
    miou = record.metrics.miou if record.metrics is not None else None
    return f"  {'no labels' if miou is None else f'{100 * miou:5.1f} mIoU'}  {record.run_id}  ({seconds:.0f} s)"


if __name__ == "__main__":
    sys.exit(command(main))
