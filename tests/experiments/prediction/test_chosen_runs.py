"""Which runs predict, and one line about those that cannot."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

from encoder_ablations.data.datasets.folder import FolderDataset
from encoder_ablations.engine.inference.spec import InferenceSpec
from encoder_ablations.engine.privacy import ClientPrivacySpec, PrivacySpec
from encoder_ablations.engine.training.federated.spec import FederationSpec
from encoder_ablations.experiments.prediction import chosen_runs as choice
from encoder_ablations.experiments.prediction.chosen_runs import chosen_runs
from encoder_ablations.experiments.prediction.models import check_window, make_predictor
from encoder_ablations.experiments.runs.execution import Execution
from encoder_ablations.experiments.runs.run import execute_run
from encoder_ablations.utils.errors import InputError

CPU = torch.device("cpu")


def test_a_run_predicts_what_its_evaluation_did(study, terrain):
    """The pictures that a run keeps are its predictions of the first test images."""
    from PIL import Image

    run = chosen_runs(sorted(study.glob("runs/*"))[0])[0]
    images = FolderDataset(terrain, "test")
    predictor = make_predictor([run], InferenceSpec(), CPU)
    for place, name in enumerate(run.record.pictures[:2]):
        assert images.ids[place] == name
        kept = np.asarray(Image.open(run.folder / "pictures" / f"{name}.prediction.png"))
        found = predictor.predict(images[place].image).mask
        if kept.shape != found.shape:
            kept = np.asarray(Image.fromarray(kept).resize(found.shape[::-1], Image.NEAREST))
        assert (kept == found).mean() > 0.999


def test_a_study_means_its_best_run_on_validation(study):
    (best,) = chosen_runs(study)
    scores = {run.record.run_id: run.val_score for run in chosen_runs(study, ["*"])}
    assert len(scores) == 2
    assert best.val_score == max(scores.values())


def arms(study, monkeypatch, **changes):
    """Make the second run of a study one of another arm, also for who names both."""
    first, second = chosen_runs(study, ["*"])
    spec = second.record.spec.model_copy(update=changes)
    second = replace(second, record=second.record.model_copy(update={"spec": spec}))
    by_folder = {run.folder: run for run in (first, second)}
    monkeypatch.setattr(choice, "trained_run", by_folder.__getitem__)


def test_runs_with_different_privacy_are_not_chosen_among(study, monkeypatch, capsys):
    recipe = chosen_runs(study)[0].record.spec.recipe
    private = recipe.model_copy(update={"privacy": PrivacySpec(epsilon=3)})
    arms(study, monkeypatch, recipe=private)
    with pytest.raises(InputError, match=r"none, eps3.*'\*-eps3-\*'") as error:
        chosen_runs(study)
    assert "\n" not in str(error.value)
    assert len(chosen_runs(study, ["*seed0"])) == 1
    assert "privacy" not in capsys.readouterr().err
    assert len(chosen_runs(study, ["*"])) == 2
    assert "none, eps3" in capsys.readouterr().err


def test_protected_clients_are_a_promise_too(study, monkeypatch):
    privacy = ClientPrivacySpec(noise=2)
    arms(study, monkeypatch, federation=FederationSpec(clients=2, rounds=1, privacy=privacy))
    with pytest.raises(InputError, match=r"'\*-private-clients-noise2-\*'"):
        chosen_runs(study)


def test_the_federation_of_the_chosen_run_is_said(study, monkeypatch, capsys):
    arms(study, monkeypatch, federation=FederationSpec(clients=2, rounds=1))
    assert len(chosen_runs(study)) == 1
    assert "of 2 federations" in capsys.readouterr().err


def test_the_folder_of_a_private_run_names_its_budget(make_spec):
    plain = make_spec(0)
    recipe = plain.recipe.model_copy(update={"privacy": PrivacySpec(epsilon=3, clip=0.5)})
    private = plain.model_copy(update={"recipe": recipe}).run_id
    assert private.startswith(plain.run_id[:-10] + "eps3-clip0.5-")
    assert plain.run_id.endswith("seed0-" + plain.run_id[-10:])


def test_named_runs_become_one_ensemble(study, terrain):
    runs = chosen_runs(study, ["*seed0", "*seed1"])
    assert [run.record.spec.seed for run in runs] == [0, 1]
    predictor = make_predictor(runs, InferenceSpec(), CPU, weighting="validation")
    assert [member.weight for member in predictor.members] == [run.val_score for run in runs]
    assert {member.short_side for member in predictor.members} == {48}


def test_unusable_runs_are_told_in_one_line(study, make_spec, tmp_path):
    with pytest.raises(InputError, match="no run 'darknet_large'"):
        chosen_runs(study, ["darknet_large"])
    with pytest.raises(InputError, match="no folder"):
        chosen_runs(tmp_path / "nothing")
    (tmp_path / "runs").mkdir()
    with pytest.raises(InputError, match="no run yet"):
        chosen_runs(tmp_path)
    run = sorted(study.glob("runs/*"))[0]
    with pytest.raises(InputError, match="not one"):
        chosen_runs(run, ["x"])
    copy = tmp_path / "runs" / run.name
    shutil.copytree(run, copy)
    (copy / "record.json").unlink()
    with pytest.raises(InputError, match="has not finished"):
        chosen_runs(copy)


def test_a_failed_run_has_no_model(make_spec, tmp_path):
    broken = make_spec(0)
    folder = tmp_path / broken.run_id

    def fail(step, status):
        raise RuntimeError("planted")

    record = execute_run(broken, folder, Execution("cpu"), fail)
    assert record.status == "failed"
    with pytest.raises(InputError, match="planted"):
        chosen_runs(folder)


def test_an_ensemble_of_other_classes_is_refused(study, make_spec, tmp_path):
    other = make_spec(0, ("background", "crater", "stone"))
    shutil.copytree(study / "runs", tmp_path / "runs")
    execute_run(other, tmp_path / "runs" / other.run_id, Execution("cpu"))
    with pytest.raises(InputError, match="stone"):
        chosen_runs(tmp_path, ["*"])


def test_windows_below_the_stride_are_refused(study):
    assert make_predictor(chosen_runs(study), InferenceSpec(window=32), CPU).spec.window == 32
    with pytest.raises(InputError, match="coarsest stride 64"):
        check_window(InferenceSpec(window=32), 64)
