"""The matrix of trained on × tested on: means, t intervals and drops, worked out by hand."""

import csv
import io
import json
import re

import numpy as np
import pytest
from reports import write_report

from encoder_ablations.experiments.reporting.findings.collection import collect
from encoder_ablations.experiments.reporting.findings.cross_dataset import (
    crossings,
    matrices,
    transfer_table,
)
from encoder_ablations.experiments.reporting.page import page
from encoder_ablations.experiments.runs.metrics_record import shared_metrics
from encoder_ablations.experiments.runs.transfer.record import (
    TransferRecord,
    save_transfer,
    transfer_file,
)
from encoder_ablations.utils.checked_json import write_checked


def elsewhere(miou, classes):
    """(S+1)×(S+1) counts in which each of S classes has the IoU ``miou``: what is missed is taken
    for "other".
    """
    counts = np.zeros((classes + 1, classes + 1), np.int64)
    hits = round(miou * 10**9)
    counts[range(classes), range(classes)] = hits
    counts[:classes, -1] = 10**9 - hits
    return counts


@pytest.fixture
def cross(factory):
    """Writes how a run does elsewhere."""

    def cross(
        record, tested_on, there, home, split="test", classes=("crater", "boulder"), run_id=None
    ):
        name = {each: [each] for each in classes}
        counts = elsewhere(there, len(classes))
        found = TransferRecord(
            run_id=run_id or record.run_id,
            trained_on=record.spec.dataset.name,
            tested_on=tested_on,
            split=split,
            n_images=40,
            images_sha256="0" * 64,
            trained=name,
            tested=name,
            class_names=list(classes),
            confusion_matrix=counts[:-1].tolist(),
            metrics=shared_metrics(counts, classes),
            at_home=None
            if home is None
            else shared_metrics(elsewhere(home, len(classes)), classes),
            checkpoint_step=400,
            finished="2025-03-02T10:00:00+00:00",
            environment={},
        )
        folder = factory.folder / "study" / "runs" / record.run_id
        save_transfer(folder, found)
        return transfer_file(folder, found)

    return cross


@pytest.fixture
def both_ways(factory, cross):
    """vit-a on mars and moon with three seeds, each tested on the other; mars also on venus."""
    mars = [
        factory.record(miou=m, seed=s, dataset="mars") for s, m in enumerate([0.70, 0.72, 0.74])
    ]
    moon = [factory.record(miou=0.6, seed=s, dataset="moon") for s in range(3)]
    folder = factory.write([*mars, *moon, factory.record("vit-b", 0.5, dataset="mars")])
    for record, there, home in zip(mars, [0.40, 0.42, 0.44], [0.65, 0.66, 0.70], strict=True):
        cross(record, "moon", there, home)
    for record in moon:
        cross(record, "mars", 0.3, 0.6, classes=("crater",))
    for record in mars[:2]:
        cross(record, "venus", 0.2 + 0.02 * record.spec.seed, 0.5)
    return folder


def test_the_matrix(both_ways):
    (matrix,) = matrices(collect(both_ways))
    assert (matrix.segmenter, matrix.share, matrix.others) == ("linear", "100 %", [])
    assert matrix.columns == ["mars", "moon", "venus"]
    ((encoder, rows),) = matrix.encoders
    assert encoder == "vit-a", "vit-b was not tested elsewhere"
    shown = {
        name: [(cell.score, cell.drop, cell.small, cell.home) for cell in cells]
        for name, cells in rows
    }
    # s = 0.02 -> t(0.975, 2) · s / √3 = 4.97 points; drops -25, -24, -26 -> s = 1 -> 2.48
    assert shown["mars"] == [
        ("72.0 ± 5.0", "", "n=3", True),
        ("42.0 ± 5.0", "−25.0 ± 2.5", "n=3, 2 classes", False),
        ("21.0", "−29.0", "n=2, 2 classes", False),
    ]
    assert shown["moon"] == [
        ("30.0 ± 0.0", "−30.0 ± 0.0", "n=3, 1 class", False),
        ("60.0 ± 0.0", "", "n=3", True),
        ("", "", "", False),
    ]


def test_the_table_has_everything_and_no_interval_below_three_seeds(both_ways):
    rows = list(csv.DictReader(io.StringIO(transfer_table(collect(both_ways)).csv())))
    by_place = {(row["trained on"], row["tested on"]): row for row in rows}
    first = by_place["mars · linear", "moon"]
    names = (
        "mIoU (%)",
        "low (%)",
        "high (%)",
        "n",
        "at home, same classes (%)",
        "minus home (points)",
        "low",
        "high",
    )
    assert [first[name] for name in names[:5]] == [
        "42.0 ± 5.0",
        "37.03",
        "46.97",
        "3",
        "67.0 ± 6.6",
    ]
    assert [first[name] for name in (*names[5:], "kept (%)")] == ["−25.0", "−27.5", "−22.5", "62.7"]
    two = by_place["mars · linear", "venus"]
    assert [two[name] for name in ("n", "low (%)", "high (%)", "low", "high")] == [
        "2",
        "",
        "",
        "",
        "",
    ]
    assert [two[name] for name in ("split", "images", "classes", "fraction (%)")] == [
        "test",
        "40",
        "2",
        "100",
    ]


