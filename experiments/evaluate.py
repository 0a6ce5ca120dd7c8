"""``ablate evaluate``: a finished run's checkpoint again, or the results of a whole study per seed."""

import sys
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from encoder_ablations.data.folder import FolderDataset
from encoder_ablations.data.loading import evaluation_items
from encoder_ablations.data.references import load_dataset
from encoder_ablations.engine.checkpoints import load_checkpoint, load_model
from encoder_ablations.engine.devices import make_accelerator
from encoder_ablations.engine.evaluate import evaluate
from encoder_ablations.experiments import options, study_results
from encoder_ablations.experiments.cli import command
from encoder_ablations.experiments.execution import Execution
from encoder_ablations.experiments.reporting.collect import Study, collect
from encoder_ablations.experiments.run import build_model, metrics_record
from encoder_ablations.experiments.run_record import MetricsRecord
from encoder_ablations.experiments.run_spec import RunSpec
from encoder_ablations.utils.config import build, read_yaml
from encoder_ablations.utils.errors import InputError, unknown
from encoder_ablations.utils.files import write_json, write_text

EXAMPLES = """  ablate evaluate outputs/demo
  ablate evaluate outputs/demo --json demo.json --csv demo.csv
  ablate evaluate outputs/demo/runs/RUN --split val
  ablate evaluate outputs/demo/runs/RUN --dataset other.yaml --json scores.json"""


def main(argv: Sequence[str] | None = None) -> int:
    """See ``ablate evaluate --help``."""
    parser = options.make_parser(
        "evaluate", "Evaluates the best checkpoint of a run, or lists a study's results.", EXAMPLES
    )
    parser.add_argument("folder", type=Path, help="folder of a run or of a study")
    parser.add_argument("--split", help="train, val or test (default: the one that the run reported)")
    parser.add_argument("--dataset", help="another dataset with the same number of classes: a name or a YAML")
    parser.add_argument("--json", type=Path, help="also write all metrics (of a run: with the confusion matrix) here")
    parser.add_argument("--csv", type=Path, help="of a study: also write every run, means and deviations here")
    options.add_execution_options(parser)
    arguments = parser.parse_args(argv)
    if (arguments.folder / "runs").is_dir():
        for option in ("split", "dataset"):
            if getattr(arguments, option):
                raise InputError(f"--{option} is for one run; {arguments.folder} is a study. Name one of its runs/.")
        _report_study(collect(arguments.folder), arguments.json, arguments.csv)
        return 0
    if arguments.csv:
        raise InputError(f"--csv is for a study; {arguments.folder} is not one. For a run there is --json.")
    if not (arguments.folder / "config.yaml").exists():
        raise InputError(f"{arguments.folder} is neither a run (config.yaml) nor a study (runs/).")
    _evaluate_run(
        arguments.folder, arguments.split, arguments.dataset, arguments.json, options.read_execution(arguments)
    )
    return 0


def _report_study(study: Study, json: Path | None, table: Path | None) -> None:
    """Prints both tables, and writes what was asked for."""
    print(study_results.text(study))
    for line in study.damaged:
        print(f"left out: {line}", file=sys.stderr)
    if json is not None:
        write_json(json, study_results.as_json(study))
        print(f"wrote {json}")
    if table is not None:
        write_text(table, study_results.as_csv(study))
        print(f"wrote {table}")


def _evaluate_run(
    folder: Path, split: str | None, dataset: str | None, target: Path | None, execution: Execution
) -> None:
    spec = build(RunSpec, read_yaml(folder / "config.yaml"), folder / "config.yaml")
    data = spec.dataset if dataset is None else load_dataset(dataset)
    if len(data.classes) != len(spec.dataset.classes):
        raise InputError(
            f"{data.name} has {len(data.classes)} classes, the run was trained on {len(spec.dataset.classes)}."
        )
    split = split or ("test" if "test" in data.splits else "val")
    if split not in data.splits:
        raise unknown(f"split of {data.name}", split, data.splits)
    accelerator = make_accelerator(execution.device)
    path = folder / "checkpoints" / "best.pt"
    checkpoint = load_checkpoint(path)
    segmenter = build_model(spec.model_copy(update={"encoder": spec.encoder.model_copy(update={"weights": "random"})}))
    load_model(segmenter, checkpoint["model"], path)
    images = FolderDataset(data, split)
    items = evaluation_items(images, list(range(len(images))), spec.recipe.augmentation, workers=execution.workers)
    with tqdm(total=len(images), unit="image", dynamic_ncols=True) as bar:
        result = evaluate(segmenter.to(accelerator.device), items, len(data.classes), accelerator, advance=bar.update)
    scores = metrics_record(result.confusion, data.classes)
    print(_table(scores, f"{spec.run_id}, step {checkpoint['step']}, {data.name} {split}, {len(images)} images"))
    if target is not None:
        write_json(target, {"metrics": scores.model_dump(), "confusion_matrix": result.confusion.counts.tolist()})
        print(f"wrote {target}")


def _table(scores: MetricsRecord, title: str) -> str:
    lines = [title]
    for name, value in scores.model_dump().items():
        if not isinstance(value, dict):
            lines.append(f"  {name:<26}{_percent(value)}")
    lines.append(f"  {'class':<26}{'IoU':>7}{'Dice':>8}")
    for name, iou in scores.per_class_iou.items():
        lines.append(f"  {name:<26}{_percent(iou)} {_percent(scores.per_class_dice[name])}")
    return "\n".join(lines)


def _percent(value: float | None) -> str:
    return "      –" if value is None else f"{100 * value:7.2f}"


if __name__ == "__main__":
    sys.exit(command(main))
