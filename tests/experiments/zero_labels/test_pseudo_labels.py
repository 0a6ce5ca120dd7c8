"""Arms of a study that learn from masks which a finished run predicts."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from toy_colors import HEAD

from encoder_ablations.data.datasets.folder import FolderDataset
from encoder_ablations.data.datasets.subsets import fingerprint
from encoder_ablations.experiments.cli import main
from encoder_ablations.experiments.reporting.findings.collection import collect
from encoder_ablations.experiments.runs import run as runs
from encoder_ablations.experiments.runs.execution import Execution
from encoder_ablations.experiments.runs.folder import load_run
from encoder_ablations.experiments.runs.model import load_best
from encoder_ablations.experiments.runs.preparation import prepare_data
from encoder_ablations.experiments.runs.pseudo_labels.masks import sure_mask
from encoder_ablations.experiments.runs.pseudo_labels.teacher import check_teacher
from encoder_ablations.experiments.studies.study import load_study_spec, plan

CPU = torch.device("cpu")


def checked(spec):
    """The run's data, after the check of its teacher."""
    data = prepare_data(spec)
    check_teacher(spec, spec.pseudo_labels, data.checked, data.train.indices)
    return data


def planned(path):
    return plan(load_study_spec(path))


def test_a_run_learns_from_all_images(arms, squares, teachers, capsys):
    assert main(["run", arms(), "--output", "out", "--device", "cpu"]) == 0
    assert "pseudo-labels" not in capsys.readouterr().err
    alone, taught = (load_run(Path("out", "runs", spec.run_id)) for spec in planned(arms()))
    assert alone.data.pseudo_labels is None
    assert alone.data.n_learned == 3
    assert taught.data.n_train == 3
    assert taught.data.n_learned == 6
    assert taught.data.train_ids_sha256 == alone.data.train_ids_sha256
    assert taught.data.class_pixels == alone.data.class_pixels
    assert taught.convergence.epochs == alone.convergence.epochs / 2
    assert taught.data.pseudo_labels.share_of_pixels == 1
    assert any("3 training images" in line for line in taught.disclosures)
    # the teacher's folder decides no result
    for name in ("config.yaml", "record.json"):
        assert str(teachers["right"]) not in Path("out/runs", taught.run_id, name).read_text()
    assert main(["run", arms(), "--output", "out", "--dry-run"]) == 0
    assert "pseudo-labels" in capsys.readouterr().out
    titles = [setting.title for setting in collect(Path("out")).settings]
    assert len(set(titles)) == 2


def test_predicted_masks_stand_in_for_those_of_other_training_images(arms, squares, tmp_path):
    _, spec = planned(arms())
    before = prepare_data(spec)
    labelled = set(before.train.indices)
    data = runs.with_teacher(before, spec, tmp_path, CPU)
    own = FolderDataset(squares, "train")
    assert data.train.indices == list(range(6))
    for index in range(6):
        mask, truth = data.train.samples[index].mask, own[index].mask
        # masks of one's own ignore the last column, predicted ones ignore nothing
        assert (mask[:, :-1] == truth[:, :-1]).all()
        assert (mask[:, -1] == 255).all() == (index in labelled)
    assert data.val == before.val
    assert data.report == before.report


def test_labels_that_are_missing_are_never_read(arms, squares, tmp_path, monkeypatch):
    """Wrong masks of images without labels change nothing that is learned from."""
    _, spec = planned(arms())
    data = prepare_data(spec)
    read = FolderDataset.read_mask

    def only_labelled(self, index):
        assert self.split != "train" or index in data.train.indices
        return read(self, index)

    monkeypatch.setattr(FolderDataset, "read_mask", only_labelled)
    samples = runs.with_teacher(data, spec, tmp_path, CPU).train.samples
    assert len([samples[index] for index in range(6)]) == 6


