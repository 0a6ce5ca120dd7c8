"""The losses of a dense head in a run: what it learns from, records and discloses."""

import json
import sys

import pytest
import torch
from torch.utils.data import Subset

from encoder_ablations.data.datasets.folder import FolderDataset
from encoder_ablations.engine.devices import make_accelerator
from encoder_ablations.engine.training.steps import MicroBatch, PlainStep, StepSetup
from encoder_ablations.experiments.runs.execution import Execution
from encoder_ablations.experiments.runs.model import build_model
from encoder_ablations.experiments.runs.record import load_record, save_record
from encoder_ablations.experiments.runs.run import execute_run
from encoder_ablations.experiments.runs.spec import RunSpec
from encoder_ablations.experiments.runs.transfer.evaluation import evaluate_checkpoint
from encoder_ablations.experiments.workers.preflight import check_before_start, find_problems
from encoder_ablations.segmenters.loss_registry import loss_names
from encoder_ablations.segmenters.references import load_segmenter

OWN_LOSS = """
from encoder_ablations.segmenters.dense_loss import DenseLoss
from encoder_ablations.segmenters.loss_registry import register_loss
from encoder_ablations.segmenters.loss_spec import LossSpec


@register_loss("doubt", LossSpec)
class Doubt(DenseLoss):
    def forward(self, logits, masks):
        labelled = masks != self.ignore
        own = logits.softmax(1).gather(1, (masks * labelled)[:, None])[:, 0]
        return ((1 - own) * labelled).sum()
"""


def run_spec(dataset, loss, fraction=1.0, **recipe):
    return RunSpec(
        encoder={"name": "test_resnet", "weights": "random", "channels": 32},
        segmenter=load_segmenter({"name": "linear", "loss": loss}),
        dataset=dataset,
        fraction=fraction,
        recipe={
            "steps": 3,
            "batch_size": 2,
            "evaluate_every": 3,
            "augmentation": {"crop": [64, 64]},
        }
        | recipe,
    )


def execute(spec, folder):
    record = execute_run(spec, folder / spec.run_id, Execution("cpu"))
    assert record.status == "finished", record.error
    return record


@pytest.fixture(scope="module")
def four_classes(terrain):
    """The last one is in no mask."""
    return terrain.model_copy(update={"classes": (*terrain.classes, "water")})


@pytest.fixture(scope="module")
def balanced(four_classes, tmp_path_factory):
    loss = {"cross_entropy": {"class_weights": "balanced"}, "dice": 0.5}
    folder = tmp_path_factory.mktemp("balanced")
    return execute(run_spec(four_classes, loss, fraction=0.25), folder), folder


def test_balanced_weights_are_those_of_the_runs_own_images(balanced, four_classes):
    record, _ = balanced
    assert record.data.n_train == 6
    samples = FolderDataset(four_classes, "train")
    everything = sum(
        torch.bincount(torch.from_numpy(samples[i].mask).flatten().long(), minlength=256)[:4]
        for i in range(len(samples))
    )
    pixels = record.data.class_pixels
    assert sum(pixels) == 6 * 64 * 64
    assert everything.sum() == 24 * 64 * 64
    assert all(own < whole for own, whole in zip(pixels[:3], everything.tolist(), strict=False))
    weights = record.class_weights["cross_entropy"]
    assert weights == pytest.approx([sum(pixels) / 3 / each for each in pixels[:3]] + [0])


def test_a_run_learns_with_the_weights_that_it_records(balanced, four_classes, tmp_path):
    """With these numbers written out the curve is the same; without them it is another."""
    record, _ = balanced
    loss = {"cross_entropy": {"class_weights": record.class_weights["cross_entropy"]}, "dice": 0.5}
    same = execute(run_spec(four_classes, loss, fraction=0.25), tmp_path)
    plain = {"cross_entropy": 1, "dice": 0.5}
    other = execute(run_spec(four_classes, plain, fraction=0.25), tmp_path)
    assert same.curves.loss == record.curves.loss
    assert same.confusion_matrix == record.confusion_matrix
    assert other.curves.loss != record.curves.loss
    assert other.class_weights == {}


