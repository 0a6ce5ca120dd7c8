"""Reports of large studies: what is kept in memory, computed and read only once."""

import gc
import weakref

import pytest
from reports import write_report

from encoder_ablations.experiments.reporting.findings import collection
from encoder_ablations.experiments.reporting.findings.collection import collect
from encoder_ablations.experiments.reporting.findings.groups import FinishedRun
from encoder_ablations.experiments.reporting.findings.ranking import ranking
from encoder_ablations.experiments.reporting.findings.shared_parts import SharedParts
from encoder_ablations.experiments.reporting.findings.worst_images import worst_images_table
from encoder_ablations.experiments.reporting.page import all_results, page
from encoder_ablations.experiments.reporting.page.runs_table import runs_csv
from encoder_ablations.experiments.runs.folder import load_run


@pytest.fixture
def folder(factory):
    """Return the folder of a study of two encoders and three seeds."""
    return factory.write([factory.record(name, seed=seed) for name in "ab" for seed in range(3)])


def test_records_are_read_without_searching_for_garbage(folder, monkeypatch):
    searched = []

    class Parts(SharedParts):
        def load(self, folder):
            searched.append(gc.isenabled())
            return super().load(folder)

    monkeypatch.setattr(collection, "SharedParts", Parts)
    collect(folder)
    assert searched == [False] * 6


def test_equal_parts_of_records_are_kept_once(folder):
    parts = SharedParts()
    paths = sorted((folder / "runs").iterdir())
    first, *_, last = [parts.load(path) for path in paths]
    assert first.spec.encoder.name != last.spec.encoder.name
    for name in ("recipe", "dataset", "segmenter"):
        assert getattr(first.spec, name) is getattr(last.spec, name)
    assert first.curves.val_steps is last.curves.val_steps
    assert first.data.class_names is last.data.class_names
    assert isinstance(last, FinishedRun)
    assert last.model_dump() == load_run(paths[-1]).model_dump()


def test_a_study_that_was_reported_is_forgotten(folder):
    """A study that is watched is read and reported again and again."""
    study = collect(folder)
    setting = weakref.ref(study.settings[0])
    assert ranking(setting(), 1.0) is ranking(setting(), 1.0)
    worst_images_table(study)
    del study
    gc.collect()
    assert setting() is None


def test_rows_are_made_only_of_runs_that_the_page_lists(folder, monkeypatch):
    made = []
    monkeypatch.setattr(all_results, "MOST_RUNS", 2)
    monkeypatch.setattr(all_results, "_links", lambda _, run_id: made.append(run_id))
    shown = all_results.for_template(collect(folder), {})
    assert len(made) == len(shown["runs"]) == 2
    assert shown["further_runs"] == 4


def test_every_table_is_made_once(folder, monkeypatch):
    made = []

    def counted(name, make):
        return lambda study: made.append(name) or make(study)

    tables = {name: counted(name, make) for name, make in page.TABLES.items()}
    monkeypatch.setattr(page, "TABLES", tables)
    monkeypatch.setattr(page, "draw_setting", lambda *_: {})
    write_report(folder)
    assert made == list(tables)


def test_columns_of_later_runs_are_empty_in_the_rows_before(factory):
    records = [factory.failure("b", seed=0), factory.record("a", seed=1)]
    header, failed, finished = runs_csv(collect(factory.write(records))).splitlines()
    assert failed.count(",") == finished.count(",") == header.count(",")
    assert failed.endswith(",,,")
    assert not finished.endswith(",,,")
