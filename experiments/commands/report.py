"""``ablate report``: the report of a study, from its records alone."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from encoder_ablations.experiments import options
from encoder_ablations.experiments.cli import LEFT_OUT
from encoder_ablations.experiments.reporting.findings.collection import collect
from encoder_ablations.experiments.studies.rounds import following_in

EXAMPLES = """  ablate report outputs/demo
  ablate report outputs/camvid outputs/voc"""


def main(argv: Sequence[str] | None = None) -> int:
    """See ``ablate report --help``."""
    parser = options.make_parser(
        "report", "Writes report.html, runs.csv, figures and tables of a study.", EXAMPLES
    )
    parser.add_argument("study", type=Path, nargs="+", help="folder of a study, e.g. outputs/demo")
    arguments = parser.parse_args(argv)
    code = 0
    for folder in arguments.study:
        # a folder without records is refused before the figures are imported
        study = replace(collect(folder), following=following_in(folder))
        from encoder_ablations.experiments.reporting.page.page import report_of

        report = report_of(study)
        report.announce()
        if report.problems:
            code = LEFT_OUT
    return code
