"""Private training: what a step computes, what it resumes to, and what it refuses."""

import math

import numpy as np
import pytest
import torch
from torch import nn

from encoder_ablations.data.datasets.folder import FolderDataset
from encoder_ablations.data.datasets.sample import Sample
from encoder_ablations.data.loading.batches import poisson_batches
from encoder_ablations.data.views.augmentation import AugmentationSpec
from encoder_ablations.encoders.build import build_encoder
from encoder_ablations.encoders.spec import EncoderSpec
from encoder_ablations.engine.devices import make_accelerator
from encoder_ablations.engine.recipe import Recipe
from encoder_ablations.engine.training.checkpoints import load_checkpoint
from encoder_ablations.engine.training.data import TrainingData
from encoder_ablations.engine.training.loop import Trainer
from encoder_ablations.engine.training.lr_range import RangeSettings, range_test
from encoder_ablations.engine.training.optimizer import build_optimizer
from encoder_ablations.engine.training.private.accountant import Steps, epsilon_of, noise_for
from encoder_ablations.engine.training.private.gradients import ClippedSum
from encoder_ablations.engine.training.private.step import PrivateStep
from encoder_ablations.engine.training.steps import MicroBatch, StepSetup
from encoder_ablations.segmenters.build import build_segmenter
from encoder_ablations.segmenters.spec import (
    LinearSpec,
    Mask2FormerSpec,
    UNetSpec,
    UPerNetSpec,
)
from encoder_ablations.utils.config import build
from encoder_ablations.utils.errors import InputError

pytest.importorskip("opacus", reason="Opacus (the extra privacy) is not installed")

VIT = EncoderSpec(name="test_vit", weights="random", channels=32)
FROZEN = EncoderSpec(name="test_vit", weights="random", channels=32, freeze="body")
LINEAR = LinearSpec(name="linear", norm="group")
HEADS = {
    "linear": LINEAR,
    "unet": UNetSpec(name="unet", norm="group", widths=(16, 8, 8)),
    "upernet": UPerNetSpec(name="upernet", norm="group", hidden=16),
    "mask2former": Mask2FormerSpec(
        name="mask2former",
        queries=5,
        hidden=32,
        heads=4,
        encoder_layers=1,
        decoder_layers=1,
        points=64,
    ),
}
SGD = {
    "name": "sgd",
    "lr": 1.0,
    "encoder_lr_multiplier": 1.0,
    "weight_decay": 0.0,
    "clip_norm": None,
}
PRIVACY = {"noise": 1.0, "clip": 0.5, "accountant": "gdp"}


def recipe_of(**changes):
    content = {
        "steps": 6,
        "batch_size": 3,
        "evaluate_every": 2,
        "augmentation": {"crop": [64, 64]},
        "optimizer": SGD,
        "privacy": PRIVACY,
    }
    return build(Recipe, content | changes, "recipe")


def model_of(head=LINEAR, encoder=FROZEN):
    return build_segmenter(head, build_encoder(encoder, 0), 3, 0).train()


def step_of(model, recipe=None, images=10, accelerator=None):
    recipe = recipe or recipe_of()
    accelerator = accelerator or make_accelerator("cpu")
    optimizer = build_optimizer(model, recipe.optimizer)
    return PrivateStep(StepSetup(model, optimizer, recipe, accelerator), 0, images)


def batch_of(count, seed=0):
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 256, (count, 3, 64, 64), generator=generator, dtype=torch.uint8)
    masks = torch.randint(0, 3, (count, 64, 64), generator=generator)
    masks[:, :8] = 255
    masks[:1, :40] = 255  # images differ in how many pixels count
    masks[1:2] = 255  # nothing of this one does
    return MicroBatch(images, masks)


def change_by(model, batch, recipe=None):
    """What a step of gradient descent at rate 1 takes from the weights that learn."""
    learning = {name: each for name, each in model.named_parameters() if each.requires_grad}
    before = {name: each.detach().clone() for name, each in learning.items()}
    torch.manual_seed(0)
    step_of(model, recipe).take([batch], float)
    return {name: before[name] - each.detach() for name, each in learning.items()}


