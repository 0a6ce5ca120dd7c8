"""Mixed samples, balanced crops and changed pixels in training: exact losses, exact resuming."""

import hashlib

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from encoder_ablations.data.datasets.folder import FolderDataset
from encoder_ablations.data.views.augmentation import AugmentationSpec
from encoder_ablations.encoders.build import build_encoder
from encoder_ablations.encoders.spec import EncoderSpec
from encoder_ablations.engine.devices import make_accelerator
from encoder_ablations.engine.recipe import OptimizerSpec, Recipe
from encoder_ablations.engine.training.loop import Trainer, TrainingData
from encoder_ablations.experiments.runs.execution import Execution
from encoder_ablations.experiments.runs.run import execute_run
from encoder_ablations.experiments.runs.spec import RunSpec
from encoder_ablations.experiments.workers.preflight import find_problems
from encoder_ablations.segmenters.base import Segmenter
from encoder_ablations.segmenters.build import build_segmenter
from encoder_ablations.segmenters.features import OtherMasks
from encoder_ablations.segmenters.heads.dense import DenseHead
from encoder_ablations.segmenters.spec import LinearSpec, Mask2FormerSpec
from encoder_ablations.utils.errors import InputError
from encoder_ablations.utils.seeding import torch_stream

ENCODER = EncoderSpec(name="test_resnet", weights="random", channels=32)
ALWAYS = {"probability": 0.7}
SETTINGS = {
    "pixels": {"gamma": ALWAYS, "greyscale": 0.3, "blur": ALWAYS, "noise": ALWAYS, "jpeg": ALWAYS},
    "cutmix": {"mix": {"kind": "cutmix"}},
    "classmix": {"mix": {"kind": "classmix"}},
    "mixup": {"mix": {"kind": "mixup", "probability": 0.7}},
    "balance": {"class_balance": {"max_share": 0.75, "temperature": 0.1, "least_pixels": 20}},
}
PIXELS = [9000, 900, 100]


class PlainHead(DenseHead):
    """Without BatchNorm, so that splitting a batch may change nothing."""

    stride = 4

    def __init__(self, losses=None):
        super().__init__(LinearSpec(name="linear", loss=losses or {"cross_entropy": 1}), 3)
        self.classify = nn.Conv2d(32, 3, 1)

    def forward(self, pyramid):
        return self.classify(pyramid["p2"])


def plain_segmenter(losses=None):
    encoder = build_encoder(ENCODER.model_copy(update={"freeze": "body"}), 0)
    with torch_stream(0, "head"):
        return Segmenter(encoder, PlainHead(losses))


def trainer_of(terrain, folder, settings, segmenter=None, **recipe):
    """Images of 64×64 are shrunk or enlarged, so that some crops are padded."""
    train, val = FolderDataset(terrain, "train"), FolderDataset(terrain, "val")
    data = TrainingData(terrain, train, list(range(8)), val, [0], PIXELS)
    content = {"steps": 4, "batch_size": 4, "evaluate_every": 2} | recipe
    recipe = Recipe(
        augmentation=AugmentationSpec(crop=(40, 40), **settings),
        optimizer=OptimizerSpec(lr=1e-3, clip_norm=None),
        **content,
    )
    if segmenter is None:
        segmenter = build_segmenter(LinearSpec(name="linear"), build_encoder(ENCODER, 0), 3, 0)
    return Trainer(segmenter, data, recipe, 0, folder, make_accelerator("cpu"))


def result(trainer):
    digest = hashlib.sha256()
    for tensor in trainer.segmenter.state_dict().values():
        digest.update(tensor.detach().contiguous().numpy().tobytes())
    return digest.hexdigest(), trainer.progress.loss, trainer.progress.val_score


class Killed(Exception):
    pass


@pytest.fixture(scope="module")
def usual_bits(terrain, tmp_path_factory):
    trainer = trainer_of(terrain, tmp_path_factory.mktemp("usual"), {})
    trainer.run()
    return result(trainer)[0]


@pytest.mark.parametrize("name", SETTINGS)
def test_a_killed_run_ends_with_the_same_bits(terrain, tmp_path, name, usual_bits):
    whole = trainer_of(terrain, tmp_path / "whole", SETTINGS[name])
    whole.run()

    def stop(step, _status):
        if step == 3:
            raise Killed

    with pytest.raises(Killed):
        trainer_of(terrain, tmp_path / "parts", SETTINGS[name]).run(stop)
    resumed = trainer_of(terrain, tmp_path / "parts", SETTINGS[name])
    resumed.run()
    assert result(resumed) == result(whole)
    assert result(whole)[0] != usual_bits


@pytest.mark.parametrize("name", ["mixup", "cutmix", "classmix", "balance"])
def test_accumulation_equals_one_large_batch(terrain, tmp_path, name):
    """Rule 22, with both masks' different numbers of labelled pixels in each micro-batch."""
    losses = {}
    for accumulation in (1, 2, 4):
        trainer = trainer_of(
            terrain,
            tmp_path / str(accumulation),
            SETTINGS[name],
            plain_segmenter({"cross_entropy": 1, "dice": 0.5}),
            accumulation=accumulation,
        )
        trainer.run()
        losses[accumulation] = torch.tensor(trainer.progress.loss)
    assert torch.allclose(losses[1], losses[2], atol=1e-5)
    assert torch.allclose(losses[1], losses[4], atol=1e-5)


