"""``ablate evaluate``: a finished run's checkpoint again, or a whole study's results per seed."""

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from encoder_ablations.data.datasets.class_map import read_class_map, share_classes
from encoder_ablations.data.datasets.spec import DatasetSpec, Split
from encoder_ablations.data.references import load_dataset
from encoder_ablations.engine.inference.spec import InferenceSpec
from encoder_ablations.experiments import options
from encoder_ablations.experiments.cli import LEFT_OUT
from encoder_ablations.experiments.prediction.chosen_runs import chosen_runs
from encoder_ablations.experiments.prediction.options import (
    add_ensemble_options,
    add_inference_options,
    read_inference,
)
from encoder_ablations.experiments.reporting.findings.collection import collect
from encoder_ablations.experiments.reporting.findings.study import Study
from encoder_ablations.experiments.reporting.page import study_results
from encoder_ablations.experiments.runs.execution import Execution
from encoder_ablations.experiments.runs.folder import CONFIG, folder_name, load_run
from encoder_ablations.experiments.runs.metrics_record import image_classes_record, task_metrics
from encoder_ablations.experiments.runs.record import best_step, load_record
from encoder_ablations.experiments.runs.spec import RunSpec
from encoder_ablations.experiments.runs.tasks import refuse_transfer
from encoder_ablations.experiments.runs.transfer.finished_runs import finished_runs
from encoder_ablations.experiments.runs.transfer.score_table import score_table, transfer_table
from encoder_ablations.utils.config import build, read_yaml
from encoder_ablations.utils.errors import InputError, unknown
from encoder_ablations.utils.files import as_json, write_text
from encoder_ablations.utils.progress import Bar
from encoder_ablations.utils.texts import plural

RESUMES = True
"""The same command goes on where Ctrl-C has stopped it."""

EXAMPLES = """  ablate evaluate outputs/demo
  ablate evaluate outputs/demo --json demo.json
  ablate evaluate outputs/demo/runs/RUN --split val
  ablate evaluate outputs/demo/runs/RUN --dataset other.yaml --class-map shared.yaml
  ablate evaluate outputs/demo/runs/RUN --tta flips=horizontal   what it gains
  ablate evaluate outputs/demo --runs 'vit*100pct'               as one ensemble"""

TERMINAL = Path("-")


def main(argv: Sequence[str] | None = None) -> int:
    """See ``ablate evaluate --help``."""
    arguments = _parser().parse_args(argv)
    _refuse_several_processes()
    _refuse_detectron2(arguments.folder)
    _check_options(arguments)
    execution = options.read_execution(arguments)
    inference = read_inference(arguments)
    if arguments.runs or inference != InferenceSpec():
        return _score_predictions(arguments, inference, execution)
    if arguments.dataset is not None:
        return _evaluate_elsewhere(arguments, execution)
    if (arguments.folder / "runs").is_dir():
        return _report_study(collect(arguments.folder), arguments.json, arguments.csv)
    _evaluate_run(arguments.folder, arguments.split, arguments.json, execution)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = options.make_parser(
        "evaluate", "Evaluates the best checkpoint of a run, or lists a study's results.", EXAMPLES
    )
    parser.add_argument("folder", type=Path, help="folder of a run or of a study")
    parser.add_argument(
        "--split", help="train, val or test (default: the one that the run reported)"
    )
    parser.add_argument(
        "--dataset", help="another dataset, for one run or all of a study: a name or a YAML"
    )
    parser.add_argument(
        "--class-map", type=Path, help="a YAML that says which of its classes mean the same"
    )
    parser.add_argument(
        "--json",
        type=Path,
        help="also write all metrics (of a run: with the confusion matrix) here; "
        "- = to the terminal, alone",
    )
    parser.add_argument(
        "--csv",
        type=Path,
        help="of a study: also write every run, means and deviations here; - = as above",
    )
    add_ensemble_options(parser)
    add_inference_options(parser)
    options.add_execution_options(parser)
    return parser


def _check_options(arguments: argparse.Namespace) -> None:
    """Check that the options fit together, and fit what the folder holds.

    Raises:
        InputError: they do not.
    """
    folder = arguments.folder
    on_own_dataset = arguments.dataset is None
    study = on_own_dataset and (folder / "runs").is_dir()
    run = on_own_dataset and not study
    refusals = {
        "--json - and --csv - cannot share the terminal: write one of them to a file.": (
            arguments.json == arguments.csv == TERMINAL
        ),
        "--class-map compares the run's classes with those of another dataset: add --dataset.": (
            on_own_dataset and arguments.class_map
        ),
        f"--split is for one run; {folder} is a study. Name one of its runs/.": (
            study and arguments.split and not arguments.runs
        ),
        "--dataset goes with neither --runs nor settings of the prediction.": (
            not on_own_dataset and (arguments.runs or read_inference(arguments) != InferenceSpec())
        ),
        f"--csv is for a study; {folder} is not one. For a run there is --json.": (
            run and arguments.csv
        ),
        f"{folder} is neither a run (config.yaml) nor a study (runs/).": (
            run and not (folder / CONFIG).exists()
        ),
    }
    for message, applies in refusals.items():
        if applies:
            raise InputError(message)


def _refuse_several_processes() -> None:
    """Refuse torchrun: each process would count all images again.

    Raises:
        InputError: several processes were started.
    """
    processes = os.environ.get("WORLD_SIZE", "1")
    if processes != "1":
        raise InputError(
            f"ablate evaluate works in one process, but torchrun started {processes} (WORLD_SIZE). "
            "Start it without torchrun."
        )


