"""``ablate lint``: reads a whole dataset and says what is wrong with it."""

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from encoder_ablations.data.checks.image_classes.lint import (
    ClassesReport,
    counted,
    lint_image_classes,
)
from encoder_ablations.data.checks.lint import LintReport, lint
from encoder_ablations.data.checks.lint_page import render
from encoder_ablations.data.checks.repair import ABOUT, Repair, repair, require_apart
from encoder_ablations.data.checks.rules import Finding, Rule
from encoder_ablations.data.datasets.spec import DatasetSpec
from encoder_ablations.data.intake.layouts.recognition import propose
from encoder_ablations.data.references import load_dataset
from encoder_ablations.experiments import options
from encoder_ablations.utils.config import build, find_config, merge, parse_overrides
from encoder_ablations.utils.errors import InputError
from encoder_ablations.utils.files import as_json, together, write_json, write_text
from encoder_ablations.utils.texts import plural, readable

EXAMPLES = """  ablate lint my_data.yaml
  ablate lint camvid --html camvid.html
  ablate lint path/to/folder --json - | jq .counts
  ablate lint my_data.yaml --fix my_data_fixed    a corrected copy; the originals stay as they are
  ablate lint my_data.yaml 'value_map={0: 0, 255: 1}'"""

SHOWN = 8
"""Files that the text names per rule."""


def main(argv: Sequence[str] | None = None) -> int:
    """See ``ablate lint --help``; 2 = training would be wrong, with --fix on the copy."""
    arguments = _parser().parse_intermixed_args(argv)
    spec = _find(arguments.dataset, parse_overrides(arguments.overrides))
    shown = SHOWN
    if arguments.all:
        shown = sys.maxsize
    if spec.task == "classification" and (arguments.fix or arguments.html):
        raise InputError("--fix and --html are for masks; a classification dataset has none.")
    if arguments.fix:
        require_apart(spec, arguments.fix)
    started = time.perf_counter()
    report = _read(spec)
    seconds = time.perf_counter() - started
    # where findings for programs go to stdout, texts for people go to stderr
    say: Callable[[str], object] = print
    if arguments.json == "-":
        say = partial(print, file=sys.stderr)
        print(as_json(report.as_json()), end="")
    else:
        print(describe(report, seconds, shown))
    _write_files(report, arguments.json, arguments.html, say)
    if arguments.fix:
        with together(arguments.fix):
            result = repair(report, arguments.fix, find_config("datasets", arguments.dataset))
            say(_outcome(result, report, shown))
            report = _read(load_dataset(str(result.config)))
        say(_about_copy(result, report))
    if report.counts["error"]:
        return 2
    return 0


def _parser() -> argparse.ArgumentParser:
    about = (
        "Reads every image and mask of a dataset and says what is wrong. Exit code 2: training "
        "would be wrong (with --fix: even on the corrected copy)."
    )
    parser = options.make_parser("lint", about, EXAMPLES)
    parser.add_argument(
        "dataset", help="a name in configs/datasets, a YAML, or a folder of images and masks"
    )
    parser.add_argument(
        "--json", metavar="FILE", help="write the findings for programs; - = to the terminal, alone"
    )
    parser.add_argument(
        "--html", metavar="FILE", type=Path, help="write them as one page that needs nothing else"
    )
    parser.add_argument(
        "--fix",
        metavar="FOLDER",
        type=Path,
        help="write a copy with what can be corrected corrected",
    )
    parser.add_argument(
        "--all", action="store_true", help=f"name every file, not only {SHOWN} for each rule"
    )
    options.add_overrides(parser, "'ignore_ids=[255, 11]'")
    return parser


def _write_files(
    report: LintReport, json_file: str | None, page: Path | None, say: Callable[[str], object]
) -> None:
    if json_file not in (None, "-"):
        write_json(json_file, report.as_json())
        say(f"findings: {json_file}")
    if page is not None:
        write_text(page, render(report))
        say(f"page: {page}")


