"""What a report is made from: a study's records, and what its YAML plans beyond them."""

import sys
from dataclasses import replace
from pathlib import Path

from encoder_ablations.experiments.reporting.findings.collection import collect
from encoder_ablations.experiments.reporting.findings.study import Study
from encoder_ablations.experiments.studies.rounds import known_runs
from encoder_ablations.experiments.studies.saved_study import read_study, study_file
from encoder_ablations.experiments.studies.study import Entry, plan
from encoder_ablations.segmenters.references import load_segmenter
from encoder_ablations.segmenters.spec import SegmenterSpec
from encoder_ablations.utils.errors import InputError


def reported(folder: Path, refresh: int | None = None) -> Study:
    """Return what a study's records hold, and what its YAML plans beyond them.

    Args:
        folder: the folder that holds ``runs/``.
        refresh: after how many seconds the page loads itself again; None = never.

    Raises:
        InputError: there are no records, or they cannot be read.
    """
    return _with_plan(replace(collect(folder), refresh=refresh))


def say_writing() -> None:
    """Say that the report is being written, which takes from seconds to minutes."""
    print("writing the report", file=sys.stderr, flush=True)


def _with_plan(study: Study) -> Study:
    """Return a study with what its saved YAML plans beyond its records.

    Where that cannot be read nothing is added: the study's published scores have said so.
    """
    if not study_file(study.folder).exists():
        return study
    records = {record.run_id: record for record in (*study.records, *study.trials)}
    try:
        saved = read_study(study.folder)
        known = known_runs(saved, plan(saved, _head), records)
    except InputError:
        return study
    ids = [run.run_id for run in known.runs]
    not_begun = tuple(each for each in ids if not study.run_folder(each).exists())
    return replace(study, not_begun=not_begun, following=known.following)


def _head(entry: Entry) -> SegmenterSpec:
    """Return a head of a saved study, which is resolved, or of one that a person wrote there."""
    if isinstance(entry, str):
        return load_segmenter(entry)
    return SegmenterSpec.model_validate(entry)
