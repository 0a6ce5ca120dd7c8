"""What a study still lacks: runs that have not begun, and runs that may follow."""

from dataclasses import replace

from encoder_ablations.experiments.reporting.findings.study import Study
from encoder_ablations.experiments.studies.rounds import known_runs
from encoder_ablations.experiments.studies.saved_study import read_study, study_file
from encoder_ablations.experiments.studies.study import Entry, plan
from encoder_ablations.segmenters.references import load_segmenter
from encoder_ablations.segmenters.spec import SegmenterSpec
from encoder_ablations.utils.errors import InputError


def with_plan(study: Study) -> Study:
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
