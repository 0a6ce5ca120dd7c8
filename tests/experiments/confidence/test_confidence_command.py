"""``ablate confidence`` on small finished runs."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from reports import write_report
from scipy.stats import spearmanr
from torchmetrics.functional.classification import multiclass_calibration_error

from encoder_ablations.data.datasets.folder import FolderDataset
from encoder_ablations.engine.inference.predictor import Predictor
from encoder_ablations.engine.inference.spec import InferenceSpec
from encoder_ablations.experiments.cli import main
from encoder_ablations.experiments.confidence.pixels import divide, labelled_pixels
from encoder_ablations.experiments.confidence.record import confidence_file, load_confidence
from encoder_ablations.experiments.prediction.chosen_runs import chosen_runs
from encoder_ablations.experiments.prediction.models import make_predictor
from encoder_ablations.experiments.reporting.findings.collection import collect
from encoder_ablations.experiments.reporting.findings.confidence import (
    confidence_of,
    confidence_table,
)
from encoder_ablations.experiments.runs.execution import Execution
from encoder_ablations.experiments.runs.run import execute_run
from encoder_ablations.utils.errors import InputError


def run(*arguments):
    return main(["confidence", *map(str, arguments), "--device", "cpu"])


@pytest.fixture(scope="module")
def measured(study):
    """The study with records of both runs and of the two together."""
    assert run(study, "--ensembles", "--alpha", 0.3) == 0
    return study


def everything(study, terrain):
    """Probabilities and truth of all labelled test pixels of the first run, at once."""
    folder = sorted(study.glob("runs/*"))[0]
    predictor = make_predictor(chosen_runs(folder), InferenceSpec(), torch.device("cpu"))
    probabilities, truth = [], []
    for sample in FolderDataset(terrain, "test"):
        found = predictor.predict(sample.image).probabilities
        labelled = sample.mask != sample.ignore
        probabilities.append(torch.from_numpy(found[:, labelled].T))
        truth.append(torch.from_numpy(sample.mask[labelled]))
    return folder, torch.cat(probabilities), torch.cat(truth)


def test_a_run_has_a_record_of_its_test_pixels(measured, terrain):
    folder, probabilities, truth = everything(measured, terrain)
    record = load_confidence(confidence_file([folder]), [folder.name])
    assert (record.split, record.calibration_split) == ("test", "val")
    assert record.pixels == len(truth)
    expected = multiclass_calibration_error(probabilities, truth, 3, n_bins=15)
    # torchmetrics adds up the confidences of thousands of pixels in float32
    assert record.before.ece == pytest.approx(float(expected), abs=1e-5)
    wrong = (probabilities.argmax(dim=1) != truth).double().mean()
    assert record.entropy.error == pytest.approx(float(wrong))
    assert record.entropy.risk[-1] == pytest.approx(record.entropy.error)
    assert record.after.nll < record.before.nll
    images = record.images
    assert len(images) == 8
    ranked = spearmanr([each.uncertainty for each in images], [each.miou for each in images])
    assert record.entropy.spearman == pytest.approx(float(ranked.statistic))
    assert record.disagreement is None
    assert (folder / "confidence.png").exists()


def test_sets_miss_what_they_say(measured, terrain):
    folder, probabilities, truth = everything(measured, terrain)
    sets = load_confidence(confidence_file([folder])).sets
    thresholds = torch.tensor([each.threshold for each in sets.classes.values()])
    sizes = (probabilities.double() >= thresholds.double()).sum(dim=1).double()
    assert sets.mean_size == pytest.approx(float(sizes.mean()))
    assert sets.images_needed == 3
    per_image = truth.view(8, -1) == 0
    missed = (probabilities[:, 0].double() < thresholds[0].double()).view(8, -1)
    rates = [float(missed[i][per_image[i]].double().mean()) for i in range(8)]
    assert sets.classes["background"].miss_rate == pytest.approx(np.mean(rates))


def test_seeds_together_are_an_ensemble(measured):
    folders = sorted(measured.glob("runs/*"))
    record = load_confidence(confidence_file(folders))
    assert sorted(record.run_ids) == [folder.name for folder in folders]
    assert record.disagreement is not None
    assert record.disagreement.error == record.entropy.error
    assert confidence_file(folders).parent == measured.resolve() / "ensembles"


def test_what_was_measured_is_not_measured_again(measured, monkeypatch, capsys):
    def refuse(*_):
        raise AssertionError("predicted again")

    monkeypatch.setattr(Predictor, "blocks", refuse)
    folder = sorted(measured.glob("runs/*"))[0]
    assert run(folder, "--alpha", 0.3) == 0
    assert "ECE" in capsys.readouterr().out
    with pytest.raises(AssertionError, match="predicted again"):
        run(folder, "--alpha", 0.2)


def test_an_edited_record_is_refused(measured, tmp_path, capsys):
    folder = sorted(measured.glob("runs/*"))[0]
    copy = shutil.copytree(folder, tmp_path / folder.name)
    path = copy / "confidence.json"
    path.write_text(path.read_text().replace('"temperature": ', '"temperature": 1'))
    assert run(copy, "--alpha", 0.3) == 2
    assert "was edited" in capsys.readouterr().err
    content = json.loads((folder / "confidence.json").read_text())
    assert content["checksum"]
    with pytest.raises(InputError, match="another run"):
        load_confidence(folder / "confidence.json", ["other"])


def test_ignored_pixels_are_left_out(measured, terrain):
    """Every labelled pixel comes once; of an image without any comes none."""
    run = chosen_runs(sorted(measured.glob("runs/*"))[0])
    predictor = make_predictor(run, InferenceSpec(window=32), torch.device("cpu"))
    sample = FolderDataset(terrain, "test")[0]
    sample.mask[:40] = sample.ignore
    parts = list(labelled_pixels(predictor, sample))
    truth = torch.cat([part.truth for part in parts])
    assert truth.tolist() == sample.mask[40:].reshape(-1).tolist()
    sample.mask[:] = sample.ignore
    assert sum(len(part.truth) for part in labelled_pixels(predictor, sample)) == 0


def test_without_test_images_val_is_halved(terrain):
    data = terrain.model_copy(update={"splits": {"train": "train", "val": "val"}})
    found = divide(data)
    assert (len(found.calibration), len(found.evaluation)) == (3, 3)
    assert not set(found.calibration.ids) & set(found.evaluation.ids)
    assert divide(data).fingerprint == found.fingerprint
    assert divide(terrain).calibration.images.split == "val"


def test_scenes_are_not_divided(terrain):
    data = terrain.model_copy(update={"splits": {"train": "train", "val": "val"}})
    # the first five images are the scene "val", the last one is "al"
    two = divide(data.model_copy(update={"scene_pattern": "(val(?=_0000[0-4])|al(?=_00005))"}))
    halves = [two.calibration.ids, two.evaluation.ids]
    assert sorted(halves, key=len)[0] == ["val_00005"]
    with pytest.raises(InputError, match="scene_pattern"):
        divide(data.model_copy(update={"scene_pattern": "(val)"}))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["STUDY", "--alpha", "1"], "--alpha 1"),
        (["STUDY", "--alpha", "nan"], "--alpha nan"),
        (["STUDY", "--device", "gpu"], "gpu"),
        (["STUDY", "RUN"], "name one study"),
        (["RUN", "--ensembles"], "for a study"),
        (["absent"], "no folder"),
    ],
)
def test_wrong_options_are_one_line(trained_study, arguments, said, capsys):
    first = str(sorted(trained_study.glob("runs/*"))[0])
    names = {"STUDY": str(trained_study), "RUN": first}
    assert main(["confidence", *(names.get(each, each) for each in arguments)]) == 2
    error = capsys.readouterr().err.strip()
    assert said in error
    assert "\n" not in error


def test_too_few_calibration_images_are_told(trained_study, tmp_path, capsys):
    folder = sorted(trained_study.glob("runs/*"))[0]
    copy = shutil.copytree(folder, tmp_path / folder.name)
    assert run(copy, "--alpha", 0.01) == 0
    assert "needs 99 calibration images" in capsys.readouterr().out
    sets = load_confidence(copy / "confidence.json").sets
    assert sets.mean_size == 3
    assert sets.held == []


def test_runs_of_other_data_are_no_ensemble(trained_study, make_spec, tmp_path, terrain, capsys):
    """Nor is a run judged whose dataset is gone."""
    root = shutil.copytree(terrain.root, tmp_path / "moved")
    spec = make_spec(0, root=str(root))
    folder = tmp_path / "runs" / spec.run_id
    assert execute_run(spec, folder, Execution("cpu")).error is None
    first = sorted(trained_study.glob("runs/*"))[0]
    assert run(first, folder) == 2
    assert "same dataset" in capsys.readouterr().err
    shutil.rmtree(root)
    assert run(folder) == 2
    error = capsys.readouterr().err.strip()
    assert "there is no folder" in error
    assert "\n" not in error
    assert not (folder / "confidence.json").exists()


@pytest.mark.figures
def test_the_report_compares_encoders(measured):
    found = collect(measured)
    assert len(found.confidences) == 2
    table = confidence_table(found)
    alone, together = table.rows
    records = list(found.confidences.values())
    low, high = sorted(100 * each.before.ece for each in records)
    assert f"(range {low:.1f}–{high:.1f})" in alone[3]
    assert together[1].endswith("2 seeds together")
    assert together[3] == f"{100 * found.ensembles[0].before.ece:.1f}"
    files = write_report(measured)
    text = files.page.read_text(encoding="utf-8")
    assert "How far can the probabilities be relied on?" in text
    assert (measured / "figures" / "s1-confidence.png").exists()
    assert not files.problems


def test_records_of_other_views_are_not_mixed(measured):
    study = collect(measured)
    (first, _), setting = study.confidences.values(), study.settings[0]
    settings = first.settings | {"inference": first.settings["inference"] | {"combine": "max"}}
    changed = {first.run_ids[0]: first.model_copy(update={"settings": settings})}
    mixed = replace(study, confidences={**study.confidences, **changed})
    assert sum(map(len, confidence_of(mixed, setting).records.values())) == 1
    assert confidence_of(replace(study, confidences={}), setting) is None
