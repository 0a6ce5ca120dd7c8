"""Peak memory is that of training: what validation takes on top of it does not count."""

import numpy as np
import torch

from encoder_ablations.data.datasets.folder import FolderDataset
from encoder_ablations.data.views.augmentation import AugmentationSpec
from encoder_ablations.encoders.build import build_encoder
from encoder_ablations.encoders.spec import EncoderSpec
from encoder_ablations.engine.cost import memory
from encoder_ablations.engine.cost.memory import PeakMemory
from encoder_ablations.engine.devices import make_accelerator
from encoder_ablations.engine.recipe import Recipe
from encoder_ablations.engine.training.loop import Trainer, TrainingData
from encoder_ablations.segmenters.build import build_segmenter
from encoder_ablations.segmenters.heads.linear import LinearSpec

LARGE = 1 << 29


def touch():
    """Half a GiB for a moment."""
    np.ones(LARGE, np.uint8)


def test_a_peak_within_a_step_is_seen_and_forgotten():
    peak = PeakMemory(torch.device("cpu"))
    peak.restart()
    before = peak.read()
    touch()
    assert peak.read() > before + 0.9 * LARGE
    peak.restart()
    assert peak.read() < before + 0.5 * LARGE
    assert peak.kind == "resident in the process"


def test_where_the_peak_cannot_be_reset_the_record_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(memory, "CLEAR", tmp_path / "missing" / "clear_refs")
    peak = PeakMemory(torch.device("cpu"))
    peak.restart()
    before = peak.read()
    touch()
    assert abs(peak.read() - before) < 0.5 * LARGE
    assert peak.words(
        2
    ) == "resident in the process at the end of a step, during training steps; " + (
        "the largest of 2 processes"
    )


def test_validation_does_not_count(terrain, tmp_path, monkeypatch):
    encoder = build_encoder(EncoderSpec(name="test_resnet", weights="random", channels=32), 0)
    segmenter = build_segmenter(LinearSpec(name="linear"), encoder, 3, 0)
    train, val = FolderDataset(terrain, "train"), FolderDataset(terrain, "val")
    recipe = Recipe(
        steps=3, batch_size=2, evaluate_every=1, augmentation=AugmentationSpec(crop=(64, 64))
    )
    data = TrainingData(terrain, train, list(range(8)), val, [0])
    trainer = Trainer(segmenter, data, recipe, 0, tmp_path, make_accelerator("cpu"))
    evaluate = trainer._evaluate

    def large(*arguments):
        touch()
        evaluate(*arguments)

    monkeypatch.setattr(trainer, "_evaluate", large)
    before = PeakMemory(torch.device("cpu"))
    before.restart()
    start = before.read()
    trainer.run()
    assert 0 < trainer.progress.peak_memory_bytes < start + 0.5 * LARGE
    assert trainer.progress.peak_memory_of == "resident in the process, during training steps"
