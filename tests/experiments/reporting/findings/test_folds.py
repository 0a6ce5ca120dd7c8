"""Folds are datasets of their own, and one line together."""

import pytest
from reports import write_report

from encoder_ablations.experiments.reporting.findings.collection import collect
from encoder_ablations.experiments.reporting.findings.folds import folds_table
from encoder_ablations.experiments.reporting.page import page


def fold(number, **more):
    splits = {
        "train": f"splits/fold_{number}_train_images.txt",
        "val": f"splits/fold_{number}_val_images.txt",
    }
    return {
        "dataset": f"rocks_fold_{number}",
        "root": "rocks",
        "splits": splits | {"test": "splits/test_images.txt"},
    } | more


@pytest.fixture
def table(factory):
    return lambda *records: folds_table(collect(factory.write(list(records))))


def test_the_mean_over_folds_is_of_each_folds_mean(factory, table):
    """A fold with more seeds counts no more than another."""
    records = [
        factory.record("a", value, seed=seed, **fold(0))
        for seed, value in enumerate([0.60, 0.62, 0.64])
    ]
    records += [
        factory.record("a", 0.72, **fold(1)),
        factory.record("b", 0.70, **fold(1)),
        factory.failure("b", **fold(0)),
    ]
    records += [factory.record("a", 0.5, fraction=0.1, **fold(number)) for number in (0, 1)]
    assert table(*records).rows == [
        ["rocks_fold · linear", "a", "100 %", "67.0", "62.0", "72.0", "2", "4"],
        ["rocks_fold · linear", "b", "100 %", "70.0", "70.0", "70.0", "1 of 2", "1"],
        ["rocks_fold · linear", "a", "10 %", "50.0", "50.0", "50.0", "2", "2"],
    ]


@pytest.mark.parametrize(
    "other",
    [
        {"dataset": "moon"},
        fold(1, root="moon"),
        fold(1, steps=800),
        fold(1, splits={**fold(1)["splits"], "test": "splits/another.txt"}),
        fold(1, splits={**fold(1)["splits"], "val": fold(0)["splits"]["val"]}),
    ],
)
def test_what_differs_in_more_than_training_and_validation_is_no_fold(factory, table, other):
    assert table(factory.record("a", 0.6, **fold(0)), factory.record("a", 0.8, **other)).rows == []


def test_the_page_has_a_section_of_its_own(factory, monkeypatch):
    monkeypatch.setattr(page, "draw_setting", lambda *_: {})
    records = [factory.record("a", 0.6 + number / 10, **fold(number)) for number in range(3)]
    files = write_report(factory.write(records))
    text = files.page.read_text(encoding="utf-8")
    assert text.count('id="folds"') == 1
    assert 'href="#folds"' in text
    assert "are not independent" in text
    assert (files.page.parent / "tables/folds.csv").read_text().splitlines()[1] == (
        "rocks_fold · linear,a,100 %,70.0,60.0,80.0,3,3"
    )
    alone = write_report(factory.write(records[:1], name="alone")).page.read_text(encoding="utf-8")
    assert 'id="folds"' not in alone