def test_the_curve_of_each_loss_is_recorded(balanced):
    record, folder = balanced
    curves = record.curves
    assert list(curves.terms) == ["cross_entropy", "dice"]
    sums = [sum(values) for values in zip(*curves.terms.values(), strict=True)]
    assert sums == pytest.approx(curves.loss)
    assert all(value > 0 for values in curves.terms.values() for value in values)
    lines = (folder / record.run_id / "metrics.jsonl").read_text().splitlines()
    logged = [json.loads(line) for line in lines]
    found = [line["loss/dice"] for line in logged if "loss" in line]
    assert found == pytest.approx(curves.terms["dice"])


def test_a_class_that_no_training_image_shows_is_disclosed(balanced, tmp_path):
    record, _ = balanced
    (found,) = [text for text in record.disclosures if "balanced" in text]
    assert "cross_entropy" in found
    assert "water" in found
    assert "crater" not in found
    save_record(record, tmp_path)
    assert load_record(tmp_path).class_weights == record.class_weights


def test_a_model_with_balanced_weights_is_evaluated_elsewhere(balanced, four_classes):
    record, folder = balanced
    found = evaluate_checkpoint(
        folder / record.run_id, record.spec, four_classes, "test", Execution("cpu")
    )
    assert found.evaluation.confusion.counts.tolist() == record.confusion_matrix


@pytest.mark.parametrize(
    ("weights", "words"),
    [
        ({"craters": 2}, "Did you mean 'crater'"),
        ([1, 2], "2 numbers, but there are 3 classes"),
    ],
)
def test_weights_of_other_classes_stop_before_training(terrain, weights, words):
    spec = run_spec(terrain, {"cross_entropy": {"class_weights": weights}})
    (problem,) = find_problems([spec], Execution("cpu")).values()
    assert words in problem
    assert "\n" not in problem


def test_a_loss_of_ones_own_is_part_of_the_record(terrain, tmp_path, monkeypatch):
    (tmp_path / "my_losses.py").write_text(OWN_LOSS)
    monkeypatch.chdir(tmp_path)
    spec = run_spec(terrain, {"my_losses:Doubt": 1, "lovasz": 0.5})
    check_before_start([spec], Execution("cpu"))
    record = execute(spec, tmp_path)
    assert list(record.code) == ["my_losses:Doubt"]
    assert [text for text in record.disclosures if "my_losses:Doubt" in text]
    sys.modules.pop("my_losses")


@pytest.mark.parametrize("loss", loss_names())
def test_micro_batches_make_the_step_of_the_whole_batch(terrain, loss):
    """Rule 22: the images have unequally many labels. BatchNorm keeps its statistics."""
    samples = Subset(FolderDataset(terrain, "train"), range(4))
    images = torch.stack([torch.tensor(each.image).permute(2, 0, 1) for each in samples])
    masks = torch.stack([torch.tensor(each.truth) for each in samples])
    masks[0, :40], masks[1], masks[3, 5:, 9:] = 255, 255, 255
    content = {"class_weights": [0.2, 3, 1]} if loss == "cross_entropy" else {}
    spec = run_spec(terrain, {"dice": 2, "iou": 1} | {loss: content})
    found = []
    for parts in ([slice(0, 4)], [slice(0, 1), slice(1, 2), slice(2, 4)]):
        model = build_model(spec).eval()
        optimizer = torch.optim.SGD(model.head.parameters(), lr=1.0)
        accelerator = make_accelerator("cpu")
        step = PlainStep(StepSetup(model, optimizer, spec.recipe, accelerator))
        value = step.take([MicroBatch(images[own], masks[own]) for own in parts], float)
        assert sum(step.terms.values()) == pytest.approx(value)
        found.append(
            [torch.tensor([value, *step.terms.values()]), model.head.classifier.weight.detach()]
        )
    for whole, divided in zip(*found, strict=True):
        torch.testing.assert_close(divided, whole, atol=1e-5, rtol=1e-5)
