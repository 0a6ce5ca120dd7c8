"""``ablate lr-find``: the learning-rate range test for the encoders of a study."""

import argparse
import csv
import io
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from encoder_ablations.experiments import options
from encoder_ablations.experiments.runs.execution import Execution
from encoder_ablations.experiments.runs.spec import RunSpec
from encoder_ablations.experiments.studies.study import OUTPUTS, load_study_spec, plan
from encoder_ablations.utils.errors import InputError, unknown
from encoder_ablations.utils.files import ensure_writable, write_text
from encoder_ablations.utils.texts import plural

if TYPE_CHECKING:
    from encoder_ablations.engine.training.lr_range import RangeSettings, RangeTest

EXAMPLES = """  ablate lr-find camvid_small
  ablate lr-find my_study.yaml --encoder dinov2_b14 --device cuda --workers 4
  ablate lr-find my_study.yaml --steps 200 --low 1e-6 --high 1 recipe.optimizer.name=sgd …"""
COLUMNS = ("encoder", "lr", "loss", "smoothed")
FAIR, DOUBTFUL = 3.0, 10.0
"""Largest ratio of suggestions up to which one rate suits all encoders, and up to which it may."""


def main(argv: Sequence[str] | None = None) -> int:
    """See ``ablate lr-find --help``."""
    arguments = _parser().parse_intermixed_args(argv)
    if os.environ.get("WORLD_SIZE", "1") != "1":
        raise InputError("ablate lr-find works in one process; start it without torchrun.")
    _check_rates(arguments)
    execution = options.read_execution(arguments)
    study = load_study_spec(arguments.study, arguments.overrides)
    specs = chosen(plan(study), arguments.encoder, arguments.segmenter)
    folder = ensure_writable(arguments.output or OUTPUTS / "lr_find" / study.name)
    return _find(specs, arguments, execution, folder)


def _parser() -> argparse.ArgumentParser:
    parser = options.make_parser(
        "lr-find",
        "Trains every encoder of a study for some steps while the learning rate grows, and "
        "suggests a rate for each. It writes a CSV and a figure; no run of the study changes.",
        EXAMPLES,
    )
    parser.add_argument("study", help="a YAML, or the name of one in configs/studies")
    parser.add_argument("--encoder", help="only this encoder of the study (default: all)")
    parser.add_argument("--segmenter", help="this head of the study (default: its first)")
    parser.add_argument("--steps", type=int, default=100, help="of each test (default 100)")
    parser.add_argument("--low", type=float, default=1e-7, help="the first rate (default 1e-7)")
    parser.add_argument("--high", type=float, default=10.0, help="the last rate (default 10)")
    options.add_overrides(parser, "recipe.batch_size=8")
    options.add_output_option(parser, "outputs/lr_find/<study>")
    options.add_execution_options(parser)
    return parser


def _check_rates(arguments: argparse.Namespace) -> None:
    """Check the numbers of the options.

    Raises:
        InputError: there are too few steps, or the rates do not grow.
    """
    if not 20 <= arguments.steps <= 10000:
        raise InputError(f"--steps {arguments.steps}: allowed are 20 to 10000.")
    if not 0 < arguments.low < arguments.high <= 1e6:
        raise InputError(
            f"--low {arguments.low:g} --high {arguments.high:g}: the rates must grow, from more "
            "than 0 to at most 1e6."
        )


def chosen(specs: Sequence[RunSpec], encoder: str | None, segmenter: str | None) -> list[RunSpec]:
    """Return one run for each encoder with a head: of the first seed, with the most images.

    Args:
        specs: all runs of a study.
        encoder: the only one that counts; None = all.
        segmenter: the head; None = the first one.

    Raises:
        InputError: the study has no such encoder or head.
    """
    _check_name("encoder", encoder, [spec.encoder.title for spec in specs])
    _check_name("segmenter", segmenter, [spec.segmenter.title for spec in specs])
    if encoder is not None:
        specs = [spec for spec in specs if spec.encoder.title == encoder]
    head = segmenter or specs[0].segmenter.title
    with_head = [spec for spec in specs if spec.segmenter.title == head]
    if not with_head:
        raise InputError(f"the study has no run of {encoder} with {head}.")
    found: dict[str, RunSpec] = {}
    for spec in with_head:
        best = found.setdefault(spec.encoder.title, spec)
        if spec.fraction > best.fraction:
            found[spec.encoder.title] = spec
    return list(found.values())


def _check_name(kind: str, name: str | None, allowed: Sequence[str]) -> None:
    """Check that an option, if it is given, names what the study has."""
    if name is not None and name not in allowed:
        raise unknown(f"{kind} of the study", name, dict.fromkeys(allowed))


