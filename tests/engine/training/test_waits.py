"""How often a training step and an evaluation would wait for a GPU.

``tests/segmenters/test_devices_agree.py`` counts copies, on a pretended GPU. Here the numbers are
real, so that everything that depends on them is done: matching, loss, gradients, clipping, update.
"""

from functools import partial

import pytest
import torch
from waiting import Reads, Waits

from encoder_ablations.encoders.build import build_encoder
from encoder_ablations.encoders.spec import EncoderSpec
from encoder_ablations.engine.devices import make_accelerator
from encoder_ablations.engine.recipe import Recipe
from encoder_ablations.engine.training.checkpointing.saving import Agreement
from encoder_ablations.engine.training.optimizer import build_optimizer
from encoder_ablations.engine.training.steps import MicroBatch, PlainStep, StepSetup
from encoder_ablations.segmenters.build import build_segmenter
from encoder_ablations.segmenters.heads.linear import LinearSpec
from encoder_ablations.segmenters.losses import matching, set_loss, set_loss_pytorch
from encoder_ablations.segmenters.spec import Mask2FormerSpec

ENCODER = EncoderSpec(name="test_vit", weights="random", channels=32)
LINEAR = LinearSpec(name="linear")
FORMER = Mask2FormerSpec(
    name="mask2former", queries=5, hidden=32, heads=4, encoder_layers=2, decoder_layers=3, points=64
)
# AdamW reads its counters on the CPU, on a GPU it does not
SGD = {"name": "sgd", "lr": 0.1, "weight_decay": 0.0, "clip_norm": 1.0}
RECIPE = Recipe.model_validate({"optimizer": SGD})

READS = {
    # the loss with the wish to save, and the terms that came with it
    "LinearHead": {"tolist": 2},
    # also which classes the masks show, read in three ways, and the costs of all pairs
    "Mask2FormerHead": {"tolist": 3, "cpu": 2, "numpy": 3},
}


@pytest.fixture(params=[LINEAR, FORMER], ids=["linear", "mask2former"])
def segmenter(request):
    return build_segmenter(request.param, build_encoder(ENCODER), 3, 0)


def batch():
    images = torch.randint(0, 256, (2, 3, 64, 64), dtype=torch.uint8)
    masks = torch.randint(0, 3, (2, 64, 64))
    masks[0, :9] = 255
    return [MicroBatch(images, masks)]


def test_a_step_waits_for_its_loss_and_the_matching_alone(segmenter, monkeypatch):
    solved, solve = [], matching._assign_images

    def count(costs, counts):
        solved.append(len(counts))
        return solve(costs, counts)

    monkeypatch.setattr(matching, "_assign_images", count)
    # as on a GPU: on the CPU the loss draws other points, and reads its inputs as arrays
    drawn = partial(set_loss.draw_points, device=torch.device("cpu"))
    monkeypatch.setattr(set_loss, "draw_seeded_points", drawn)
    monkeypatch.setattr(set_loss, "_way", lambda device: set_loss_pytorch)
    accelerator = make_accelerator("cpu")
    optimizer = build_optimizer(segmenter.train(), RECIPE.optimizer)
    step = PlainStep(StepSetup(segmenter, optimizer, RECIPE, accelerator))
    reduce = partial(Agreement(accelerator).reduce, step=0)
    step.take(batch(), reduce)
    solved.clear()
    with Waits() as waits, Reads() as reads:
        step.take(batch(), reduce)
    assert not waits.found
    assert dict(reads.found) == READS[type(segmenter.head).__name__]
    # both images of each of the four predictions, after one transfer
    assert solved in ([], [2] * 4)