def blend(share, losses=None, size=(32, 40)):
    """A segmenter's loss of blended images; masks, and the logits at their size."""
    torch.manual_seed(0)
    segmenter = plain_segmenter(losses)
    images = torch.randint(0, 256, (2, 3, *size), dtype=torch.uint8)
    first, second = torch.randint(0, 3, (2, 2, *size))
    totals = [segmenter.totals(masks) for masks in (first, second)]
    other = OtherMasks(second, totals[1], 1 - share)
    found = segmenter.loss(images, first, totals[0], other)
    return found, segmenter, images, (first, second)


def test_the_loss_is_that_of_soft_targets():
    """For cross-entropy, MixUp's sum of losses is the loss of the mixed one-hot targets."""
    found, segmenter, images, masks = blend(0.3, size=(32, 64))
    hot = [F.one_hot(each, 3).permute(0, 3, 1, 2).float() for each in masks]
    expected = F.cross_entropy(segmenter.scores(images), 0.3 * hot[0] + 0.7 * hot[1])
    assert found["cross_entropy"].item() == pytest.approx(expected.item(), rel=1e-5)


@pytest.mark.parametrize("loss", ["cross_entropy", "dice", "focal", "lovasz", "bce"])
def test_the_loss_is_the_weighted_sum_of_both(loss):
    """Also where images are padded to the encoder's stride, and pixels are ignored."""
    found, segmenter, images, (first, second) = blend(0.3, {loss: 2}, size=(30, 41))
    parts = [segmenter.loss(images, masks)[loss] for masks in (first, second)]
    assert found[loss].item() == pytest.approx((0.3 * parts[0] + 0.7 * parts[1]).item(), rel=1e-5)
    ignored = torch.full_like(second, 255)
    other = OtherMasks(ignored, segmenter.totals(ignored), 0.7)
    alone = segmenter.loss(images, first, None, other)[loss].item()
    assert alone == pytest.approx(0.3 * parts[0].item(), rel=1e-5)


def test_the_head_predicts_once():
    """BatchNorm's statistics move once, as in any other step."""
    segmenter = build_segmenter(LinearSpec(name="linear"), build_encoder(ENCODER, 0), 3, 0)
    images, masks = torch.zeros(2, 3, 32, 32), torch.zeros(2, 32, 32).long()
    segmenter.train()
    segmenter.loss(images, masks, None, OtherMasks(masks, segmenter.totals(masks), 0.5))
    assert segmenter.head.norm.num_batches_tracked == 1


def run_spec(dataset, augmentation, segmenter="linear", **changes):
    tiny = Mask2FormerSpec(
        name="mask2former", queries=5, hidden=32, heads=4, encoder_layers=1, decoder_layers=1
    )
    return RunSpec(
        encoder=ENCODER,
        segmenter={"linear": LinearSpec(name="linear"), "mask2former": tiny}[segmenter],
        dataset=dataset,
        recipe={
            "steps": 2,
            "batch_size": 2,
            "evaluate_every": 2,
            "augmentation": {"crop": [64, 64]} | augmentation,
        },
        **changes,
    )


def test_set_prediction_heads_learn_from_pasted_samples_alone(terrain):
    def problems(name):
        return list(
            find_problems(
                [run_spec(terrain, SETTINGS[name], "mask2former")], Execution("cpu")
            ).values()
        )

    (line,) = problems("mixup")
    assert "mixup gives each image two masks" in line
    assert "cutmix" in line
    assert "\n" not in line
    assert problems("cutmix") == problems("classmix") == []


def test_a_trainer_refuses_blends_that_the_head_cannot_learn(terrain, tmp_path):
    head = Mask2FormerSpec(
        name="mask2former", queries=5, hidden=32, heads=4, encoder_layers=1, decoder_layers=1
    )
    segmenter = build_segmenter(head, build_encoder(ENCODER, 0), 3, 0)
    with pytest.raises(InputError, match="two masks"):
        trainer_of(terrain, tmp_path, SETTINGS["mixup"], segmenter).run()


def test_one_training_image_is_refused_before_the_start(terrain):
    spec = run_spec(terrain, SETTINGS["cutmix"], fraction=1 / 24)
    (line,) = find_problems([spec], Execution("cpu")).values()
    assert "there is only one" in line


def test_frequencies_are_those_of_the_runs_own_images(terrain, tmp_path, monkeypatch):
    given = []
    started = Trainer.__init__

    def noted(self, segmenter, data, *arguments, **options):
        given.append(data.class_pixels)
        started(self, segmenter, data, *arguments, **options)

    monkeypatch.setattr(Trainer, "__init__", noted)
    spec = run_spec(terrain, SETTINGS["balance"], fraction=0.25)
    record = execute_run(spec, tmp_path / spec.run_id, Execution("cpu"))
    assert record.status == "finished", record.error
    assert given == [record.data.class_pixels]
    assert sum(given[0]) == 6 * 64 * 64