def _find(
    specs: Sequence[RunSpec], arguments: argparse.Namespace, execution: Execution, folder: Path
) -> int:
    """Test every run's model, write both files, and print what to make of them."""
    from encoder_ablations.engine.training.lr_range import RangeSettings
    from encoder_ablations.experiments.reporting.figures.lr_range import draw_range_tests

    settings = RangeSettings(arguments.low, arguments.high, arguments.steps)
    print(
        f"head {specs[0].segmenter.title}, dataset {specs[0].dataset.name}, "
        f"{specs[0].fraction:.0%} of the images, seed {specs[0].seed}"
    )
    tests: dict[str, RangeTest] = {}
    for spec in specs:
        with options.bar(spec.encoder.title, "step", settings.steps) as bar:
            tests[spec.encoder.title] = _test(spec, execution, settings, bar.update)
    empty = [title for title, test in tests.items() if not test.rates]
    if empty:
        raise InputError(
            f"the loss of {', '.join(empty)} is not finite at the first step; look at the data "
            "with ablate lint."
        )
    rates = {spec.encoder.title: spec.recipe.optimizer.lr for spec in specs}
    print("\n".join([*_table(tests, rates), verdict(tests)]))
    _write_csv(tests, folder / "lr_find.csv")
    draw_range_tests(tests, specs[0].recipe.optimizer.lr, folder / "lr_find.png")
    print(f"wrote {folder / 'lr_find.csv'} and {folder / 'lr_find.png'}")
    return 0


def _test(
    spec: RunSpec, execution: Execution, settings: "RangeSettings", advance: Callable[[], object]
) -> "RangeTest":
    """Return the test of a run's model with its initial weights, on its training images."""
    from encoder_ablations.engine.devices import computing, make_accelerator
    from encoder_ablations.engine.training.data import TrainingData
    from encoder_ablations.engine.training.lr_range import range_test
    from encoder_ablations.experiments.runs.batch_norm import prepare_statistics
    from encoder_ablations.experiments.runs.model import build_model
    from encoder_ablations.experiments.runs.preparation import prepare_data

    accelerator = make_accelerator(execution.device)
    execution = execution.on(accelerator.device.type)
    with computing(accelerator.device, spec.recipe.precision, execution.deterministic):
        data = prepare_data(spec)
        train, val = data.train, data.val
        segmenter = build_model(spec, data.record.class_pixels)
        part = (train.samples, train.indices)
        prepare_statistics(segmenter, spec, part, accelerator, execution.loaders)
        return range_test(
            segmenter,
            TrainingData(
                spec.dataset,
                train.samples,
                train.indices,
                val.samples,
                val.indices,
                data.record.class_pixels,
            ),
            spec.recipe,
            spec.seed,
            accelerator,
            settings,
            execution.loaders,
            execution.store(),
            advance,
        )


def _table(tests: Mapping[str, "RangeTest"], rates: Mapping[str, float]) -> list[str]:
    """Return a line for every encoder, below a header.

    Args:
        tests: encoder -> its test.
        rates: encoder -> the recipe's learning rate.
    """
    rows = [["encoder", "suggestion", "steepest", "minimum / 10", "in the recipe"]]
    for title, test in tests.items():
        numbers = (test.suggestion, test.steepest, test.below_minimum, rates[title])
        rows.append([title, *map(_rate, numbers)])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]


def _rate(rate: float | None) -> str:
    if rate is None:
        return "none"
    return f"{rate:.1e}"


def verdict(tests: Mapping[str, "RangeTest"]) -> str:
    """Say whether one learning rate is fair to all encoders."""
    fell = {title: test.suggestion for title, test in tests.items() if test.suggestion is not None}
    flat = [title for title in tests if title not in fell]
    if flat:
        return (
            f"The loss of {', '.join(flat)} never fell: no rate can be suggested. Try other rates "
            "(--low, --high) or more steps (--steps)."
        )
    if len(fell) == 1:
        return "Rates are of everything but the encoder's body (recipe.optimizer.lr)."
    low, high = min(fell, key=fell.__getitem__), max(fell, key=fell.__getitem__)
    ratio = fell[high] / fell[low]
    found = f"The suggestions for {plural(len(fell), 'encoder')} differ by up to {ratio:.1f} times"
    if ratio <= FAIR:
        return f"{found}: one learning rate for all is fair."
    ends = f"({low} {fell[low]:.1e}, {high} {fell[high]:.1e})"
    if ratio <= DOUBTFUL:
        return f"{found} {ends}: one learning rate for all may favour some of them."
    return (
        f"{found} {ends}: one learning rate for all is not fair. Give each encoder its own "
        "(a recipe in its entry of the study), chosen on validation images with equal effort."
    )


def _write_csv(tests: Mapping[str, "RangeTest"], path: Path) -> None:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for title, test in tests.items():
        for row in zip(test.rates, test.losses, test.smoothed, strict=True):
            writer.writerow([title, *row])
    write_text(path, text.getvalue())
