"""Training of a head that runs the body's blocks itself: progress, resuming, and frozen bodies."""

import pytest
import torch

from encoder_ablations.data.datasets.folder import FolderDataset
from encoder_ablations.data.views.augmentation import AugmentationSpec
from encoder_ablations.encoders.build import build_encoder
from encoder_ablations.encoders.spec import EncoderSpec
from encoder_ablations.engine.devices import make_accelerator
from encoder_ablations.engine.frozen.feature_store import FeatureStore
from encoder_ablations.engine.recipe import OptimizerSpec, Recipe
from encoder_ablations.engine.training.checkpoints import load_checkpoint, load_model
from encoder_ablations.engine.training.loop import Trainer, TrainingData
from encoder_ablations.engine.training.optimizer import parameter_groups
from encoder_ablations.segmenters.build import build_segmenter
from encoder_ablations.segmenters.spec import EomtSpec

SPEC = EomtSpec(name="eomt", queries=8, points=64, blocks=2)
ENCODER = EncoderSpec(name="test_vit", weights="random", neck="none")
RECIPE = Recipe(
    steps=12,
    batch_size=2,
    evaluate_every=4,
    augmentation=AugmentationSpec(crop=(64, 64)),
    optimizer=OptimizerSpec(lr=1e-3),
)


def trainer_of(terrain, folder, freeze="none", store=None, recipe=RECIPE):
    encoder = build_encoder(ENCODER.model_copy(update={"freeze": freeze}), 0)
    segmenter = build_segmenter(SPEC, encoder, 3, 0)
    train, val = FolderDataset(terrain, "train"), FolderDataset(terrain, "val")
    data = TrainingData(terrain, train, list(range(8)), val, [0, 1])
    accelerator = make_accelerator("cpu")
    return Trainer(segmenter, data, recipe, 0, folder, accelerator, store=store)


class Killed(Exception):
    pass


def test_resumed_in_the_middle_of_annealing_the_same_bits(terrain, tmp_path):
    """Step 3 of 12 lies where the first block masks some queries, drawn at random."""
    whole = trainer_of(terrain, tmp_path / "whole")
    seen = []
    progressed = whole.segmenter.head.progressed
    whole.segmenter.head.progressed = lambda done: seen.append(done) or progressed(done)
    whole.run()
    assert seen == [step / 12 for step in range(12)]

    def stop(step, _status):
        if step == 3:
            raise Killed

    with pytest.raises(Killed):
        trainer_of(terrain, tmp_path / "parts").run(stop)
    parts = trainer_of(terrain, tmp_path / "parts")
    parts.run()
    assert parts.progress.loss == whole.progress.loss
    assert parts.progress.val_score == whole.progress.val_score
    for name, value in whole.segmenter.state_dict().items():
        assert torch.equal(value, parts.segmenter.state_dict()[name]), name


def test_annealing_changes_what_is_learned(terrain, tmp_path):
    """Otherwise the test above would not show that progress is taken up again."""
    annealed, still = (trainer_of(terrain, tmp_path / name) for name in ("a", "b"))
    still.segmenter.head.progressed = lambda done: None
    annealed.run()
    still.run()
    assert annealed.progress.loss[:2] == still.progress.loss[:2]
    assert annealed.progress.loss[-1] != still.progress.loss[-1]


def test_a_frozen_body_is_read_from_images_and_not_stored(terrain, tmp_path):
    store = FeatureStore(tmp_path / "store", 2**20)
    recipe = RECIPE.model_copy(
        update={"augmentation": AugmentationSpec(crop=(64, 64), views=2), "steps": 4}
    )
    trainer = trainer_of(terrain, tmp_path / "run", "body", store, recipe)
    before = {name: value.clone() for name, value in trainer.segmenter.state_dict().items()}
    trainer.run()
    assert (trainer.features.computed, trainer.features.read) == (0, 0)
    assert not list((tmp_path / "store").rglob("*.safetensors"))
    for name, value in trainer.segmenter.state_dict().items():
        assert torch.equal(value, before[name]) == name.startswith("encoder.body."), name
    # its parameters are kept apart from the checkpoint, and found again
    again = trainer_of(terrain, tmp_path / "other", "body").segmenter
    best = load_checkpoint(trainer.best)
    load_model(again, best["model"], trainer.best)
    for name, value in again.encoder.body.state_dict().items():
        assert torch.equal(value, before[f"encoder.body.{name}"]), name


def test_rates_of_the_body_fall_with_depth(terrain, tmp_path):
    """Blocks with queries are blocks like the others."""
    segmenter = trainer_of(terrain, tmp_path).segmenter
    spec = OptimizerSpec(lr=1.0, encoder_lr_multiplier=0.1, layer_decay=0.5)
    rates = {
        name: group["lr"] for group in parameter_groups(segmenter, spec) for name in group["names"]
    }
    assert set(rates) == {name for name, _ in segmenter.named_parameters()}
    model = "encoder.body.reader.model"
    assert rates[f"{model}.norm.weight"] == pytest.approx(0.1)
    assert rates[f"{model}.blocks.5.mlp.fc1.weight"] == pytest.approx(0.1 * 0.5)
    assert rates[f"{model}.blocks.0.mlp.fc1.weight"] == pytest.approx(0.1 * 0.5**6)
    assert rates["head.queries.weight"] == 1.0
