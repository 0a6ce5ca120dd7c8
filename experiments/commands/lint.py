"""``ablate lint``: reads a whole dataset and says what is wrong with it."""

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from encoder_ablations.data.checks.lint import LintReport, lint
from encoder_ablations.data.checks.lint_page import render
from encoder_ablations.data.checks.repair import ABOUT, Repair, repair, require_apart
from encoder_ablations.data.checks.rules import readable
from encoder_ablations.data.datasets.spec import DatasetSpec
from encoder_ablations.data.intake.layouts.recognition import propose
from encoder_ablations.data.references import load_dataset
from encoder_ablations.experiments import options
from encoder_ablations.utils.config import build, find_config, merge, parse_overrides
from encoder_ablations.utils.errors import InputError
from encoder_ablations.utils.files import as_json, together, write_json, write_text
from encoder_ablations.utils.texts import plural

EXAMPLES = """  ablate lint my_data.yaml
  ablate lint camvid --html camvid.html
  ablate lint path/to/folder --json - | jq .counts
  ablate lint my_data.yaml --fix my_data_fixed          a corrected copy; the originals stay as they are
  ablate lint my_data.yaml 'value_map={0: 0, 255: 1}'"""

SHOWN = 8
"""Files that the text names per rule."""


def main(argv: Sequence[str] | None = None) -> int:
    """See ``ablate lint --help``. Returns 2 when training would be wrong, with --fix on the copy."""
    about = (
        "Reads every image and mask of a dataset and says what is wrong. Exit code 2: training would be wrong (with "
        "--fix: even on the corrected copy)."
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
    arguments = parser.parse_intermixed_args(argv)
    spec = _find(arguments.dataset, parse_overrides(arguments.overrides))
    shown = sys.maxsize if arguments.all else SHOWN
    if arguments.fix:
        require_apart(spec, arguments.fix)
    started = time.perf_counter()
    report = _read(spec)
    seconds = time.perf_counter() - started
    if arguments.json == "-":
        print(as_json(report.as_json()), end="")
    else:
        print(describe(report, seconds, shown))
        if arguments.json:
            write_json(arguments.json, report.as_json())
            print(f"findings: {arguments.json}")
    if arguments.html:
        write_text(arguments.html, render(report))
        _say(f"page: {arguments.html}", arguments.json)
    if arguments.fix:
        with together(arguments.fix):
            result = repair(report, arguments.fix, find_config("datasets", arguments.dataset))
            _say(_outcome(result, report, shown), arguments.json)
            report = _read(load_dataset(str(result.config)))
        _say(_about_copy(result, report), arguments.json)
    return 2 if report.counts["error"] else 0


def _read(spec: DatasetSpec) -> LintReport:
    with options.bar(f"reading {spec.name}", "pair") as bar:

        def advance(_done: int, total: int) -> None:
            bar.total = total
            bar.update()

        return lint(spec, advance)


def _find(reference: str, overrides: dict[str, Any]) -> DatasetSpec:
    """A dataset by name or YAML, or a folder that can be used as it is."""
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


def _say(text: str, json_target: str | None) -> None:
    print(text, file=sys.stderr if json_target == "-" else sys.stdout)


def describe(report: LintReport, seconds: float, shown: int) -> str:
    """The report for the terminal: a block per rule, the worst first, and a last line that sums up."""
    pairs = ", ".join(f"{count} {split}" for split, count in report.pairs.items())
    lines = [
        f"{report.spec.name} in {readable(report.spec.folder.resolve())}: {pairs}, read in {seconds:.1f} s",
        "",
    ]
    for rule, found in report.by_rule:
        times = f" ({len(found)}×)" if len(found) > 1 else ""
        lines.append(f"{rule.severity} {rule.code}: {rule.title}{times}")
        for each in found[:shown]:
            where = report.shorten(each.path) or each.split
            lines.append(
                "    " + ": ".join(part for part in (where, readable(each.detail)) if part)
            )
        if len(found) > shown:
            lines.append(f"    … and {len(found) - shown} more (--all)")
        lines.append(
            f"    fix: {rule.fix}{' --fix corrects it or leaves it out.' if rule.corrected else ''}"
        )
    return "\n".join(
        [*lines, "" if report.findings else "nothing to complain about.", verdict(report)]
    ).strip()


def verdict(report: LintReport) -> str:
    """One line: how many of each severity, and what that means."""
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
        f"{result.written} of {plural(len(report.facts), 'pair')} written, {len(result.corrected)} of them corrected; "
        f"{plural(len(result.left_out), 'file')} left out."
    )
    return "\n".join(lines)


def _about_copy(result: Repair, copy: LintReport) -> str:
    """What the copy is worth, and how to go on with it."""
    lines = [f"copy: {result.config}: {verdict(copy)}"]
    if copy.counts["error"]:
        return "\n".join(
            [*lines, f"next: ablate lint {result.config}   says what is left to correct"]
        )
    return "\n".join([*lines, f"next: ablate run STUDY.yaml 'datasets=[{result.config}]'"])
