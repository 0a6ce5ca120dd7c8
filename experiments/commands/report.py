"""``ablate report``: the report of a study, from its records alone."""

import sys
from collections.abc import Sequence
from pathlib import Path

from encoder_ablations.experiments import options
from encoder_ablations.experiments.reporting.page.page import ReportFiles, write_report

EXAMPLES = """  ablate report outputs/demo
  ablate report outputs/camvid outputs/voc"""


def main(argv: Sequence[str] | None = None) -> int:
    """See ``ablate report --help``."""
    parser = options.make_parser(
        "report", "Writes report.html, runs.csv, figures and tables of a study.", EXAMPLES
    )
    parser.add_argument("study", type=Path, nargs="+", help="folder of a study, e.g. outputs/demo")
    arguments = parser.parse_args(argv)
    for study in arguments.study:
        announce(write_report(study))
    return 0


def announce(files: ReportFiles) -> None:
    """Print the ranking, the answer and where the report lies."""
    answers = "\n".join(files.headlines)
    print(
        f"\n{files.ranking}\n\n{answers}\n\nreport: {files.page}\ntables: {files.tables[0].parent}"
    )
    for problem in files.problems:
        print(f"left out: {problem}", file=sys.stderr)