def test_unsure_pixels_are_ignored():
    class Fixed:
        def predict(self, image):
            return self

        mask = np.array([[0, 1, 1]], np.uint8)
        probabilities = np.array([[[0.75, 0.5, 0.25]], [[0.25, 0.5, 0.75]]], np.float32)

    found = sure_mask(Fixed(), np.zeros((1, 3, 3), np.uint8), 0.75, 255)
    assert found.tolist() == [[0, 255, 1]]
    assert found.dtype == np.uint8
    assert sure_mask(Fixed(), np.zeros((1, 3, 3), np.uint8), 0.0, 65535).dtype == np.uint16


def test_masks_are_predicted_once(arms, tmp_path, monkeypatch):
    _, spec = planned(arms())
    data = prepare_data(spec)
    first = runs.with_teacher(data, spec, tmp_path, CPU)

    def refuse(*args):
        raise AssertionError

    monkeypatch.setattr(runs, "member_of", refuse)
    assert runs.with_teacher(data, spec, tmp_path, CPU).record == first.record
    other = planned(arms(threshold=0.9))[1]
    with pytest.raises(AssertionError):
        runs.with_teacher(data, other, tmp_path, CPU)


class Killed(BaseException):
    """As if the process was killed."""


def weights(folder, spec):
    return load_best(folder, spec, None)[0].state_dict()


def test_a_run_that_was_killed_goes_on_with_the_same_result(arms, tmp_path):
    _, spec = planned(arms())
    whole, parts = (tmp_path / name / "runs" / spec.run_id for name in ("whole", "parts"))
    runs.execute_run(spec, whole, Execution("cpu"))

    def kill(step, status):
        if step == 3:
            raise Killed

    with pytest.raises(Killed):
        runs.execute_run(spec, parts, Execution("cpu"), kill)
    record = runs.execute_run(spec, parts, Execution("cpu"))
    assert record.status == "finished"
    expected = weights(whole, spec)
    assert all(torch.equal(expected[name], found) for name, found in weights(parts, spec).items())


def test_a_run_does_not_go_on_with_other_masks(arms, tmp_path):
    _, spec = planned(arms())
    folder = tmp_path / "runs" / spec.run_id

    def kill(step, status):
        if step == 3:
            raise Killed

    with pytest.raises(Killed):
        runs.execute_run(spec, folder, Execution("cpu"), kill)
    path = next(tmp_path.glob("pseudo_labels/*/*.png"))
    Image.fromarray(np.zeros((32, 48), np.uint8)).save(path)
    with pytest.raises(runs.InputError, match="others than"):
        runs.execute_run(spec, folder, Execution("cpu"))
    path.write_bytes(b"nothing")
    with pytest.raises(runs.InputError, match=path.name):
        runs.execute_run(spec, folder, Execution("cpu"))


def test_other_runs_of_a_study_keep_their_ids(arms, write_study):
    with_teacher = planned(arms(fractions=[0.5, 1.0], segmenters=[HEAD, "linear"]))
    without = planned(arms(fractions=[0.5, 1.0], segmenters=[HEAD, "linear"], pseudo_labels=[None]))
    ids = [spec.run_id for spec in without]
    kept = [spec.run_id for spec in with_teacher if spec.pseudo_labels is None]
    assert kept == ids
    (taught,) = [spec for spec in with_teacher if spec.pseudo_labels is not None]
    assert taught.fraction == 0.5
    assert "pseudo0.3" in taught.run_id
    assert "pseudo_labels" not in without[0].model_dump()


def test_a_saved_run_is_the_same_without_its_teachers_folder(arms):
    _, spec = planned(arms())
    again = type(spec).model_validate(json.loads(spec.model_dump_json()))
    assert again.run_id == spec.run_id
    assert again.pseudo_labels.folder is None
    with pytest.raises(runs.InputError, match=r"pseudo_labels\.folder"):
        checked(again)


