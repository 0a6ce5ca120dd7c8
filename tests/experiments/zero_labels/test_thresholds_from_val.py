"""Confidence thresholds of pseudo-labels that validation images give."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from encoder_ablations.data.datasets.sample import Sample
from encoder_ablations.experiments.cli import main
from encoder_ablations.experiments.runs import run as runs
from encoder_ablations.experiments.runs.execution import Execution
from encoder_ablations.experiments.runs.preparation import prepare_data
from encoder_ablations.experiments.runs.pseudo_labels.masks import sure_mask
from encoder_ablations.experiments.runs.pseudo_labels.threshold import (
    THRESHOLDS,
    choose,
    count_kept,
)
from encoder_ablations.experiments.studies.study import load_study_spec, plan
from encoder_ablations.utils.errors import InputError

CPU = torch.device("cpu")


def planned(path):
    return plan(load_study_spec(path))


class Fixed:
    """A teacher that predicts the same for every image: two classes, N pixels."""

    def __init__(self, confidence, predicted):
        first = np.where(predicted == 0, confidence, 1 - confidence)
        self.probabilities = np.stack([first, 1 - first])[:, None].astype(np.float32)
        self.mask = predicted[None].astype(np.uint8)

    def predict(self, image):
        return self


def drawn(pixels=2000, seed=0):
    """Pixels whose class is right as often as their confidence says, but for a noisy quarter."""
    rng = np.random.default_rng(seed)
    confidence = rng.uniform(0.5, 1, pixels).astype(np.float32)
    predicted = rng.integers(0, 2, pixels)
    right = rng.random(pixels) < confidence
    right[: pixels // 4] = rng.random(pixels // 4) < 0.5
    truth = np.where(right, predicted, 1 - predicted)
    truth[-10:] = 255
    return Fixed(confidence, predicted), truth


def sample_of(truth):
    image = np.zeros((1, len(truth), 3), np.uint8)
    return Sample(image, truth[None].astype(np.int64), "one", (1, len(truth)), "one", 255, None)


@pytest.mark.parametrize("wanted", [0.72, 0.75, 0.8])
def test_it_is_the_lowest_threshold_with_the_precision(wanted):
    teacher, truth = drawn()
    chosen = choose(*count_kept(teacher, [sample_of(truth)]), wanted)
    labelled = truth != 255

    def kept_and_precision(threshold):
        mask = sure_mask(teacher, np.zeros((1, len(truth), 3), np.uint8), threshold, 255)[0]
        kept = labelled & (mask != 255)
        return kept.sum() / labelled.sum(), (mask == truth)[kept].mean()

    share, precision = kept_and_precision(chosen.threshold)
    assert chosen.share_of_pixels == pytest.approx(share)
    assert chosen.precision == pytest.approx(precision)
    assert precision >= wanted
    below = [each for each in chosen.thresholds if each < chosen.threshold]
    assert below
    assert all(kept_and_precision(each)[1] < wanted for each in below)
    assert chosen.n_pixels == 1990
    places = [chosen.thresholds.index(chosen.threshold)]
    assert [chosen.precisions[place] for place in places] == [chosen.precision]


def test_a_written_threshold_keeps_the_pixels_that_were_counted():
    """0.07 as a number of Python and in float32 compare alike with probabilities."""
    written = [round(float(each), 2) for each in THRESHOLDS]
    assert np.array_equal(THRESHOLDS, np.array(written, np.float32))
    sure = THRESHOLDS[50:]
    kept, _ = count_kept(Fixed(sure, np.zeros(50)), [sample_of(np.zeros(50))])
    # the n-th of 50 pixels reaches its own threshold and all below it
    assert kept[50:].tolist() == list(range(50, 0, -1))


def test_a_precision_that_no_threshold_has_is_refused():
    teacher, truth = drawn()
    counts = count_kept(teacher, [sample_of(truth)])
    with pytest.raises(InputError, match=r"precision of 1; the highest is 0\.\d+"):
        choose(*counts, 1.0)
    nothing = np.zeros(len(THRESHOLDS), np.int64)
    with pytest.raises(InputError, match="labelled validation pixels"):
        choose(nothing, nothing, 0.9)


def test_a_run_records_the_threshold_that_it_learned_with(arms, tmp_path):
    _, spec = planned(arms(threshold="val", precision=0.8))
    assert "pseudoval0.8" in spec.run_id
    record = runs.execute_run(spec, tmp_path / "runs" / spec.run_id, Execution("cpu"))
    chosen = record.data.pseudo_labels.chosen
    # the teacher is always right, so that nothing need be left out
    assert (chosen.threshold, chosen.precision, chosen.share_of_pixels) == (0, 1, 1)
    assert chosen.wanted_precision == 0.8
    assert len(chosen.thresholds) == len(chosen.precisions) == len(chosen.shares_of_pixels)
    assert any("a precision of 0.8" in line for line in record.disclosures)
    again = type(spec).model_validate(json.loads(spec.model_dump_json()))
    assert again.run_id == spec.run_id


def test_the_threshold_is_kept_for_other_runs_and_for_going_on(arms, tmp_path, monkeypatch):
    _, spec = planned(arms(threshold="val"))
    assert spec.pseudo_labels.precision == 0.9
    data = prepare_data(spec)
    first = runs.with_teacher(data, spec, tmp_path, CPU)

    def refuse(*args):
        raise AssertionError("the teacher predicts again")

    monkeypatch.setattr(runs, "member_of", refuse)
    assert runs.with_teacher(data, spec, tmp_path, CPU).record == first.record
    (path,) = tmp_path.glob("pseudo_labels/*/threshold.json")
    path.write_text("{}")
    with pytest.raises(InputError, match=path.name):
        runs.with_teacher(data, spec, tmp_path, CPU)


def test_the_precision_decides_the_run_and_its_masks(arms):
    ids = {planned(arms(threshold="val", precision=each))[1].run_id for each in (0.8, 0.9)}
    assert len(ids) == 2
    assert planned(arms(threshold="val"))[1].run_id in ids
    assert "precision" not in planned(arms())[1].pseudo_labels.model_dump_json()


def test_a_teacher_that_is_always_wrong_is_refused(arms, tmp_path):
    _, spec = planned(arms("wrong", threshold="val"))
    with pytest.raises(InputError, match=r"pseudo_labels\.precision") as caught:
        runs.with_teacher(prepare_data(spec), spec, tmp_path, CPU)
    assert "\n" not in str(caught.value)


def test_a_precision_that_is_not_reached_is_one_line_in_the_report(arms, capsys):
    path = arms("wrong", threshold="val")
    assert main(["run", path, "--output", "out", "--device", "cpu"]) == 1
    assert "Traceback" not in capsys.readouterr().err
    failed = [record for record in records("out") if record["status"] == "failed"]
    assert [record["error"]["traceback"] for record in failed] == [""]
    page = Path("out/report.html").read_text()
    assert "at no threshold have the kept pixels of val" in page
    assert "<summary>Traceback</summary>" not in page


def records(folder):
    return [json.loads(path.read_text()) for path in Path(folder).glob("runs/*/record.json")]


def test_without_test_images_the_record_says_so(arms, squares, tmp_path):
    splits = {"train": "train", "val": "val"}
    dataset = squares.model_dump(mode="json") | {"splits": splits}
    _, spec = planned(arms(threshold="val", datasets=[dataset]))
    warnings = runs.with_teacher(prepare_data(spec), spec, tmp_path, CPU).warnings
    assert any("no test images" in line for line in warnings)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"threshold": "test"}, "threshold"),
        ({"threshold": 0.5, "precision": 0.9}, "threshold: val only"),
        ({"threshold": "val", "precision": 1.5}, "precision"),
    ],
)
def test_bad_settings(arms, capsys, changes, told):
    assert main(["run", arms(**changes), "--dry-run"]) == 2
    error = capsys.readouterr().err
    assert told in error
    assert error.count("\n") == 1