def clipped_sum(model, batch, clip):
    """The definition, without the code under test: autograd's gradients of single images."""
    parameters = [each for each in model.parameters() if each.requires_grad]
    torch.manual_seed(0)
    total = [torch.zeros_like(each) for each in parameters]
    for image, mask in zip(batch.images, batch.masks, strict=True):
        model.zero_grad()
        sum(model.loss(image[None], mask[None]).values()).backward()
        found = [torch.zeros_like(p) if p.grad is None else p.grad.clone() for p in parameters]
        norm = math.sqrt(sum(float((each**2).sum()) for each in found))
        total = [
            one + each * min(1, clip / (norm + 1e-6))
            for one, each in zip(total, found, strict=True)
        ]
    model.zero_grad()
    return total


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("encoder", [FROZEN, VIT], ids=["frozen", "fine-tuned"])
def test_a_step_without_noise_is_the_mean_of_clipped_gradients(head, encoder, monkeypatch):
    monkeypatch.setattr(torch, "randn", lambda shape, **_: torch.zeros(shape))
    model, batch = model_of(HEADS[head], encoder), batch_of(3)
    expected = clipped_sum(model, batch, clip=0.5)
    found = change_by(model, batch)
    assert any("encoder.body" in name for name in found) == (encoder is VIT)
    for change, wanted in zip(found.values(), expected, strict=True):
        assert torch.allclose(change * 3, wanted, atol=1e-5)


def test_summed_clipped_gradients_are_opacus():
    from opacus import GradSampleModule

    torch.manual_seed(0)
    head = nn.Sequential(nn.GroupNorm(4, 8), nn.Conv2d(8, 3, 1))
    maps, masks = torch.randn(5, 8, 6, 6), torch.randint(0, 3, (5, 6, 6))
    ours = ClippedSum(list(head.parameters()), clip=0.3)
    for one in range(5):
        ours.add(nn.functional.cross_entropy(head(maps[one : one + 1]), masks[one : one + 1]))
    theirs = GradSampleModule(head, loss_reduction="sum")
    losses = nn.functional.cross_entropy(theirs(maps), masks, reduction="none")
    losses.mean(dim=(1, 2)).sum().backward()
    samples = [each.grad_sample for each in theirs.parameters()]
    norms = torch.stack([each.flatten(1).norm(dim=1) for each in samples]).norm(dim=0)
    assert norms.max() > 0.3 > norms.min() * 0.1
    factors = (0.3 / (norms + 1e-6)).clamp(max=1.0)  # opacus/optimizers/optimizer.py
    for own, each in zip(ours.sums, samples, strict=True):
        assert torch.allclose(own, torch.einsum("i,i...", factors, each), atol=1e-6)


def test_an_image_more_changes_the_sum_by_the_clip_at_most(monkeypatch):
    monkeypatch.setattr(torch, "randn", lambda shape, **_: torch.zeros(shape))
    whole = batch_of(3)
    less = MicroBatch(whole.images[:2], whole.masks[:2])
    recipe = recipe_of(privacy={**PRIVACY, "clip": 0.05})
    changes = [change_by(model_of(), batch, recipe) for batch in (whole, less)]
    difference = [3 * (changes[0][name] - changes[1][name]) for name in changes[0]]
    norm = torch.stack([each.norm() for each in difference]).norm()
    assert 0.0499 < norm <= 0.05 + 1e-6


def test_an_empty_sample_is_noise_alone():
    recipe = recipe_of(privacy={**PRIVACY, "noise": 2.0})
    empty = MicroBatch(torch.zeros(0, 3, 0, 0), torch.zeros(0, 0, 0, dtype=torch.int64))
    found = torch.cat([each.flatten() for each in change_by(model_of(), empty, recipe).values()])
    assert found.std() == pytest.approx(2.0 * 0.5 / 3, rel=0.1)
    assert found.numel() > 300


def test_every_step_has_noise_of_its_own():
    model, empty = model_of(), batch_of(0)
    step, states = step_of(model), []
    for _ in range(3):
        states.append(model.head.classifier.weight.detach().clone())
        step.take([empty], float)
    assert not torch.allclose(states[1] - states[0], states[2] - states[1])


def test_noise_is_new_at_every_step_and_the_same_for_the_same_step():
    sums = ClippedSum([nn.Parameter(torch.zeros(50))], 1.0)
    first, again, second = (sums.noised(1.0, 0, step)[0] for step in (0, 0, 1))
    assert first.equal(again)
    assert not first.equal(second)


class Blank(FolderDataset):
    """Training images of one colour: their place."""

    def __init__(self, count):
        self.count = count

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        image = np.full((32, 32, 3), index, np.uint8)
        return Sample(image, np.zeros((32, 32), np.int64), str(index), (32, 32), "")


def samples_of(start_step=0, workers=0):
    spec = AugmentationSpec(crop=(32, 32), scale=(1.0, 1.0), photometric=False)
    found = poisson_batches(
        Blank(24),
        range(24),
        spec,
        seed=0,
        batch_size=6,
        steps=300,
        start_step=start_step,
        workers=workers,
    )
    return [[int(image.max()) for image in batch.images] for (batch,) in found]


