"""What a private training step costs over a plain one of the same images."""

from collections.abc import Callable, Iterator

import torch
from bench_timing import compare

from encoder_ablations.encoders.build import build_encoder
from encoder_ablations.encoders.spec import EncoderSpec
from encoder_ablations.engine.devices import make_accelerator
from encoder_ablations.engine.privacy import PrivacySpec
from encoder_ablations.engine.recipe import Recipe
from encoder_ablations.engine.training.optimizer import build_optimizer
from encoder_ablations.engine.training.private.step import PrivateStep
from encoder_ablations.engine.training.steps import MicroBatch, PlainStep, Step, StepSetup
from encoder_ablations.segmenters.build import build_segmenter
from encoder_ablations.segmenters.spec import HeadSpec, LinearSpec, Mask2FormerSpec

MODEL, CLASSES, BATCH = "vit_tiny_patch16_224", 3, 8
LINEAR_SIDE, MASK2FORMER_SIDE = 256, 128
"""Pixels; Mask2Former's images are small, so that it ends within minutes on two cores."""
SMALL = Mask2FormerSpec(
    name="mask2former",
    queries=20,
    hidden=128,
    encoder_layers=2,
    encoder_feedforward=512,
    decoder_layers=3,
    decoder_feedforward=1024,
    points=3136,
)


def _step(head: HeadSpec, encoder: EncoderSpec, side: int, private: bool) -> Callable[[], float]:
    """A whole optimiser step on images of ``side`` × ``side`` pixels in memory."""
    segmenter = build_segmenter(head, build_encoder(encoder), CLASSES, seed=0).train()
    spec = PrivacySpec(noise=1.0) if private else None
    recipe = Recipe(batch_size=BATCH, privacy=spec)
    optimizer = build_optimizer(segmenter, recipe.optimizer)
    setup = StepSetup(segmenter, optimizer, recipe, make_accelerator("cpu"))
    step: Step = PrivateStep(setup, seed=0, images=100) if private else PlainStep(setup)
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (BATCH, 3, side, side), generator=generator, dtype=torch.uint8)
    masks = torch.randint(0, CLASSES, (BATCH, side, side), generator=generator)

    def take() -> float:
        torch.manual_seed(0)
        return step.take([MicroBatch(images, masks)], float)

    return take


def run(seconds: float) -> Iterator[str]:
    """ViT-Ti/16 with random weights, frozen under a linear head, fine-tuned under Mask2Former."""
    bare = EncoderSpec(name=MODEL, weights="random", freeze="body", neck="none")
    whole = EncoderSpec(name=MODEL, weights="random")
    for name, head, encoder, side, target in (
        ("linear", LinearSpec(name="linear", norm="group"), bare, LINEAR_SIDE, 1.2),
        ("small Mask2Former", SMALL, whole, MASK2FORMER_SIDE, 2.0),
    ):
        steps = [_step(head, encoder, side, private) for private in (True, False)]
        what = f"private step, {name} at {side} px, against a plain one"
        yield compare(*steps, seconds).line(what, f"target ≤ {target:.2f}")