def _refuse_detectron2(folder: Path) -> None:
    record = load_record(folder)
    if record is not None and record.spec.detectron2 is not None:
        raise InputError(
            f"{folder} was trained in Detectron2; evaluate it there: ablate train-net "
            f"--eval-only … MODEL.WEIGHTS {folder / 'model_best.pth'}"
        )


def _report_study(study: Study, json: Path | None, table: Path | None) -> int:
    """Print both tables, and write what was asked for; return the exit code."""
    say = _voice(json, table)
    say(study_results.text(study))
    options.print_left_out(study.damaged)
    if json is not None:
        _write(json, as_json(study_results.as_json(study)), say)
    if table is not None:
        _write(table, study_results.as_csv(study), say)
    if study.damaged:
        return LEFT_OUT
    return 0


def _voice(*targets: Path | None) -> Callable[[str], None]:
    """Return a printer for people: to stderr where stdout is for programs."""
    if TERMINAL in targets:
        return partial(print, file=sys.stderr)
    return print


def _write(target: Path, content: str, say: Callable[[str], None]) -> None:
    if target == TERMINAL:
        print(content, end="")
    else:
        write_text(target, content)
        say(f"wrote {target}")


def _evaluate_run(
    folder: Path, split: str | None, target: Path | None, execution: Execution
) -> None:
    """Evaluate a run on its own dataset again."""
    from encoder_ablations.experiments.runs.transfer.evaluation import evaluate_checkpoint

    step = best_step(load_run(folder))
    spec = build(RunSpec, read_yaml(folder / CONFIG), folder / CONFIG)
    if spec.run_id != folder_name(folder):
        raise InputError(
            f"{folder / CONFIG} is that of the run {spec.run_id}, and lies in the folder of "
            "another. Rename the folder, or restore the run's own file."
        )
    chosen = _choose_split(spec.dataset, split)
    result = evaluate_checkpoint(folder, spec, spec.dataset, chosen, execution, step=step)
    confusion = result.evaluation.confusion
    scores = task_metrics(spec.dataset.task, confusion, spec.dataset.classes)
    where = f"{spec.dataset.name} {chosen}, {plural(len(result.ids), 'image')}"
    title = f"{spec.run_id}, step {result.step}, {where}"
    say = _voice(target)
    say(score_table(scores, title))
    images = image_classes_record(result.evaluation.image_classes, spec.dataset.image_classes)
    found = {"metrics": scores.model_dump(), "confusion_matrix": confusion.counts.tolist()}
    if images is not None:
        say(score_table(images.metrics, "classes of whole images"))
        found["image_classes"] = images.model_dump()
    if target is not None:
        _write(target, as_json(found), say)


def _score_predictions(
    arguments: argparse.Namespace, inference: InferenceSpec, execution: Execution
) -> int:
    """Score windows, views, ensembles or clean-up, as ``ablate predict`` would use them."""
    from encoder_ablations.engine.devices import computing, make_accelerator
    from encoder_ablations.experiments.prediction.models import make_predictor
    from encoder_ablations.experiments.prediction.scoring import (
        gain_table,
        save_inference_record,
        score,
    )
    from encoder_ablations.utils.environment import describe_environment

    runs = chosen_runs(arguments.folder, arguments.runs)
    split = _choose_split(runs[0].record.spec.dataset, arguments.split)
    device = make_accelerator(execution.device).device
    predictor = make_predictor(runs, inference, device, arguments.weighting)
    with computing(device, "fp32", execution.deterministic):
        environment = describe_environment(str(device))
        progress = partial(Bar, unit="image")
        record = score(runs, predictor, arguments.weighting, split, environment, progress)
    path = save_inference_record(record, arguments.folder)
    say = _voice(arguments.json)
    say(gain_table(record, path))
    if arguments.json is not None:
        _write(arguments.json, as_json(record.model_dump(mode="json")), say)
    return 0


def _evaluate_elsewhere(arguments: argparse.Namespace, execution: Execution) -> int:
    """Evaluate a run, or every finished run of a study, on another dataset.

    Returns:
        The exit code: 2 if a run was left out.
    """
    data = load_dataset(arguments.dataset)
    split = _choose_split(data, arguments.split)
    finished, problems = finished_runs(arguments.folder, data.name)
    refuse_transfer([data, *(run.spec.dataset for _, run in finished)])
    # all class maps are checked before the first run is evaluated
    class_map, source = None, f"--dataset {arguments.dataset}"
    if arguments.class_map is not None:
        class_map, source = read_class_map(arguments.class_map), arguments.class_map
    shared = [
        share_classes(class_map, run.spec.dataset.classes, data.classes, source)
        for _, run in finished
    ]
    from encoder_ablations.engine.training.checkpoints import CheckpointError
    from encoder_ablations.experiments.runs.transfer.evaluation import evaluate_elsewhere

    records = []
    say = _voice(arguments.json)
    for (folder, run), classes in zip(finished, shared, strict=True):
        try:
            record = evaluate_elsewhere(folder, run, data, split, classes, execution)
        except CheckpointError as error:
            problems.append(str(error))
            continue
        records.append(record)
        say(transfer_table(record, folder))
    if not records:
        raise InputError(problems[0])
    options.print_left_out(problems)
    if arguments.json is not None:
        _write(arguments.json, as_json([record.model_dump(mode="json") for record in records]), say)
    if problems:
        return LEFT_OUT
    return 0


def _choose_split(data: DatasetSpec, wanted: str | None) -> Split:
    """Return the split that was asked for, or else the one that is reported.

    Raises:
        InputError: the dataset has no such split.
    """
    by_name: dict[str, Split] = {split: split for split in data.splits}
    if wanted is None:
        return by_name.get("test", "val")
    if wanted not in by_name:
        raise unknown(f"split of {data.name}", wanted, by_name)
    return by_name[wanted]
