"""Rules 11, 19, 22 and the promise of resuming: what a run computes depends on its spec alone."""

import hashlib
import os
import shutil
import signal

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from encoder_ablations.data.datasets.folder import FolderDataset
from encoder_ablations.data.loading.batches import training_batches
from encoder_ablations.data.loading.items import Batch
from encoder_ablations.data.views.augmentation import AugmentationSpec
from encoder_ablations.encoders.build import build_encoder
from encoder_ablations.encoders.spec import EncoderSpec
from encoder_ablations.engine.devices import make_accelerator
from encoder_ablations.engine.recipe import OptimizerSpec, Recipe, ScheduleSpec
from encoder_ablations.engine.training.checkpoints import load_checkpoint
from encoder_ablations.engine.training.loop import Trainer, TrainingData
from encoder_ablations.engine.training.steps import MicroBatch
from encoder_ablations.segmenters.base import Head, Segmenter
from encoder_ablations.segmenters.build import build_segmenter
from encoder_ablations.segmenters.heads.linear import LinearSpec
from encoder_ablations.segmenters.scores import ScoreMaps
from encoder_ablations.segmenters.spec import Mask2FormerSpec
from encoder_ablations.utils.errors import InputError

AUGMENTATION = AugmentationSpec(crop=(64, 64))
RECIPE = Recipe(
    steps=6,
    batch_size=4,
    evaluate_every=2,
    augmentation=AUGMENTATION,
    optimizer=OptimizerSpec(lr=1e-3),
)
MASK2FORMER = Mask2FormerSpec(
    name="mask2former", queries=5, hidden=32, heads=4, encoder_layers=1, decoder_layers=1, points=64
)
DARKNET = EncoderSpec(name="test_resnet", weights="random", channels=32)
VIT = EncoderSpec(name="test_vit", weights="random", channels=32)
LORA = EncoderSpec(
    name="test_vit", weights="random", channels=32, adapt={"lora": {"rank": 2, "dropout": 0.2}}
)


def data_of(terrain, count=8):
    train, val = FolderDataset(terrain, "train"), FolderDataset(terrain, "val")
    return TrainingData(terrain, train, list(range(count)), val, [0, 1])


def trainer_of(terrain, folder, recipe=RECIPE, segmenter=MASK2FORMER, encoder=DARKNET, seed=0):
    built = build_segmenter(segmenter, build_encoder(encoder, seed), 3, seed)
    return Trainer(built, data_of(terrain), recipe, seed, folder, make_accelerator("cpu"))


def digest(tensors):
    total = hashlib.sha256()
    for tensor in tensors:
        total.update(tensor.detach().contiguous().numpy().tobytes())
    return total.hexdigest()


def result(trainer):
    progress = trainer.progress
    return (
        digest(trainer.segmenter.state_dict().values()),
        progress.loss,
        progress.val_score,
        progress.best_step,
    )


@pytest.mark.parametrize(
    "segmenter", [MASK2FORMER, LinearSpec(name="linear")], ids=["mask2former", "linear"]
)
def test_same_spec_same_bits(terrain, tmp_path, segmenter):
    runs = []
    for name in ("a", "b"):
        torch.rand(17)  # whatever was drawn before must not matter
        trainer = trainer_of(terrain, tmp_path / name, segmenter=segmenter)
        trainer.run()
        runs.append(result(trainer))
    assert runs[0] == runs[1]
    other = trainer_of(terrain, tmp_path / "c", segmenter=segmenter, seed=1)
    other.run()
    assert result(other)[0] != runs[0][0]


class Killed(Exception):
    pass


@pytest.mark.parametrize(
    ("stop_at", "encoder"), [(1, DARKNET), (2, DARKNET), (3, DARKNET), (5, DARKNET), (3, LORA)]
)
def test_interrupted_and_resumed_same_bits(terrain, tmp_path, stop_at, encoder):
    undisturbed = trainer_of(terrain, tmp_path / "whole", encoder=encoder)
    undisturbed.run()

    def stop(_step, _status):
        if first.progress.step == stop_at:
            raise Killed

    first = trainer_of(terrain, tmp_path / "parts", encoder=encoder)
    with pytest.raises(Killed):
        first.run(stop)
    second = trainer_of(terrain, tmp_path / "parts", encoder=encoder)
    second.run()
    assert result(second) == result(undisturbed)
    lines = [(tmp_path / name / "metrics.jsonl").read_text() for name in ("whole", "parts")]
    assert lines[0] == lines[1]
    best = [
        load_checkpoint(tmp_path / name / "checkpoints" / "best.pt") for name in ("whole", "parts")
    ]
    assert best[0]["step"] == best[1]["step"]
    assert digest(best[0]["model"].values()) == digest(best[1]["model"].values())


