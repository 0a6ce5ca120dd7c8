"""Training on the classes of whole images: the promises that hold for masks hold here, too."""

import json

import pytest
import torch
from image_classes import write_folders

from encoder_ablations.data.datasets.folder import FolderDataset
from encoder_ablations.data.views.augmentation import AugmentationSpec
from encoder_ablations.encoders.build import build_encoder
from encoder_ablations.encoders.spec import EncoderSpec
from encoder_ablations.engine.devices import make_accelerator
from encoder_ablations.engine.frozen.feature_store import FeatureStore
from encoder_ablations.engine.recipe import OptimizerSpec, Recipe
from encoder_ablations.engine.training.loop import Trainer, TrainingData
from encoder_ablations.segmenters.build import build_segmenter
from encoder_ablations.segmenters.spec import ClassifierSpec

VIT = EncoderSpec(name="test_vit", weights="random", neck="none")


@pytest.fixture(scope="module")
def colors(tmp_path_factory):
    return write_folders(tmp_path_factory.mktemp("colors"))


def trainer(colors, folder, freeze="none", store=None, normalize=True, **changes):
    recipe = {
        "steps": 6,
        "batch_size": 4,
        "evaluate_every": 2,
        "augmentation": AugmentationSpec(crop=(64, 64), scale=(1, 1.5), views=2),
        "optimizer": OptimizerSpec(lr=1e-3, clip_norm=None),
    }
    encoder = build_encoder(VIT.model_copy(update={"freeze": freeze}), 0)
    head = ClassifierSpec(name="classifier", normalize=normalize)
    sets = FolderDataset(colors, "train"), FolderDataset(colors, "val")
    data = TrainingData(colors, sets[0], list(range(18)), sets[1], list(range(9)))
    built = build_segmenter(head, encoder, 3, 0)
    recipe = Recipe(**recipe | changes)
    return Trainer(built, data, recipe, 0, folder, make_accelerator("cpu"), store=store)


def state(trainer):
    return trainer.segmenter.state_dict()


class KilledError(Exception):
    pass


def test_interrupted_and_resumed_same_bits(colors, tmp_path):
    whole = trainer(colors, tmp_path / "whole")
    whole.run()

    def stop(_step, _status):
        if first.progress.step == 3:
            raise KilledError

    first = trainer(colors, tmp_path / "parts")
    with pytest.raises(KilledError):
        first.run(stop)
    second = trainer(colors, tmp_path / "parts")
    second.run()
    assert second.progress.loss == whole.progress.loss
    for name, value in state(whole).items():
        assert torch.equal(value, state(second)[name]), name
    lines = (tmp_path / "parts" / "metrics.jsonl").read_text().splitlines()
    last = [line for line in map(json.loads, lines) if "val_accuracy" in line][-1]
    assert last["step"] == 6
    assert last["val_accuracy"] == whole.progress.val_score[-1]
    assert last["val_balanced_accuracy"] == whole.progress.validation("balanced_accuracy")[-1]


def test_accumulation_equals_one_large_batch(colors, tmp_path):
    losses = []
    for accumulation in (1, 2, 4):
        folder = tmp_path / str(accumulation)
        one = trainer(colors, folder, normalize=False, accumulation=accumulation)
        one.run()
        losses.append(torch.tensor(one.progress.loss))
    assert torch.allclose(losses[0], losses[1], atol=1e-5)
    assert torch.allclose(losses[0], losses[2], atol=1e-5)


def test_stored_features_of_a_frozen_body_change_no_bit(colors, tmp_path):
    plain = trainer(colors, tmp_path / "plain", freeze="body")
    plain.run()
    store = FeatureStore(tmp_path / "store", 1 << 30)
    for name in ("fills", "reads"):
        stored = trainer(colors, tmp_path / name, freeze="body", store=store)
        stored.run()
        assert stored.progress.loss == plain.progress.loss
        assert stored.progress.val_score == plain.progress.val_score
