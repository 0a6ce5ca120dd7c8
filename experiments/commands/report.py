"""``ablate report``: the report of a study, from its records alone."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from encoder_ablations.experiments import options
from encoder_ablations.experiments.cli import LEFT_OUT
from encoder_ablations.experiments.reporting.planned import reported, say_writing
from encoder_ablations.experiments.studies.located import Located
from encoder_ablations.experiments.studies.rounds import locate_known
from encoder_ablations.experiments.studies.saved_study import read_study
from encoder_ablations.experiments.studies.watching.loop import only_watching, watch
from encoder_ablations.experiments.studies.watching.report import WatchedReport
from encoder_ablations.segmenters.spec import SegmenterSpec
from encoder_ablations.utils import garbage
from encoder_ablations.utils.errors import InputError

if TYPE_CHECKING:
    from encoder_ablations.experiments.reporting.page.report_files import ReportFiles

EVERY = 30
"""Seconds between two reports of a study that runs, at least: drawing them takes time."""

EXAMPLES = """  ablate report outputs/demo
  ablate report outputs/camvid outputs/voc
  ablate report outputs/camvid --watch"""


def main(argv: Sequence[str] | None = None) -> int:
    """See ``ablate report --help``."""
    parser = options.make_parser(
        "report", "Writes report.html, runs.csv, figures and tables of a study.", EXAMPLES
    )
    parser.add_argument("study", type=Path, nargs="+", help="folder of a study, e.g. outputs/demo")
    parser.add_argument(
        "--watch",
        action="store_true",
        help="write the report again when runs end, until the last has; the page reloads itself",
    )
    parser.add_argument(
        "--every", type=int, metavar="N", help=f"with --watch: at most every N s (default {EVERY})"
    )
    arguments = parser.parse_args(argv)
    garbage.not_at_exit()
    if arguments.watch:
        with only_watching():
            return _watch(arguments.study, arguments.every)
    if arguments.every is not None:
        raise InputError("--every says how often --watch writes; add --watch.")
    code = 0
    for folder in arguments.study:
        report = _write(folder)
        report.announce()
        if report.problems:
            code = LEFT_OUT
    return code


def _write(folder: Path, refresh: int | None = None) -> "ReportFiles":
    """Write the report of a folder; its page reloads itself every ``refresh`` seconds."""
    with garbage.paused():
        # a folder without records is refused before the figures are imported
        study = reported(folder, refresh)
        say_writing()
        from encoder_ablations.experiments.reporting.page.page import report_of

        return report_of(study)


def _watch(folders: Sequence[Path], every: int | None) -> int:
    """Write the report of a study whenever its records change, until it has ended.

    Returns:
        The exit code.

    Raises:
        InputError: these are several folders, or none of a study.
    """
    if len(folders) > 1:
        raise InputError("--watch follows one study; name one folder.")
    (folder,) = folders
    if every is None:
        every = EVERY
    if every < 1:
        raise InputError(f"--every {every}: allowed are 1 and more seconds.")
    study = read_study(folder)

    def locate() -> Located:
        with garbage.paused():
            return locate_known(study, folder, SegmenterSpec.model_validate)

    print(
        f"watching {folder}; when runs end, its report is written, at most every {every} s.",
        file=sys.stderr,
        flush=True,
    )
    watched = WatchedReport(folder, locate, every, _write)
    watch(watched.look)
    if not watched.records():
        print(f"no run has ended in {folder}; there is no report yet.")
        return 0
    # the last page does not reload itself
    report = _write(folder)
    report.announce()
    if report.problems:
        return LEFT_OUT
    return 0