def test_the_page_shows_it_and_only_where_there_is_one(both_ways, factory, monkeypatch):
    monkeypatch.setattr(page, "draw_setting", lambda *_: {})
    source = write_report(both_ways).page.read_text(encoding="utf-8")
    section = source[source.index('<section aria-labelledby="cross">') :]
    section = " ".join(re.sub(r"<[^>]+>", " ", section[: section.index("</section>")]).split())
    assert (
        "mars 72.0 ± 5.0 n=3 42.0 ± 5.0 −25.0 ± 2.5 n=3, 2 classes 21.0 −29.0 n=2, 2 classes"
        in section
    )
    assert 'href="#cross"' in source
    alone = write_report(factory.write([factory.record()], "alone")).page.read_text(
        encoding="utf-8"
    )
    assert "#cross" not in alone


def test_several_ways_of_testing_on_one_dataset_are_kept_apart(factory, cross):
    record = factory.record()
    folder = factory.write([record])
    cross(record, "moon", 0.4, 0.6)
    cross(record, "moon", 0.5, 0.6, split="val")
    cross(record, "moon", 0.3, 0.6, classes=("crater",))
    cross(record, "mars", 0.7, 0.7, split="train")
    found = {each.place: each.score.mean for each in crossings(collect(folder))}
    assert found == {
        "moon (test, 2 classes)": 0.4,
        "moon (val, 2 classes)": 0.5,
        "moon (test, 1 class)": 0.3,
        "mars (train, 2 classes)": 0.7,
    }
    assert matrices(collect(folder))[0].columns[0] == "mars", "at home"


def test_the_largest_share_is_shown_and_the_table_has_all(factory, cross):
    records = [factory.record(fraction=share) for share in (0.1, 1.0)]
    folder = factory.write(records)
    for record in records:
        cross(record, "moon", 0.4 * record.spec.fraction, None)
    (matrix,) = matrices(collect(folder))
    assert (matrix.share, matrix.others) == ("100 %", [0.1])
    assert [cell.score for cell in matrix.encoders[0][1][0][1]] == ["70.0", "40.0"]
    assert [row[5] for row in transfer_table(collect(folder)).rows] == ["10", "100"]
    assert all(row[-4:] == ["", "", "", ""] for row in transfer_table(collect(folder)).rows), (
        "nothing to compare with"
    )


def test_the_encoder_that_is_best_at_home_comes_first(factory, cross):
    records = [factory.record(name, miou) for name, miou in (("a", 0.5), ("b", 0.7), ("c", 0.6))]
    folder = factory.write(records)
    for record in records:
        cross(record, "moon", 0.4, 0.5)
    assert [encoder for encoder, _ in matrices(collect(folder))[0].encoders] == ["b", "c", "a"]


def test_damaged_and_misplaced_results_are_named(factory, cross):
    a, b, c = (factory.record(name) for name in ("a", "b", "c"))
    folder = factory.write([a, b, c])
    path = cross(a, "moon", 0.4, 0.6)
    path.write_text("{")
    cross(b, "moon", 0.4, 0.6, run_id=a.run_id)
    cross(c, "moon", 0.4, 0.6)
    study = collect(folder)
    assert any(f"{path} is damaged" in line for line in study.damaged)
    assert any(f"is a result of another run, {a.run_id}" in line for line in study.damaged)
    assert [each.group.encoder for each in crossings(study)] == ["c"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"metrics": shared_metrics(elsewhere(0.9, 2), ("crater", "boulder")).model_dump()},
            "miou 0.9",
        ),
        ({"confusion_matrix": [[1, 0], [0, 1]]}, "no confusion matrix of 2 classes"),
        ({"checksum": None}, "has no checksum"),
    ],
)
def test_an_edited_result_is_named_and_the_others_are_shown(factory, cross, change, message):
    record = factory.record("a")
    folder = factory.write([record])
    path = cross(record, "moon", 0.4, 0.6)
    cross(record, "venus", 0.5, 0.6)
    content = json.loads(path.read_text()) | change
    if "checksum" in change:
        path.write_text(json.dumps(content))
    else:
        write_checked(path, content)
    study = collect(folder)
    (line,) = study.damaged
    assert message in line
    assert str(path) in line
    assert [each.place for each in crossings(study)] == ["venus"]