def test_samples_are_poisson():
    samples = samples_of()
    sizes = np.array([len(sample) for sample in samples])
    assert sizes.mean() == pytest.approx(6, abs=0.4)
    assert sizes.var() == pytest.approx(24 * 0.25 * 0.75, rel=0.3)
    assert all(len(set(sample)) == len(sample) for sample in samples)
    counts = np.bincount([image for sample in samples for image in sample], minlength=24)
    assert abs(counts - 75).max() < 4.5 * math.sqrt(300 * 0.25 * 0.75)
    assert samples_of(start_step=200) == samples[200:]


class Killed(Exception):
    """As by a signal: nothing can be saved."""


def trainer_of(terrain, folder, recipe=None, head=LINEAR):
    train, val = FolderDataset(terrain, "train"), FolderDataset(terrain, "val")
    data = TrainingData(terrain, train, list(range(12)), val, [0, 1])
    model, recipe = model_of(head), recipe or recipe_of()
    return Trainer(model, data, recipe, 0, folder, make_accelerator("cpu"))


def result(trainer):
    progress = trainer.progress
    weights = [each.clone() for each in trainer.segmenter.state_dict().values()]
    return weights, progress.loss, progress.val_score, progress.epsilon, progress.privacy


@pytest.mark.parametrize("stop_at", [1, 3, 4])
def test_killed_and_resumed_same_bits_and_same_account(terrain, tmp_path, stop_at):
    recipe = recipe_of(average={"kind": "ema", "decay": 0.5}, batch_size=1)
    undisturbed = trainer_of(terrain, tmp_path / "whole", recipe)
    undisturbed.run()

    def stop(step, _status):
        if step == stop_at:
            raise Killed

    with pytest.raises(Killed):
        trainer_of(terrain, tmp_path / "parts", recipe).run(stop)
    second = trainer_of(terrain, tmp_path / "parts", recipe)
    second.run()
    (weights, *rest), (others, *expected) = result(second), result(undisturbed)
    assert all(map(torch.equal, weights, others))
    assert rest == expected
    lines = [(tmp_path / name / "metrics.jsonl").read_text() for name in ("whole", "parts")]
    assert lines[0] == lines[1]


def test_the_account_holds_every_step_that_was_taken(terrain, tmp_path):
    trainer = trainer_of(terrain, tmp_path)
    trainer.run()
    epsilon = [epsilon_of(Steps(1.0, 3 / 12, count), 1e-5, "gdp") for count in (2, 4, 6)]
    assert trainer.progress.epsilon == epsilon
    assert epsilon[0] < epsilon[1] < epsilon[2]
    assert trainer.progress.privacy["taken"] == trainer.progress.step == 6
    assert load_checkpoint(trainer.folder / "checkpoints" / "last.pt")["step_state"]["taken"] == 6
    assert f'"epsilon": {epsilon[2]}' in (tmp_path / "metrics.jsonl").read_text()


def test_stored_features_of_fixed_views_are_taken(terrain, tmp_path):
    augmentation = {"crop": [64, 64], "views": 1}
    trainer = trainer_of(terrain, tmp_path, recipe_of(augmentation=augmentation, steps=2))
    trainer.run()
    assert trainer.progress.privacy["taken"] == 2


def test_noise_that_was_solved_once_stays(terrain, tmp_path):
    step = step_of(model_of(), recipe_of(privacy={"epsilon": 5, "accountant": "gdp"}))
    step.load_state_dict({"noise": 7.0, "rate": 0.3, "taken": 4})
    assert step.state_dict() == {"noise": 7.0, "rate": 0.3, "taken": 4}
    assert step.privacy()["epsilon"] == epsilon_of(Steps(7.0, 0.3, 4), 1e-5, "gdp")


@pytest.mark.parametrize(
    ("accountant", "least", "most"), [("prv", 18.9, 19.5), ("rdp", 20, 22), ("gdp", 18.5, 20)]
)
def test_epsilon_of_noise(accountant, least, most):
    """367 images, batches of 64, 50 epochs at noise 1.1."""
    assert least < epsilon_of(Steps(1.1, 64 / 367, 287), 1e-5, accountant) < most


@pytest.mark.parametrize("epsilon", [1, 3, 30])
def test_solved_noise_keeps_epsilon(epsilon):
    spec = recipe_of(privacy={"epsilon": epsilon, "accountant": "gdp"}).privacy
    noise = noise_for(spec, 64 / 367, 287)
    spent = epsilon_of(Steps(noise, 64 / 367, 287), 1e-5, "gdp")
    assert 0.98 * epsilon < spent <= epsilon


