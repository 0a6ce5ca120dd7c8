"""``make bench-gpu``: operator, training step, evaluation and prediction on a GPU, with memory.

Every row is a median of passes that are waited for.
"""

import argparse
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial

import bench_op
import numpy as np
import torch

from encoder_ablations.data.loading.items import EvaluationItem
from encoder_ablations.encoders.build import build_encoder
from encoder_ablations.encoders.spec import EncoderSpec
from encoder_ablations.engine.devices import computing, make_accelerator
from encoder_ablations.engine.evaluation.evaluate import evaluate
from encoder_ablations.engine.inference.predictor import Member, Predictor
from encoder_ablations.engine.recipe import Recipe
from encoder_ablations.engine.training.optimizer import build_optimizer
from encoder_ablations.engine.training.steps import MicroBatch, PlainStep, StepSetup
from encoder_ablations.experiments.cli import command
from encoder_ablations.segmenters.base import Segmenter
from encoder_ablations.segmenters.build import build_segmenter
from encoder_ablations.segmenters.ops import deformable_attention_pytorch
from encoder_ablations.segmenters.ops.deformable_attention import (
    deformable_attention,
    deformable_attention_path,
)
from encoder_ablations.segmenters.ops.official_operator import COMPILED, provide_operator
from encoder_ablations.segmenters.spec import Mask2FormerSpec
from encoder_ablations.utils.environment import versions

NO_DEVICE = "No GPU: PyTorch sees no CUDA device here, so nothing was measured."
MODEL, SIDE, BATCH, CLASSES, IMAGES = "vit_base_patch16_224", 512, 8, 19, 32
PASSES, WARM_UP = 10, 3
RECIPES = {
    "fp32": {"precision": "fp32"},
    "bf16": {"precision": "bf16"},
    "bf16, compiled": {"precision": "bf16", "compile": True},
}


def main(argv: Sequence[str]) -> int:
    """Print a row for each measurement, or one line where there is no GPU."""
    argparse.ArgumentParser(prog="make bench-gpu", description=__doc__).parse_args(argv)
    if not torch.cuda.is_available():
        print(NO_DEVICE)
        return 0
    device = torch.device("cuda", torch.cuda.current_device())
    installed = versions()
    print(f"{torch.cuda.get_device_name(device)}, torch {installed['torch']}")
    for rows in (operator_rows, training_rows, evaluation_rows, prediction_rows):
        for row in rows(device):
            print(row, flush=True)
    return 0


def row(name: str, call: Callable[[], object], images: int = 0) -> str:
    """One measurement: median, 10-90 % range, images per second, and what a pass adds in memory."""
    for _ in range(WARM_UP):
        call()
    _finish()
    gpu = torch.cuda.is_available()
    before = torch.cuda.memory_allocated() if gpu else 0
    if gpu:
        torch.cuda.reset_peak_memory_stats()
    times = []
    for _ in range(PASSES):
        begin = time.perf_counter()
        call()
        _finish()
        times.append(1000 * (time.perf_counter() - begin))
    low, median, high = np.percentile(times, [10, 50, 90])
    peak = (torch.cuda.max_memory_allocated() - before) / 2**20 if gpu else 0.0
    speed = f"{1000 * images / median:9.1f} images/s" if images else ""
    return f"{name:<58}{median:9.2f} ms ({low:.2f}–{high:.2f})  +{peak:.0f} MiB  {speed}"


def _finish() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def operator_rows(device: torch.device) -> Iterator[str]:
    """Deformable attention as it is chosen here, plain PyTorch, and the official operator."""
    ways = {deformable_attention_path(device, torch.float32): deformable_attention}
    ways.setdefault("pytorch", _fallback)
    if provide_operator(device) == COMPILED:
        ways["official"] = _official
    shapes = [(SIDE // stride, SIDE // stride) for stride in (32, 16, 8)]
    inputs = bench_op.make(shapes, device)
    for name, way in ways.items():
        yield row(f"op, {name}, forward", partial(bench_op._forward, way, shapes, inputs))
        if name != "official":
            both = partial(bench_op._both, way, shapes, inputs)
            yield row(f"op, {name}, forward + backward", both)


def _fallback(
    value: torch.Tensor, shapes: bench_op.Shapes, locations: torch.Tensor, weights: torch.Tensor
) -> torch.Tensor:
    return deformable_attention_pytorch.forward(value, locations, weights, shapes)


def _official(
    value: torch.Tensor, shapes: bench_op.Shapes, locations: torch.Tensor, weights: torch.Tensor
) -> torch.Tensor:
    sizes = torch.tensor(shapes, device=value.device)
    starts = torch.cat([sizes.new_zeros(1), sizes.prod(1).cumsum(0)[:-1]])
    module = sys.modules["MultiScaleDeformableAttention"]
    return module.ms_deform_attn_forward(value, sizes, starts, locations, weights, 128)


def segmenter_on(device: torch.device) -> Segmenter:
    """Mask2Former on a ViT, random weights."""
    encoder = build_encoder(EncoderSpec(name=MODEL, weights="random"))
    return build_segmenter(Mask2FormerSpec(name="mask2former"), encoder, CLASSES, 0).to(device)


def training_rows(device: torch.device) -> Iterator[str]:
    """One step of Mask2Former in each precision, and compiled."""
    images = torch.randint(0, 256, (BATCH, 3, SIDE, SIDE), dtype=torch.uint8, device=device)
    masks = torch.randint(0, CLASSES, (BATCH, 8, 8), device=device)
    masks = masks.repeat_interleave(SIDE // 8, 1).repeat_interleave(SIDE // 8, 2)
    accelerator = make_accelerator(device.type)
    for name, settings in RECIPES.items():
        recipe, segmenter = Recipe.model_validate(settings), segmenter_on(device).train()
        optimizer = build_optimizer(segmenter, recipe.optimizer)
        with computing(device, recipe.precision, deterministic=False):
            step = PlainStep(StepSetup(segmenter, optimizer, recipe, accelerator))
            take = partial(step.take, [MicroBatch(images, masks)], torch.Tensor.item)
            yield row(f"training step, Mask2Former, {SIDE}², {name}", take, BATCH)


def evaluation_rows(device: torch.device) -> Iterator[str]:
    """Evaluation by one image and by eight at a time."""
    segmenter, accelerator = segmenter_on(device).eval(), make_accelerator(device.type)
    generator = torch.Generator().manual_seed(0)
    items = [
        EvaluationItem(
            torch.randint(0, 256, (3, SIDE, SIDE), dtype=torch.uint8, generator=generator),
            torch.randint(0, CLASSES, (SIDE, SIDE), generator=generator),
            str(number),
        )
        for number in range(IMAGES)
    ]
    for together in (1, 8):
        run = partial(evaluate, segmenter, items, CLASSES, accelerator, batch=together)
        yield row(f"evaluation, {IMAGES} images, {together} at a time", run, IMAGES)


def prediction_rows(device: torch.device) -> Iterator[str]:
    """Prediction as ``ablate predict`` makes it."""
    names = [str(number) for number in range(CLASSES)]
    predictor = Predictor([Member(segmenter_on(device).eval())], names)
    image = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
    predict = partial(predictor.predict, image, keep_probabilities=False)
    yield row(f"prediction, one image, {SIDE}²", predict, 1)


if __name__ == "__main__":
    sys.exit(command(main, sys.argv[1:]))