@pytest.mark.parametrize(
    "reported", [False, True], ids=["within the step", "as the step is reported"]
)
def test_ctrl_c_finishes_the_step_and_saves_it(terrain, tmp_path, reported):
    undisturbed = trainer_of(terrain, tmp_path / "whole")
    undisturbed.run()
    first = trainer_of(terrain, tmp_path / "parts")
    step = first._step

    def pressed_within(batches):
        if first.progress.step == 2 and not reported:
            os.kill(os.getpid(), signal.SIGINT)
        return step(batches)

    def pressed_as_reported(done, _status):
        if done == 3 and reported:
            signal.raise_signal(signal.SIGINT)

    first._step = pressed_within
    with pytest.raises(KeyboardInterrupt):
        first.run(pressed_as_reported)
    assert load_checkpoint(tmp_path / "parts" / "checkpoints" / "last.pt")["progress"]["step"] == 3
    second = trainer_of(terrain, tmp_path / "parts")
    second.run()
    assert result(second) == result(undisturbed)


def test_a_run_does_not_go_on_from_another_ones_checkpoint(terrain, tmp_path):
    """The weights fit and the bytes are whole; only the name tells."""
    for name, seed in (("mine", 0), ("other", 1)):
        with pytest.raises(KeyboardInterrupt):
            trainer_of(terrain, tmp_path / name, seed=seed).run(
                lambda *_: signal.raise_signal(signal.SIGINT)
            )
    shutil.copy(tmp_path / "other/checkpoints/last.pt", tmp_path / "mine/checkpoints/last.pt")
    with pytest.raises(
        InputError, match=r"mine/checkpoints/last\.pt is a checkpoint of another run, other"
    ):
        trainer_of(terrain, tmp_path / "mine").run()


def test_loss_falls(terrain, tmp_path):
    fast = OptimizerSpec(lr=1e-2, encoder_lr_multiplier=1.0)
    recipe = RECIPE.model_copy(
        update={"steps": 40, "evaluate_every": 40, "batch_size": 2, "optimizer": fast}
    )
    trainer = trainer_of(terrain, tmp_path, recipe, LinearSpec(name="linear"))
    trainer.data = TrainingData(terrain, trainer.data.train, [0, 1], trainer.data.train, [0, 1])
    trainer.run()
    losses = trainer.progress.loss
    assert sum(losses[-5:]) < 0.7 * sum(losses[:5])


def test_every_encoder_sees_the_same_and_starts_from_the_same_head(terrain):
    """Rule 11: batches and head weights do not depend on the encoder."""
    heads = {}
    for encoder in (DARKNET, VIT):
        for segmenter in (MASK2FORMER, LinearSpec(name="linear")):
            built = build_segmenter(segmenter, build_encoder(encoder, 5), 3, 5)
            heads.setdefault(segmenter.name, set()).add(digest(built.head.state_dict().values()))
    assert {name: len(found) for name, found in heads.items()} == {"mask2former": 1, "linear": 1}

    def batches():
        loaded = training_batches(
            FolderDataset(terrain, "train"),
            list(range(8)),
            AUGMENTATION,
            seed=5,
            batch_size=4,
            steps=4,
        )
        return digest(
            tensor for step in loaded for batch in step for tensor in (batch.images, batch.masks)
        )

    first = batches()
    build_encoder(VIT, 9)
    assert batches() == first


@pytest.mark.parametrize("kept_as", [torch.uint8, torch.uint16])
def test_labels_are_int64_once_they_are_on_the_device(kept_as):
    masks = torch.tensor([[[0, 1, 255]]]).to(kept_as)
    batch = Batch(torch.zeros(1, 3, 1, 3), masks, others=masks)
    micro = MicroBatch.of(batch, batch.images, torch.device("cpu"))
    for found in (micro.masks, micro.others):
        assert (found.dtype, found.tolist()) == (torch.int64, [[[0, 1, 255]]])


