"""``ablate evaluate STUDY``: every seed and the aggregate, as text, JSON and CSV."""

import csv
import json
from pathlib import Path
from statistics import stdev

import pytest

from encoder_ablations.experiments.cli import main


@pytest.fixture
def study(factory, monkeypatch):
    monkeypatch.chdir(factory.folder)
    records = [factory.record("a", m, seed=s) for s, m in enumerate([0.70, 0.72, 0.71])]
    return factory.write(
        [
            *records,
            factory.record("b", 0.8),
            factory.failure("b", seed=1, message="no memory\nleft"),
        ]
    )


def test_terminal(study, capsys):
    assert main(["evaluate", str(study)]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "mars · linear",
        "  encoder  images  seed        mIoU   mean acc.  pixel acc.",
        "  a         100 %     0       70.00       82.18       83.35",
        "  a         100 %     1       72.00       83.55       84.77",
        "  a         100 %     2       71.00       82.87       84.06",
        "  b         100 %     0       80.00       88.74       90.26",
        "  b         100 %     1  failed: no memory",
        "",
        "over seeds",
        "mars · linear",
        "  encoder  images  mIoU %  spread  n",
        "  b         100 %    80.0          1 (1 failed)",
        "  a         100 %    71.0  ± 2.5   3",
    ]


def test_json(study, capsys):
    assert main(["evaluate", str(study), "--json", "all.json"]) == 0
    found = json.loads(Path("all.json").read_text())
    assert found["study"] == "study"
    a, b = sorted(found["groups"], key=lambda group: group["encoder"])
    assert a["miou_by_seed"] == pytest.approx({"0": 0.70, "1": 0.72, "2": 0.71})
    assert (a["miou_mean"], a["miou_std"]) == (pytest.approx(0.71), pytest.approx(0.01))
    assert a["interval_over_seeds"] == [
        pytest.approx(0.6852, abs=1e-4),
        pytest.approx(0.7348, abs=1e-4),
    ]
    assert a["interval_with_images"] is None  # these records have no per-image counts
    assert (b["interval_over_seeds"], b["miou_std"], b["failed"]) == (None, None, [1])
    runs = {(run["encoder"], run["seed"]): run for run in found["runs"]}
    assert runs["a", 1]["metrics"]["per_class_iou"]["crater"] == pytest.approx(0.72)
    assert (runs["b", 1]["status"], runs["b", 1]["metrics"]) == ("failed", None)


def test_csv(study, capsys):
    assert main(["evaluate", str(study), "--csv", "all.csv"]) == 0
    rows = {
        (row["encoder"], row["seed"]): row
        for row in csv.DictReader(Path("all.csv").read_text().splitlines())
    }
    assert float(rows["a", "1"]["miou"]) == pytest.approx(0.72)
    assert float(rows["a", "mean"]["miou"]) == pytest.approx(0.71)
    accuracies = [float(rows["a", seed]["pixel_accuracy"]) for seed in "012"]
    assert float(rows["a", "std"]["pixel_accuracy"]) == pytest.approx(stdev(accuracies))
    assert (rows["b", "1"]["status"], rows["b", "1"]["miou"], rows["b", "std"]["miou"]) == (
        "failed",
        "",
        "",
    )


@pytest.mark.parametrize("option", ["--csv", "--json"])
def test_a_minus_prints_for_programs_alone(study, capsys, option):
    assert main(["evaluate", str(study), option, "file"]) == 0
    capsys.readouterr()
    assert main(["evaluate", str(study), option, "-"]) == 0
    out, error = capsys.readouterr()
    assert out == Path("file").read_text()
    assert "over seeds" in error
    assert not Path("-").exists()


def test_two_tables_cannot_share_the_terminal(study, capsys):
    assert main(["evaluate", str(study), "--csv", "-", "--json", "-"]) == 2
    out, error = capsys.readouterr()
    assert "cannot share the terminal" in error
    assert not out


def test_unreadable_record_is_named_and_left_out(study, capsys):
    path = sorted(study.glob("runs/a-*/record.json"))[0]
    path.write_text("{")
    assert main(["evaluate", str(study)]) == 2
    out, error = capsys.readouterr()
    assert f"left out: {path} is damaged" in error
    assert out.count("  a ") == 3  # two seeds and the aggregate


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--split", "val"], "--split is for one run"),
        (["--dataset", "camvid"], "Say which mean the same with --class-map"),
        (["--json", "missing/../study/runs.csv/x.json"], "cannot write"),
    ],
)
def test_bad_input(study, capsys, arguments, message):
    (study / "runs.csv").write_text("")
    assert main(["evaluate", str(study), *arguments]) == 2
    error = capsys.readouterr().err.strip()
    assert message in error
    assert len(error.splitlines()) == 1


def test_csv_of_a_run_is_refused(study, capsys):
    run = sorted(study.glob("runs/a-*"))[0]
    assert main(["evaluate", str(run), "--csv", "x.csv"]) == 2
    assert "--csv is for a study" in capsys.readouterr().err


def test_several_studies_in_one_call(factory, monkeypatch, capsys):
    monkeypatch.setattr(
        "encoder_ablations.experiments.reporting.page.page.draw_setting", lambda *_: {}
    )
    folders = [
        factory.write([factory.record("a"), factory.record("b", 0.5)], name)
        for name in ("one", "two")
    ]
    assert main(["report", *map(str, folders)]) == 0
    assert all((folder / "report.html").exists() for folder in folders)
