"""``ablate worst`` on small finished runs."""

import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from encoder_ablations.data.datasets.folder import FolderDataset
from encoder_ablations.engine.evaluation.per_image import image_ious, load_per_image
from encoder_ablations.engine.inference.spec import InferenceSpec
from encoder_ablations.engine.privacy import PrivacySpec
from encoder_ablations.engine.training.federated.spec import FederationSpec
from encoder_ablations.experiments.cli import main
from encoder_ablations.experiments.prediction.chosen_runs import chosen_runs
from encoder_ablations.experiments.prediction.models import make_predictor
from encoder_ablations.experiments.reporting.findings.collection import collect
from encoder_ablations.experiments.reporting.findings.worst_images import (
    disagreements_table,
    worst_images_table,
)
from encoder_ablations.experiments.worst import selection
from encoder_ablations.experiments.worst.findings import look_through, predicted_mask
from encoder_ablations.experiments.worst.selection import encoders_of


def predictors(study):
    return [
        make_predictor([run], InferenceSpec(), torch.device("cpu"))
        for run in encoders_of(study).runs
    ]


@pytest.fixture(scope="module")
def found(study, terrain):
    """What is found over all test images."""
    return look_through(predictors(study), FolderDataset(terrain, "test"), 4, lambda: None)


def test_images_are_ranked_as_the_runs_own_counts_say(study, found):
    runs = encoders_of(study).runs
    ious = []
    for run in runs:
        total = np.array(run.record.confusion_matrix)
        ious.append(image_ious(load_per_image(run.folder / "per_image.npz", total).margins()))
    np.testing.assert_allclose([image.ious for image in found.images], np.transpose(ious))
    means = np.mean(ious, axis=0)
    assert [image.place for image in found.worst_images(8)] == np.argsort(means).tolist()
    counts = found.confusions[0].counts
    assert counts.tolist() == runs[0].record.confusion_matrix


def test_pairs_count_pixels_where_one_alone_is_right(study, found, terrain):
    sample = FolderDataset(terrain, "test")[3]
    first, second = (predicted_mask(each, sample) == sample.mask for each in predictors(study))
    assert found.images[3].only.tolist() == [
        [0, int((first & ~second).sum())],
        [int((second & ~first).sum()), 0],
    ]
    most = found.most_different(0, 1, 8)
    assert [image.only[0, 1] for image in most] == sorted(
        (image.only[0, 1] for image in most), reverse=True
    )
    total = sum(image.only[0, 1] for image in found.images) / (8 * 64 * 64)
    assert found.only()[0, 1] == pytest.approx(total)


def test_regions_are_the_largest_of_each_model(found):
    regions = found.largest_regions(4)
    assert sorted(each.model for each in regions) == [0, 0, 1, 1]
    sizes = [each.region.pixels for each in regions]
    assert sizes == sorted(sizes, reverse=True)


def test_a_page_needs_no_other_file(study, tmp_path, capsys):
    page = tmp_path / "page.html"
    first, second = (str(run.folder) for run in encoders_of(study).runs)
    assert main(["worst", first, "--against", second, "--images", "2", "-o", str(page)]) == 0
    out = capsys.readouterr().out
    assert "dark right, darker wrong" in out or "darker right, dark wrong" in out
    text = page.read_text(encoding="utf-8")
    assert 'src="http' not in text
    assert text.count('src="data:image') > 10
    assert "file://" in text


def test_a_study_shows_its_encoders(study, capsys):
    assert main(["worst", str(study), "--images", "1"]) == 0
    text = (study / "worst.html").read_text(encoding="utf-8")
    assert "dark" in text
    assert "darker" in text
    (study / "worst.html").unlink()


def test_a_single_run_fills_the_pages_width(study, tmp_path):
    (first, _) = (str(run.folder) for run in encoders_of(study).runs)
    page = tmp_path / "page.html"
    assert main(["worst", first, "--images", "1", "-o", str(page)]) == 0
    text = page.read_text(encoding="utf-8")
    assert '<table class="pictures single">' in text
    assert ".pictures.single { width: 100%" in text
    assert "on the left the prediction" in text


def test_only_runs_of_one_federation_are_compared(study, monkeypatch):
    best, other = encoders_of(study).runs
    federation = FederationSpec(clients=2, rounds=2)
    spec = other.record.spec.model_copy(update={"federation": federation})
    record = other.record.model_copy(update={"spec": spec})
    runs = [best, SimpleNamespace(record=record, val_score=best.val_score - 0.1)]
    monkeypatch.setattr(selection, "usable_runs", lambda _folder: (runs, []))
    compared = encoders_of(study)
    assert compared.runs == [best]
    [note] = compared.notes
    assert "privacy none, central" in note
    assert "1 other arm" in note


def test_private_runs_are_not_mixed_with_others(study, monkeypatch):
    best, other = encoders_of(study).runs
    recipe = other.record.spec.recipe.model_copy(update={"privacy": PrivacySpec(epsilon=3)})
    spec = other.record.spec.model_copy(update={"recipe": recipe})
    record = other.record.model_copy(update={"spec": spec})
    private = SimpleNamespace(record=record, val_score=best.val_score + 0.1)
    monkeypatch.setattr(selection, "usable_runs", lambda _folder: ([best, private], []))
    compared = encoders_of(study)
    assert compared.runs == [private]
    assert "eps3, central" in compared.notes[0]


def test_a_run_that_cannot_be_used_is_named_and_left_out(study, tmp_path, capsys):
    shutil.copytree(study / "runs", tmp_path / "runs")
    gone = encoders_of(study).runs[1].folder.name
    (tmp_path / "runs" / gone / "record.json").unlink()
    assert main(["worst", str(tmp_path), "--images", "1"]) == 2
    assert f"{gone} has not finished" in capsys.readouterr().err
    assert (tmp_path / "worst.html").exists()


def test_the_report_lists_the_worst_images(study, found):
    rows = worst_images_table(collect(study)).rows
    assert [row[1] for row in rows] == [image.id for image in found.worst_images(8)]
    assert rows[0][4] == f"{100 * found.worst_images(1)[0].ious.mean():.1f}"


def test_the_report_lists_where_encoders_disagree(study, found):
    rows = disagreements_table(collect(study)).rows
    spread = [100 * float(np.ptp(image.ious)) for image in found.worst_images(100)]
    largest = sorted((each for each in spread if each == each), reverse=True)[: len(rows)]
    assert rows
    assert [row[4] for row in rows] == [f"{each:.1f}" for each in largest]


def test_wrong_options_are_one_line(study, tmp_path, capsys):
    run = str(encoders_of(study).runs[0].folder)
    copy = tmp_path / encoders_of(study).runs[0].folder.name
    shutil.copytree(run, copy)
    (copy / "record.json").unlink()
    for arguments, said in (
        ([str(study), "--against", run], "is a study"),
        ([run, "--against", "absent"], "no folder"),
        ([run, "--images", "0"], "--images 0"),
        ([run, "-o", "worst"], "Write worst.html."),
        ([str(copy)], "has not finished"),
    ):
        assert main(["worst", *arguments]) == 2
        error = capsys.readouterr().err.strip()
        assert said in error
        assert "\n" not in error
    assert len(chosen_runs(study, ["*"])) == 2
