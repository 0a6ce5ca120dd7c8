"""A user's own callbacks and steps: when they are called, and what is left of them after a kill."""

import numpy as np
import pytest
import torch

from encoder_ablations.data.datasets.folder import FolderDataset
from encoder_ablations.data.views.augmentation import AugmentationSpec
from encoder_ablations.encoders.build import build_encoder
from encoder_ablations.encoders.spec import EncoderSpec
from encoder_ablations.engine.devices import make_accelerator
from encoder_ablations.engine.recipe import OptimizerSpec, Recipe
from encoder_ablations.engine.training.callbacks import Callback, Callbacks
from encoder_ablations.engine.training.checkpoints import load_checkpoint
from encoder_ablations.engine.training.loop import Trainer, TrainingData
from encoder_ablations.engine.training.steps import PlainStep
from encoder_ablations.segmenters.build import build_segmenter
from encoder_ablations.segmenters.heads.linear import LinearSpec
from encoder_ablations.utils.errors import InputError

RECIPE = Recipe(
    steps=4,
    batch_size=2,
    evaluate_every=2,
    augmentation=AugmentationSpec(crop=(64, 64)),
    optimizer=OptimizerSpec(lr=1e-3),
)


class Killed(Exception):
    """As by a signal: nothing can be saved."""


class Diary(Callback):
    """Notes every hook, and averages a parameter over the steps."""

    def __init__(self, kill_at=None):
        self.kill_at = kill_at
        self.lines = []
        self.average = torch.zeros(())
        self.ended = None

    def on_start(self, training):
        self.training = training
        self.begun_at = training.progress.step

    def on_step(self, report):
        self.lines.append(f"step {report.step} {report.loss:.6f} {report.mean_loss:.6f}")
        parameter = next(iter(self.training.segmenter.head.parameters()))
        self.average = 0.5 * self.average + 0.5 * parameter.detach().flatten()[0]
        if report.step == self.kill_at:
            raise Killed

    def on_evaluation(self, report):
        saved = self.training.folder / "checkpoints" / "best.pt"
        assert not report.best or load_checkpoint(saved)["step"] == report.step
        counted = int(report.confusion.counts.sum())
        self.lines.append(f"evaluation {report.step} {report.miou:.6f} {counted}")

    def on_checkpoint(self, step):
        self.lines.append(f"checkpoint {step}")

    def on_end(self, step, finished):
        self.ended = (step, finished)

    def state_dict(self):
        return {"lines": list(self.lines), "average": self.average}

    def load_state_dict(self, state):
        self.lines, self.average = state["lines"], state["average"]


def trainer_of(terrain, folder, callbacks=(), make_step=PlainStep):
    encoder = build_encoder(EncoderSpec(name="test_resnet", weights="random", channels=32), 0)
    segmenter = build_segmenter(LinearSpec(name="linear"), encoder, 3, 0)
    train, val = FolderDataset(terrain, "train"), FolderDataset(terrain, "val")
    data = TrainingData(terrain, train, list(range(4)), val, [0])
    return Trainer(
        segmenter,
        data,
        RECIPE,
        0,
        folder,
        make_accelerator("cpu"),
        callbacks=callbacks,
        make_step=make_step,
    )


def test_every_hook_is_called_in_order_and_the_state_survives_a_kill(terrain, tmp_path):
    whole = Diary()
    trainer_of(terrain, tmp_path / "whole", [whole]).run()
    assert [" ".join(line.split()[:2]) for line in whole.lines] == [
        "step 1",
        "step 2",
        "evaluation 2",
        "checkpoint 2",
        "step 3",
        "step 4",
        "evaluation 4",
        "checkpoint 4",
    ]
    assert (whole.begun_at, whole.ended) == (0, (4, True))

    first = Diary(kill_at=3)
    with pytest.raises(Killed):
        trainer_of(terrain, tmp_path / "parts", [first]).run()
    assert first.ended == (3, False)
    second = Diary()
    trainer_of(terrain, tmp_path / "parts", [second]).run()
    assert (second.begun_at, second.ended) == (2, (4, True))
    assert second.lines == whole.lines
    assert torch.equal(second.average, whole.average)

    # without it the state would be lost
    with pytest.raises(InputError, match="Diary"):
        trainer_of(terrain, tmp_path / "parts").run()


def test_two_callbacks_of_one_class_and_a_state_that_cannot_be_saved_are_refused():
    with pytest.raises(InputError, match="Diary, Diary"):
        Callbacks([Diary(), Diary()])
    diary = Diary()
    diary.lines = [np.float32(1.5)]
    with pytest.raises(InputError, match=r"Diary.*lines.*float32"):
        Callbacks([diary]).state_dict()


class CountingStep(PlainStep):
    """A plain step with a state of its own."""

    taken = 0

    def take(self, batch, reduce):
        self.taken += 1
        return super().take(batch, reduce)

    def state_dict(self):
        return {"taken": self.taken}

    def load_state_dict(self, state):
        self.taken = state["taken"]


def test_another_kind_of_step_takes_its_place_and_its_state_survives_a_kill(terrain, tmp_path):
    with pytest.raises(Killed):
        trainer_of(terrain, tmp_path, [Diary(kill_at=3)], CountingStep).run()
    trainer = trainer_of(terrain, tmp_path, [Diary()], CountingStep)
    trainer.run()
    assert trainer.step.taken == 4