def test_no_noise_is_enough():
    spec = recipe_of(privacy={"epsilon": 0.001, "accountant": "rdp"}).privacy
    with pytest.raises(InputError, match=r"no noise keeps epsilon 0\.001"):
        noise_for(spec, 0.5, 100)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"privacy": {"epsilon": 0}}, "epsilon.*greater than 0"),
        ({"privacy": {"epsilon": -1}}, "epsilon.*greater than 0"),
        ({"privacy": {"clip": 1.0}}, "one of epsilon"),
        ({"privacy": {"noise": 1.0, "delta": 1}}, "delta.*less than 1"),
        ({"privacy": {"noise": 0}}, "noise"),
        ({"privacy": {"noise": 1, "clip": 0}}, "clip.*greater than 0"),
        ({"batch_size": 4, "accumulation": 2}, "accumulation does not go with privacy"),
        ({"precision": "fp16"}, "fp16 does not go"),
        ({"augmentation": {"mix": {"kind": "cutmix"}}}, "mix does not go"),
        ({"augmentation": {"class_balance": {"kind": "frequency"}}}, "class_balance"),
        ({"pos_ratio": 0.5}, "pos_ratio does not go"),
        ({"overfit": 4}, "overfit does not go"),
    ],
    ids=str,
)
def test_settings_that_do_not_go_with_it(changes, words):
    with pytest.raises(InputError, match=words) as error:
        recipe_of(**changes)
    assert "\n" not in str(error.value)


def test_both_noise_and_epsilon_are_refused_with_the_epsilon_of_that_noise():
    recipe = recipe_of(
        steps=287,
        batch_size=64,
        privacy={"noise": 1.1, "epsilon": 3, "accountant": "gdp"},
    )
    with pytest.raises(InputError, match=r"367 images.*gives epsilon 19\.3"):
        step_of(model_of(), recipe, images=367)


def test_a_batch_larger_than_the_data():
    with pytest.raises(InputError, match=r"batch_size 3 is larger.*2 training images"):
        step_of(model_of(), images=2)


@pytest.mark.parametrize("head", ["linear", "unet", "upernet"])
def test_batch_norm_is_refused_and_group_norm_offered(head):
    model = model_of(HEADS[head].model_copy(update={"norm": "batch"}))
    with pytest.raises(InputError, match=r"BatchNorm head\..*segmenter\.norm: group"):
        step_of(model)


def test_batch_norm_of_a_body_that_learns_is_refused_a_frozen_one_is_not():
    encoder = EncoderSpec(name="test_resnet", weights="random", channels=32)
    with pytest.raises(InputError, match=r"encoder\.body.*freeze: body"):
        step_of(model_of(encoder=encoder))
    frozen = encoder.model_copy(update={"freeze": "body"})
    with pytest.raises(InputError, match="batch_norm: keep"):
        step_of(model_of(encoder=frozen))
    step_of(model_of(encoder=frozen.model_copy(update={"batch_norm": "keep"})))


def test_running_means_of_ones_own_are_refused():
    class Centred(nn.Module):
        """Keeps a running mean, as nothing of PyTorch is called."""

        def __init__(self):
            super().__init__()
            self.register_buffer("mean", torch.zeros(()))

        def forward(self, maps):
            self.mean.lerp_(maps.detach().mean(), 0.1)
            return maps - self.mean

    model = model_of()
    model.head.norm = Centred()
    with pytest.raises(InputError, match=r"buffer head\.norm\.mean"):
        step_of(model).take([batch_of(1)], float)


def test_several_processes_are_refused():
    class Two:
        num_processes, device = 2, torch.device("cpu")

    with pytest.raises(InputError, match="one process, not 2"):
        step_of(model_of(), accelerator=Two())


def test_a_gradient_that_is_not_finite_ends_training():
    total = ClippedSum([nn.Parameter(torch.ones(1))], 1.0)
    with pytest.raises(FloatingPointError, match="not finite"):
        total.add(total.parameters[0].sum() * float("inf"))


def test_the_range_test_is_refused(terrain, tmp_path):
    trainer = trainer_of(terrain, tmp_path)
    arguments = (trainer.segmenter, trainer.data, trainer.recipe, 0, trainer.accelerator)
    with pytest.raises(InputError, match="range test"):
        range_test(*arguments, RangeSettings())


def test_without_privacy_nothing_is_written_of_it():
    assert "privacy" not in Recipe().model_dump(mode="json")
