"""A finished run and a finished study, as the front door offers them."""

import numpy as np
import pandas
import pytest
import torch
from PIL import Image

import encoder_ablations as ea
from encoder_ablations.engine.inference.spec import InferenceSpec
from encoder_ablations.experiments.prediction.chosen_runs import chosen_runs
from encoder_ablations.experiments.prediction.models import make_predictor

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def photo():
    return np.random.default_rng(0).integers(0, 256, (50, 70, 3), np.uint8)


@pytest.fixture
def run(study):
    return ea.load_run(sorted(study.glob("runs/*"))[0], device="cpu")


def expected(run, photo, **settings):
    """What ``ablate predict`` computes."""
    return make_predictor(chosen_runs(run.folder), InferenceSpec(**settings), CPU).predict(photo)


def test_a_run_predicts_as_the_command_does(run, photo, tmp_path):
    Image.fromarray(photo).save(tmp_path / "photo.png")
    found = run.predict(tmp_path / "photo.png")
    assert found.mask.shape == (50, 70)
    assert np.array_equal(found.probabilities, expected(run, photo).probabilities)
    assert np.array_equal(found.mask, run.predict(str(tmp_path / "photo.png")).mask)
    assert np.array_equal(found.mask, run.predict(photo).mask)
    assert found.classes == run.classes == run.record.spec.dataset.classes


def test_windows_and_views_are_those_of_the_command(run, photo):
    views = {"flips": ["horizontal"], "scales": [0.75]}
    found = run.predict(photo, window=32, overlap=0.25, tta=views, combine="max")
    plain = run.predict(photo)
    own = expected(run, photo, window=32, overlap=0.25, views=views, combine="max")
    assert np.array_equal(found.probabilities, own.probabilities)
    assert not np.array_equal(found.probabilities, plain.probabilities)


def test_the_model_of_a_run_is_called_with_images(run, photo):
    images = torch.from_numpy(photo).permute(2, 0, 1)[None]
    with torch.no_grad():
        assert run.model(images).shape == (1, 3, 50, 70)
    assert run.model.class_names == run.classes


@pytest.mark.parametrize(
    ("image", "settings", "message"),
    [
        (np.zeros((4, 4, 3)), {}, "of uint8"),
        (Image.new("RGB", (8, 8)), {}, "asarray"),
        ("absent.png", {}, "absent.png"),
        (np.zeros((64, 64, 3), np.uint8), {"window": 8}, "window"),
        (np.zeros((64, 64, 3), np.uint8), {"windw": 8}, "'window'"),
        (np.zeros((64, 64, 3), np.uint8), {"tta": {"flips": ["left"]}}, "flips"),
        (np.zeros((64, 64, 3), np.uint8), {"views": {}}, "called tta"),
    ],
)
def test_what_cannot_be_predicted_is_one_line(run, image, settings, message):
    with pytest.raises(ea.InputError, match=message) as raised:
        run.predict(image, **settings)
    assert "\n" not in str(raised.value)


def test_the_results_of_a_study_are_a_table(study):
    table = ea.load_study(study).results()
    assert isinstance(table, pandas.DataFrame)
    scores = {run.record.run_id: run.record.metrics.miou for run in ea.load_study(study).runs()}
    assert dict(zip(table["run_id"], table["metrics.miou"], strict=True)) == scores
    assert set(table["seed"]) == {0, 1}


def test_the_best_run_and_ensembles_of_a_study(study, photo):
    found = ea.load_study(study, device="cpu")
    best = found.best()
    assert best.record.run_id == chosen_runs(study)[0].record.run_id
    both = found.ensemble(weighting="validation")
    assert len(both.records) == 2
    own = make_predictor(chosen_runs(study, ["*"]), InferenceSpec(), CPU, "validation")
    assert np.array_equal(both.predict(photo).probabilities, own.predict(photo).probabilities)
    assert len(found.ensemble("*seed1").records) == 1


def test_a_folder_that_is_no_study_or_run_is_refused(study, tmp_path):
    with pytest.raises(ea.InputError, match="load_study_spec"):
        ea.load_study(tmp_path)
    with pytest.raises(ea.InputError, match="is no run"):
        ea.load_run(tmp_path)
    with pytest.raises(ea.InputError, match="no folder"):
        ea.load_run(tmp_path / "absent")
