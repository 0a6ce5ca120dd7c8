"""Training on masks and classes of whole images together: one pass, and the usual promises."""

import pytest
import torch
from image_labels import write_both_labels

from encoder_ablations.data.datasets.folder import FolderDataset
from encoder_ablations.data.views.augmentation import AugmentationSpec
from encoder_ablations.encoders.build import build_encoder
from encoder_ablations.encoders.spec import EncoderSpec
from encoder_ablations.engine.devices import make_accelerator
from encoder_ablations.engine.frozen.feature_store import FeatureStore
from encoder_ablations.engine.recipe import OptimizerSpec, Recipe
from encoder_ablations.engine.training.data import TrainingData
from encoder_ablations.engine.training.loop import Trainer
from encoder_ablations.segmenters.build import build_segmenter
from encoder_ablations.segmenters.references import load_segmenter
from encoder_ablations.utils.errors import InputError

VIT = EncoderSpec(name="test_vit", weights="random", channels=32)
NORMLESS = {"base": "fpn", "hidden": 16, "branch_hidden": 16}
SETTINGS = NORMLESS | {"image_head": {"weight": 0.5}}


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    return write_both_labels(tmp_path_factory.mktemp("both"))


def segmenter(settings=SETTINGS, freeze="none"):
    encoder = build_encoder(VIT.model_copy(update={"freeze": freeze}), 0)
    return build_segmenter(load_segmenter(settings), encoder, 2, 0, image_classes=3)


def trainer(both, folder, settings=SETTINGS, freeze="none", store=None, **changes):
    recipe = {
        "steps": 6,
        "batch_size": 4,
        "evaluate_every": 2,
        "augmentation": AugmentationSpec(crop=(64, 64), scale=(1, 1.5), views=2),
        "optimizer": OptimizerSpec(lr=1e-3, clip_norm=None),
    }
    sets = FolderDataset(both, "train"), FolderDataset(both, "val")
    data = TrainingData(both, sets[0], list(range(18)), sets[1], list(range(9)))
    recipe = Recipe(**recipe | changes)
    built = segmenter(settings, freeze)
    return Trainer(built, data, recipe, 0, folder, make_accelerator("cpu"), store=store)


def state(trainer):
    return trainer.segmenter.state_dict()


class KilledError(Exception):
    pass


def test_interrupted_and_resumed_same_bits(both, tmp_path):
    whole = trainer(both, tmp_path / "whole")
    whole.run()

    def stop(_step, _status):
        if first.progress.step == 3:
            raise KilledError

    first = trainer(both, tmp_path / "parts")
    with pytest.raises(KilledError):
        first.run(stop)
    second = trainer(both, tmp_path / "parts")
    second.run()
    assert second.progress.terms["image_class"] == whole.progress.terms["image_class"]
    for name, value in state(whole).items():
        assert torch.equal(value, state(second)[name]), name
    assert "image_head.classifier.weight" in state(whole)


def test_accumulation_equals_one_large_batch(both, tmp_path):
    losses = []
    for accumulation in (1, 2, 4):
        one = trainer(both, tmp_path / str(accumulation), accumulation=accumulation)
        one.run()
        losses.append(torch.tensor(one.progress.terms["image_class"]))
    assert torch.allclose(losses[0], losses[1], atol=1e-5)
    assert torch.allclose(losses[0], losses[2], atol=1e-5)


def test_stored_features_of_a_frozen_body_change_no_bit(both, tmp_path):
    plain = trainer(both, tmp_path / "plain", freeze="body")
    plain.run()
    store = FeatureStore(tmp_path / "store", 1 << 30)
    for name in ("fills", "reads"):
        stored = trainer(both, tmp_path / name, freeze="body", store=store)
        stored.run()
        assert stored.progress.terms == plain.progress.terms


def test_the_loss_is_the_weighted_mean_over_images():
    built = segmenter()
    images = torch.randint(0, 256, (3, 3, 64, 64))
    masks, classes = torch.zeros(3, 64, 64, dtype=torch.long), torch.tensor([2, 0, 1])
    terms = built.loss(images, masks, image_classes=classes)
    scores = built.predict(images).image_scores
    expected = 0.5 * torch.nn.functional.cross_entropy(scores, classes)
    assert torch.allclose(terms["image_class"], expected)
    alone = segmenter(NORMLESS)
    assert torch.equal(terms["cross_entropy"], alone.loss(images, masks)["cross_entropy"])
    assert "image_class" not in alone.loss(images, masks)


def test_one_pass_of_the_body_gives_both():
    images = torch.randint(0, 256, (1, 3, 64, 64))
    found, calls = [], []
    for settings in (SETTINGS, NORMLESS):
        built = segmenter(settings).eval()
        first = next(m for m in built.encoder.body.modules() if isinstance(m, torch.nn.Conv2d))
        first.register_forward_hook(lambda *_: calls.append(1))
        found.append(built.predict(images))
    assert len(calls) == 2
    assert torch.equal(found[0].maps, found[1].maps)
    assert found[0].image_scores.shape == (1, 3)
    assert found[1].image_scores is None


def test_padding_is_not_part_of_the_mean():
    built = segmenter().eval()
    images = torch.randint(0, 256, (1, 3, 40, 64))
    maps = built.features(images).maps[-1]
    rows = -(-40 // int(built.encoder.body.reductions[-1]))
    assert rows < maps.shape[2]
    expected = built.image_head.classifier(maps[:, :, :rows].mean(dim=(2, 3)))
    assert torch.equal(built.predict(images).image_scores, expected)


def test_all_that_only_the_image_head_reads_learns():
    """Also where the other head leaves levels unread."""
    head = {"base": "deeplabv3plus", "hidden": 32, "norm": "group"}
    built = segmenter(head | {"image_head": {}})
    images, masks = torch.randint(0, 256, (2, 3, 64, 64)), torch.zeros(2, 64, 64).long()
    sum(built.loss(images, masks, image_classes=torch.tensor([0, 1])).values()).backward()
    learning = {name: each for name, each in built.named_parameters() if each.requires_grad}
    assert [name for name, each in learning.items() if each.grad is None] == []
    assert "image_head.classifier.weight" in learning


def test_refusals(both, tmp_path):
    encoder = build_encoder(EncoderSpec(name="test_vit", weights="random", neck="none"), 0)
    with pytest.raises(InputError, match="reads the body itself"):
        build_segmenter(load_segmenter({"base": "eomt", "image_head": {}}), encoder, 2, 0, 3)
    with pytest.raises(InputError, match="image_head"):
        build_segmenter(load_segmenter(SETTINGS), build_encoder(VIT, 0), 2, 0)
    mixed = AugmentationSpec(crop=(64, 64), mix={"kind": "cutmix"})
    with pytest.raises(InputError, match="cutmix shows two images"):
        trainer(both, tmp_path, augmentation=mixed).run()
