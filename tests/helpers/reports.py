"""Reports of folders that tests have written."""

from pathlib import Path

from encoder_ablations.experiments.reporting.page.page import report_of
from encoder_ablations.experiments.reporting.planned import reported


def write_report(folder):
    """Write the report as ``ablate report`` does, and return what was written."""
    return report_of(reported(Path(folder)))
