"""Trained on A, tested on B, over shared classes: checked against the run's own confusion matrix on
the same images."""

import json
from pathlib import Path

import numpy as np
import pytest

from encoder_ablations.experiments.cli import main
from encoder_ablations.experiments.runs.metrics_record import shared_metrics
from encoder_ablations.experiments.runs.record import load_record
from encoder_ablations.experiments.runs.transfer.record import load_transfer, transfer_files
from encoder_ablations.utils.errors import InputError

SETTINGS = [
    "encoder.weights=random",
    "encoder.channels=32",
    "recipe.steps=6",
    "recipe.batch_size=2",
]
SETTINGS += ["recipe.augmentation.crop=[64,64]", "recipe.optimizer.lr=0.01"]
MAP = {
    "shared": {
        "hole": {"trained": ["crater"], "tested": ["pit"]},
        "plain": {"trained": ["background"]},
    }
}


@pytest.fixture(scope="module")
def trained(tmp_path_factory, terrain):
    """A study's folder with one finished run."""
    folder = tmp_path_factory.mktemp("trained")
    data = folder / "terrain.json.yaml"
    data.write_text(json.dumps(terrain.model_dump(mode="json")))
    command = [
        "train",
        "--encoder",
        "darknet_tiny",
        "--segmenter",
        "linear",
        "--dataset",
        str(data),
        *SETTINGS,
    ]
    assert main([*command, "--device", "cpu", "--output", str(folder / "study")]) == 0
    return folder / "study"


@pytest.fixture
def other(tmp_path, terrain, monkeypatch):
    """The same images under other ids and names; boulders are not labelled in it. And the class
    map."""
    monkeypatch.chdir(tmp_path)
    content = terrain.model_dump(mode="json")
    content |= {
        "name": "elsewhere",
        "classes": ["pit", "dune", "plain"],
        "value_map": {0: 2, 1: 0, 2: 255},
    }
    content["colors"] = None
    Path("other.yaml").write_text(json.dumps(content))
    Path("map.yaml").write_text(json.dumps(MAP))
    return ["--dataset", "other.yaml", "--device", "cpu"]


def load_transfers(run):
    return [load_transfer(path, run.name) for path in transfer_files(run)]


def run_in(study):
    (run,) = (study / "runs").iterdir()
    return run


def test_a_class_map_gives_the_runs_own_counts_in_other_words(trained, other, capsys):
    run = run_in(trained)
    assert main(["evaluate", str(run), *other, "--class-map", "map.yaml"]) == 0
    (record,) = load_transfers(run)
    own = load_record(run)
    background, crater, boulder = 0, 1, 2
    matrix = np.array(own.confusion_matrix)
    expected = matrix[[crater, background]][:, [crater, background, boulder]]
    assert record.confusion_matrix == expected.tolist()
    assert (record.trained_on, record.tested_on, record.split, record.n_images) == (
        "mars_terrain",
        "elsewhere",
        "test",
        8,
    )
    assert record.class_names == ["hole", "plain"]
    assert record.trained == {"hole": ["crater"], "plain": ["background"]}
    assert record.tested == {"hole": ["pit"], "plain": ["plain"]}
    hits, truth = np.diag(expected), expected.sum(1)
    union = truth + expected.sum(0)[:2] - hits
    assert record.metrics.miou == pytest.approx((hits / union).mean())
    assert set(record.metrics.per_class_iou) == {"hole", "plain"}
    assert record.at_home == record.metrics  # the same images
    out = capsys.readouterr().out
    assert "over the same 2 classes" in out
    assert str(run / "transfer") in out


def test_equal_names_in_another_order_need_no_map(trained, other):
    run = run_in(trained)
    content = json.loads(Path("other.yaml").read_text())
    content |= {
        "name": "shuffled",
        "classes": ["boulder", "background", "crater"],
        "value_map": {0: 1, 1: 2, 2: 0},
    }
    Path("other.yaml").write_text(json.dumps(content))
    assert main(["evaluate", str(run), *other]) == 0
    record = next(record for record in load_transfers(run) if record.tested_on == "shuffled")
    assert [row[:3] for row in record.confusion_matrix] == load_record(run).confusion_matrix
    assert not any(row[3] for row in record.confusion_matrix)


def test_a_study_and_again(trained, other):
    arguments = [
        "evaluate",
        str(trained),
        *other,
        "--class-map",
        "map.yaml",
        "--split",
        "val",
        "--json",
        "all.json",
    ]
    for _ in range(2):  # the second time the same file is written again
        assert main(arguments) == 0
    found = [record for record in load_transfers(run_in(trained)) if record.split == "val"]
    assert len(found) == 1
    assert [each["run_id"] for each in json.loads(Path("all.json").read_text())] == [
        found[0].run_id
    ]


def test_other_predictions_count_as_wrong_but_are_no_class():
    counts = np.array([[6, 0, 4], [1, 9, 0], [0, 0, 0]])
    metrics = shared_metrics(counts, ("a", "b"))
    assert metrics.per_class_iou == {"a": pytest.approx(6 / 11), "b": pytest.approx(9 / 10)}
    for value in (metrics.miou, metrics.miou_union, metrics.miou_all):
        assert value == pytest.approx((6 / 11 + 9 / 10) / 2)
    assert metrics.pixel_accuracy == pytest.approx(15 / 20)


def test_bad_input_is_one_line(trained, other, capsys):
    run = run_in(trained)
    Path("typo.yaml").write_text(
        json.dumps({"shared": {"hole": {"trained": ["krater"], "tested": ["pit"]}}})
    )
    Path("empty/runs").mkdir(parents=True)
    cases = [
        ([str(run), *other], "Say which mean the same with --class-map"),
        (
            [str(run), *other, "--class-map", "typo.yaml"],
            "unknown class 'krater'. Did you mean 'crater'?",
        ),
        ([str(run), *other, "--class-map", "gone.yaml"], "cannot read gone.yaml"),
        ([str(run), "--class-map", "map.yaml"], "add --dataset"),
        (
            [str(run), *other, "--split", "tset", "--class-map", "map.yaml"],
            "unknown split of elsewhere 'tset'",
        ),
        (["empty", *other], "empty has no finished run to evaluate on elsewhere"),
    ]
    for arguments, message in cases:
        capsys.readouterr()
        assert main(["evaluate", *arguments]) == 2, arguments
        error = capsys.readouterr().err.strip()
        assert message in error
        assert len(error.splitlines()) == 1


def test_a_damaged_record_is_named(tmp_path):
    (tmp_path / "transfer").mkdir()
    (tmp_path / "transfer" / "a.json").write_text('{"schema_version": 1')
    with pytest.raises(InputError, match=r"a\.json is damaged, or of another version; delete it"):
        load_transfers(tmp_path)