def _read(spec: DatasetSpec) -> LintReport:
    with options.bar(f"reading {spec.name}", "pair") as bar:

        def advance(_done: int, total: int) -> None:
            bar.total = total
            bar.update()

        if spec.task == "classification":
            return lint_image_classes(spec, advance)
        return lint(spec, advance)


def _find(reference: str, overrides: dict[str, Any]) -> DatasetSpec:
    """Return a dataset by its name or YAML, or a folder that can be used as it is.

    Raises:
        InputError: the folder has to be made a dataset first.
    """
    folder = options.as_folder(reference)
    if folder is None:
        return load_dataset(reference, overrides)
    proposal = propose(folder)
    if not proposal.direct:
        raise InputError(
            f"{folder} ({proposal.layout}; masks: {proposal.kind}) cannot be trained on as it is. "
            f"First make a dataset of it: ablate init {folder}"
        )
    return build(DatasetSpec, merge(proposal.spec.model_dump(mode="json"), overrides), folder)


def describe(report: LintReport, seconds: float, shown: int) -> str:
    """Return the text for the terminal: a block per rule, the worst first, and a summary."""
    pairs = ", ".join(f"{count} {split}" for split, count in report.pairs.items())
    folder = readable(report.spec.folder.resolve())
    lines = [f"{report.spec.name} in {folder}: {pairs}, read in {seconds:.1f} s", ""]
    for rule, found in report.by_rule:
        lines += _block(report, rule, found, shown)
    closing = ""
    if not report.findings:
        closing = "nothing to complain about."
    if isinstance(report, ClassesReport):
        lines.append(counted(report))
    lines += [closing, verdict(report)]
    return "\n".join(lines).strip()


def _block(report: LintReport, rule: Rule, found: Sequence[Finding], shown: int) -> list[str]:
    """Return what a rule is about, the first of its findings, and how to mend them."""
    title = f"{rule.severity} {rule.code}: {rule.title}"
    if len(found) > 1:
        title += f" ({len(found)}×)"
    lines = [title]
    for each in found[:shown]:
        where = report.shorten(each.path) or each.split
        lines.append("    " + ": ".join(filter(None, (where, readable(each.detail)))))
    if len(found) > shown:
        lines.append(f"    … and {len(found) - shown} more (--all)")
    fix = f"    fix: {rule.fix}"
    if rule.corrected:
        fix += " --fix corrects it or leaves it out."
    return [*lines, fix]


def verdict(report: LintReport) -> str:
    """Return one line: how many of each severity, and what that means."""
    counts = ", ".join(plural(count, severity) for severity, count in report.counts.items())
    if report.counts["error"]:
        return f"{counts}. Training would stop or be wrong."
    return f"{counts}. Nothing keeps you from training."


def _outcome(result: Repair, report: LintReport, shown: int) -> str:
    about = result.config.with_name(ABOUT)
    lines = [""]
    for what, found in (("corrected", result.corrected), ("left out", result.left_out)):
        lines += [f"{what} {name}: {readable(why)}" for name, why in list(found.items())[:shown]]
        if len(found) > shown:
            lines.append(f"… and {len(found) - shown} more {what}: {about} names all")
    lines.append(
        f"{result.written} of {plural(len(report.facts), 'pair')} written, "
        f"{len(result.corrected)} of them corrected; "
        f"{plural(len(result.left_out), 'file')} left out."
    )
    return "\n".join(lines)


def _about_copy(result: Repair, copy: LintReport) -> str:
    """Return what the copy is worth, and how to go on with it."""
    following = f"ablate run STUDY.yaml 'datasets=[{result.config}]'"
    if copy.counts["error"]:
        following = f"ablate lint {result.config}   says what is left to correct"
    return f"copy: {result.config}: {verdict(copy)}\nnext: {following}"