class PlainHead(Head):
    """Without batch statistics or random points, so that splitting a batch may change nothing."""

    def __init__(self):
        super().__init__()
        self.classify = nn.Conv2d(32, 3, 1)

    def totals(self, masks):
        return {"pixels": (masks != 255).sum()}

    def loss(self, pyramid, masks, totals):
        logits = F.interpolate(self.classify(pyramid["p2"]), size=masks.shape[-2:], mode="bilinear")
        return {
            "ce": F.cross_entropy(logits, masks, ignore_index=255, reduction="sum")
            / totals["pixels"]
        }

    def predict(self, pyramid, image_size):
        return ScoreMaps(self.classify(pyramid["p2"]), image_size)


def plain_trainer(terrain, folder, accumulation, encoder):
    torch.manual_seed(0)
    encoder = build_encoder(encoder, 0)
    recipe = RECIPE.model_copy(
        update={
            "accumulation": accumulation,
            "steps": 3,
            "optimizer": OptimizerSpec(lr=1e-3, clip_norm=None),
        }
    )
    return Trainer(
        Segmenter(encoder, PlainHead()),
        data_of(terrain),
        recipe,
        0,
        folder,
        make_accelerator("cpu"),
    )


FROZEN = VIT.model_copy(update={"freeze": "body"})
WITHOUT_DROPOUT = EncoderSpec(**LORA.model_dump(exclude={"adapt"}), adapt={"lora": {"rank": 2}})


@pytest.mark.parametrize("encoder", [FROZEN, WITHOUT_DROPOUT], ids=["frozen", "adapters"])
def test_accumulation_equals_one_large_batch(terrain, tmp_path, encoder):
    """Rule 22, also where micro-batches hold different numbers of labelled pixels (crops at the
    border are padded)."""
    losses = {}
    for accumulation in (1, 2, 4):
        trainer = plain_trainer(terrain, tmp_path / str(accumulation), accumulation, encoder)
        trainer.run()
        losses[accumulation] = torch.tensor(trainer.progress.loss)
    assert torch.allclose(losses[1], losses[2], atol=1e-5)
    assert torch.allclose(losses[1], losses[4], atol=1e-5)


def test_frozen_body_survives_training_and_resume(terrain, tmp_path):
    """Rule 9, through the whole engine."""
    encoder = DARKNET.model_copy(update={"freeze": "body"})
    before = digest(build_encoder(encoder, 0).body.state_dict().values())

    def stop(_step, _status):
        if first.progress.step == 3:
            raise Killed

    first = trainer_of(terrain, tmp_path, encoder=encoder)
    with pytest.raises(Killed):
        first.run(stop)
    second = trainer_of(terrain, tmp_path, encoder=encoder)
    second.run()
    assert digest(second.segmenter.encoder.body.state_dict().values()) == before
    assert not second.segmenter.encoder.body.training
    neck = build_encoder(encoder, 0).neck.state_dict().values()
    assert digest(second.segmenter.encoder.neck.state_dict().values()) != digest(neck)


@pytest.mark.parametrize(
    ("precision", "encoder"), [("bf16", VIT), ("fp16", VIT), ("bf16", WITHOUT_DROPOUT)]
)
def test_mixed_precision_follows_float32(terrain, tmp_path, precision, encoder):
    losses = []
    for name in ("fp32", precision):
        recipe = RECIPE.model_copy(
            update={"precision": name, "steps": 3, "schedule": ScheduleSpec(), "evaluate_every": 3}
        )
        trainer = trainer_of(terrain, tmp_path / name, recipe, encoder=encoder)
        trainer.run()
        losses.append(torch.tensor(trainer.progress.loss))
    assert torch.allclose(losses[0], losses[1], rtol=0.05)
    assert not torch.equal(losses[0], losses[1])


def test_a_loss_that_is_not_finite_stops_the_run(terrain, tmp_path):
    trainer = trainer_of(terrain, tmp_path, segmenter=LinearSpec(name="linear"))
    with torch.no_grad():
        next(trainer.segmenter.head.parameters()).fill_(float("nan"))
    with pytest.raises(FloatingPointError, match="the loss is nan at step 0"):
        trainer.run()
