"""``ablate train``: one run."""

import argparse
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from encoder_ablations.data.references import load_dataset
from encoder_ablations.encoders.references import load_encoder
from encoder_ablations.experiments import options
from encoder_ablations.experiments.runs.execution import Execution, follows_training
from encoder_ablations.experiments.runs.folder import discard_last
from encoder_ablations.experiments.runs.fractions import refuse_other_fraction
from encoder_ablations.experiments.runs.planned_run import locate
from encoder_ablations.experiments.runs.record import RunRecord
from encoder_ablations.experiments.runs.spec import RunSpec
from encoder_ablations.experiments.runs.trained.config_file import load_config
from encoder_ablations.experiments.studies.study import OUTPUTS
from encoder_ablations.experiments.workers.locks import holding
from encoder_ablations.experiments.zero_labels.grid import SEED, needs_labels
from encoder_ablations.experiments.zero_labels.queries import with_queries
from encoder_ablations.segmenters.references import load_segmenter
from encoder_ablations.utils.config import build, parse_overrides
from encoder_ablations.utils.errors import InputError
from encoder_ablations.utils.progress import Bar
from encoder_ablations.utils.texts import shortened

HERE = "the command line"
RESUMES = True
"""The same command goes on where Ctrl-C has stopped it."""

EXAMPLES = """  ablate train --encoder clip_b16 --dataset camvid recipe.steps=2000
  ablate train --encoder dinov2_b14 --segmenter linear --dataset my_data.yaml encoder.freeze=body
  ablate train --encoder vit_ti16 --dataset mars_terrain encoder.weights=random recipe.overfit=10
  ablate train --config outputs/demo/runs/RUN/config.yaml          repeats a run
  torchrun --nproc_per_node 4 -m encoder_ablations train --encoder …     on four GPUs"""


def main(argv: Sequence[str] | None = None) -> int:
    """See ``ablate train --help``."""
    parser = options.make_parser(
        "train", "Trains one encoder with one head on one dataset.", EXAMPLES
    )
    parser.add_argument(
        "--config", type=Path, help="the config.yaml of a run, instead of the next options"
    )
    parser.add_argument("--encoder", help=options.ENCODER_HELP)
    parser.add_argument("--segmenter", help="a name or a YAML (default mask2former)")
    parser.add_argument(
        "--dataset", help="a name in configs/datasets, or a YAML ('ablate init FOLDER' writes one)"
    )
    parser.add_argument(
        "--fraction", type=float, help="share of the training images, 0..1 (default 1)"
    )
    parser.add_argument("--seed", type=int, help="default 0")
    options.add_overrides(parser, "recipe.steps=5000 encoder.freeze=body")
    options.add_output_option(parser, "outputs/train")
    options.add_training_options(parser)
    arguments = parser.parse_intermixed_args(argv)
    spec = _spec(arguments)
    return _train(spec, arguments.output or OUTPUTS / "train", options.read_training(arguments))


def _spec(arguments: argparse.Namespace) -> RunSpec:
    """Return the run that the options describe.

    Raises:
        InputError: they contradict each other, or do not say enough.
    """
    changes = parse_overrides(arguments.overrides)
    for key in ("fraction", "seed"):
        if getattr(arguments, key) is not None:
            changes[key] = getattr(arguments, key)
    if arguments.config:
        return _saved_spec(arguments, changes)
    if not (arguments.encoder and arguments.dataset):
        raise InputError("say which --encoder and which --dataset, or give a --config.")
    head = arguments.segmenter or "mask2former"
    return _compose(arguments.encoder, head, arguments.dataset, changes)


def _saved_spec(arguments: argparse.Namespace, changes: dict[str, Any]) -> RunSpec:
    """Return the run of a ``config.yaml``, with what was changed on the command line.

    Raises:
        InputError: an option says again what the file says.
    """
    for key in ("encoder", "segmenter", "dataset"):
        if getattr(arguments, key):
            raise InputError(
                f"--config already says which {key}; leave out --{key}, or change it with "
                f"{key}.KEY=VALUE."
            )
    return _without_labels(load_config(arguments.config, changes), changes)


def _compose(encoder: str, segmenter: str, dataset: str, changes: dict[str, Any]) -> RunSpec:
    parts = {
        "encoder": load_encoder(encoder, _settings("encoder", changes), HERE),
        "segmenter": load_segmenter(segmenter, _settings("segmenter", changes), HERE),
        "dataset": load_dataset(dataset, _settings("dataset", changes), HERE),
    }
    return _without_labels(build(RunSpec, parts | changes, HERE), changes)


def _without_labels(spec: RunSpec, changes: dict[str, Any]) -> RunSpec:
    """Return the run with the texts of its head, and without labels if the head needs none.

    Raises:
        InputError: a fraction or seed was asked for that the head does not go with.
    """
    segmenter = with_queries(spec.segmenter, spec.dataset.classes)
    spec = spec.model_copy(update={"segmenter": segmenter})
    if not needs_labels(segmenter):
        for key, only in (("fraction", 0.0), ("seed", SEED)):
            if changes.get(key, only) != only:
                raise InputError(
                    f"{key} {changes[key]}: the head {segmenter.title} needs no labels and has one "
                    f"run, of {key} {only:g}. Leave out --{key}."
                )
        spec = spec.model_copy(update={"fraction": 0.0, "seed": SEED})
    refuse_other_fraction(spec)
    return spec


def _settings(part: str, changes: dict[str, Any]) -> dict[str, Any]:
    """Take the settings of a part of the run out of ``changes``.

    Raises:
        InputError: another part is asked for.
    """
    settings = changes.pop(part, {})
    if not isinstance(settings, dict):
        raise InputError(
            f"{part}={shortened(settings)}: choose another {part} with --{part}, or change this "
            f"one with {part}.KEY=VALUE."
        )
    return settings


def _train(spec: RunSpec, folder: Path, execution: Execution) -> int:
    run = locate([spec], folder)[0]
    if run.problem is not None:
        raise InputError(run.problem)
    print(f"run {spec.run_id}: {run.state}, in {run.folder}")
    record = run.record
    if record is None or record.status != "finished":
        from encoder_ablations.experiments.workers.preflight import check_before_start

        check_before_start([spec], execution)
        with _locked(run.folder):
            record = _execute(spec, run.folder, execution)
    elif not execution.keep_last:
        discard_last(run.folder)
    if record.error is not None:
        print(f"failed: {record.error.text}", file=sys.stderr)
        return 1
    print(f"{record.score}\nrecord: {run.folder / 'record.json'}")
    return 0


def _execute(spec: RunSpec, folder: Path, execution: Execution) -> RunRecord:
    """Compute the run below a progress bar."""
    from encoder_ablations.experiments.runs.run import execute_run

    with Bar(total=spec.steps, unit="step", delay=0, leave=True) as bar:

        def advance(step: int, status: str) -> None:
            bar.update(step - bar.n)
            if follows_training(status):
                bar.tell(status)
            else:
                bar.set_postfix_str(status, refresh=False)

        return execute_run(spec, folder, execution, advance)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold the run's lock; the first of several processes on a run (torchrun) does it for all."""
    if int(os.environ.get("RANK", "0")) != 0:
        yield
        return
    with holding(folder, seconds=2.0) as mine:
        if not mine:
            raise InputError(
                f"another process computes the run in {folder} now; 'ablate status' follows "
                "studies."
            )
        yield