def test_nested_subsets_stay_nested(arms):
    small, _ = planned(arms(fractions=[0.34, 0.67], pseudo_labels=[None]))
    taught = [spec for spec in planned(arms(fractions=[0.34, 0.67])) if spec.pseudo_labels]
    of_small, of_large = (prepare_data(spec).train for spec in taught)
    assert set(of_small.indices) < set(of_large.indices)
    ids = [of_small.samples.ids[index] for index in of_small.indices]
    assert prepare_data(small).record.train_ids_sha256 == fingerprint(ids)


def test_a_teacher_that_saw_missing_labels_is_refused(arms, capsys):
    # it has learned from half of the images by the order of seed 0
    checked(planned(arms("linear"))[1])
    path = arms("linear", fractions=[0.34], seeds=[0])
    with pytest.raises(runs.InputError, match="unlabelled"):
        checked(planned(path)[1])
    # before the runs without it are computed
    path = arms("linear", fractions=[0.5], seeds=[0, 4])
    for options in (["--dry-run"], ["--device", "cpu"]):
        assert main(["run", path, "--output", "out", *options]) == 2
        (line,) = capsys.readouterr().err.strip().splitlines()
        assert "unlabelled" in line
    assert not Path("out").exists()


def test_a_teacher_on_the_same_files_under_another_name_is_refused(arms, squares):
    renamed = squares.model_dump(mode="json") | {"name": "others"}
    with pytest.raises(runs.InputError, match="unlabelled"):
        checked(planned(arms("linear", datasets=[renamed]))[1])
    checked(planned(arms("right", datasets=[renamed]))[1])


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"threshold": 1.5}, "threshold"),
        ({"fractions": [1.0]}, "between 0 and 1"),
        ({"pseudo_labels": [{"run": "nowhere", "threshold": 0.5}]}, "nowhere"),
        ({"recipe": {"overfit": 1}}, "recipe.overfit"),
        ({"recipe": {"pos_ratio": 0.5}}, "recipe.pos_ratio"),
        ({"federation": [{"clients": 2}]}, "federation"),
    ],
)
def test_impossible_studies(arms, capsys, changes, told):
    assert main(["run", arms(**changes), "--device", "cpu"]) == 2
    error = capsys.readouterr().err
    assert told in error
    assert error.count("\n") == 1


def test_other_classes_and_too_few_images_are_refused(arms, squares):
    renamed = squares.model_dump(mode="json") | {"classes": ["red", "green", "sky"]}
    with pytest.raises(runs.InputError, match="sky"):
        checked(planned(arms(datasets=[renamed]))[1])
    with pytest.raises(runs.InputError, match="no training image"):
        checked(planned(arms(fractions=[0.99]))[1])


def test_an_unfinished_teacher_is_refused(arms, tmp_path, capsys):
    spec = planned(arms())[0]
    folder = tmp_path / "runs" / spec.run_id

    def kill(step, status):
        raise Killed

    with pytest.raises(Killed):
        runs.execute_run(spec, folder, Execution("cpu"), kill)
    choice = {"run": str(folder), "threshold": 0.5}
    assert main(["run", arms(pseudo_labels=[choice]), "--device", "cpu"]) == 2
    assert "has finished" in capsys.readouterr().err


def test_a_dry_run_refuses_other_classes_and_reads_no_masks_of_other_teachers(
    arms, squares, monkeypatch, capsys
):
    where = "encoder_ablations.experiments.studies.plan_refusals.check_dataset"
    monkeypatch.setattr(where, lambda spec: pytest.fail("masks were read"))
    assert main(["run", arms("right"), "--dry-run"]) == 0
    renamed = squares.model_dump(mode="json") | {"classes": ["red", "green", "sky"]}
    assert main(["run", arms(datasets=[renamed]), "--dry-run"]) == 2
    assert "sky" in capsys.readouterr().err


def test_a_teacher_with_other_weights_is_refused(arms, teachers, tmp_path):
    _, spec = planned(arms())
    labels = spec.pseudo_labels.model_copy(update={"checkpoint_sha256": "0" * 64})
    with pytest.raises(runs.InputError, match=r"best\.pt"):
        checked(spec.model_copy(update={"pseudo_labels": labels}))
