"""``ablate report``: the report of a study, from its records alone."""

import sys
from collections.abc import Sequence
from pathlib import Path

from encoder_ablations.experiments import options
from encoder_ablations.experiments.cli import command
from encoder_ablations.experiments.reporting.page import write_report

EXAMPLES = """  ablate report outputs/demo"""


def main(argv: Sequence[str] | None = None) -> int:
    """See ``ablate report --help``."""
    parser = options.make_parser("report", "Writes report.html, runs.csv, figures and tables of a study.", EXAMPLES)
    parser.add_argument("study", type=Path, help="folder of a study, e.g. outputs/demo")
    arguments = parser.parse_args(argv)
    files = write_report(arguments.study)
    print(f"{files.ranking}\n\n{files.answer}\n\nreport: {files.page}\nruns:   {files.runs}")
    return 0


if __name__ == "__main__":
    sys.exit(command(main))
