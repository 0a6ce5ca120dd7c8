"""From stride-4 scores to the confusion matrix, against upsampling everything and Detectron2's
evaluator."""

from collections.abc import Iterator
from functools import partial

import numpy as np
import torch
from bench_timing import compare
from torch import Tensor
from torch.nn import functional as F

from encoder_ablations.engine.evaluation.confusion import ConfusionMatrix
from encoder_ablations.segmenters.scores import ScoreMaps

CLASSES, SIZE = 150, (512, 683)


def ours(maps: Tensor, truth: Tensor) -> np.ndarray:
    """What the engine does for one image."""
    height, width = (4 * n for n in maps.shape[-2:])
    labels = ScoreMaps(maps, (height, width)).labels(SIZE)
    return ConfusionMatrix.of(labels[0], truth, CLASSES).counts


def theirs(maps: Tensor, truth: Tensor) -> np.ndarray:
    """Bilinear upsampling of all scores, then ``SemSegEvaluator.process``
    (detectron2/evaluation) restated."""
    scores = F.interpolate(maps, size=SIZE, mode="bilinear", align_corners=False)[0]
    prediction = np.array(scores.argmax(dim=0), dtype=int)
    ground_truth = truth.numpy().astype(int)
    ground_truth[ground_truth == 255] = CLASSES
    cells = np.bincount(
        (CLASSES + 1) * prediction.reshape(-1) + ground_truth.reshape(-1),
        minlength=(CLASSES + 1) ** 2,
    )
    return cells.reshape(CLASSES + 1, CLASSES + 1)[:CLASSES, :CLASSES].T


def smooth_scores(generator: torch.Generator) -> Tensor:
    """Scores with regions, as a trained model gives: noise at 1/8 of the resolution, brought up,
    with a little more."""
    coarse = torch.randn(1, CLASSES, 16, 22, generator=generator)
    noise = torch.randn(1, CLASSES, 128, 171, generator=generator)
    return F.interpolate(coarse, size=(128, 171), mode="bicubic") + 0.05 * noise


def run(seconds: float) -> Iterator[str]:
    """150 classes, 128×171 scores to 512×683 labels, one image."""
    generator = torch.Generator().manual_seed(0)
    truth = torch.randint(0, CLASSES, SIZE, generator=generator)
    truth[:20] = 255
    inputs = {
        "noise": torch.randn(1, CLASSES, 128, 171, generator=generator),
        "regions": smooth_scores(generator),
    }
    for name, maps in inputs.items():
        different = int(np.abs(ours(maps, truth) - theirs(maps, truth)).sum()) // 2
        timing = compare(partial(ours, maps, truth), partial(theirs, maps, truth), seconds)
        verdict = "same matrix" if different == 0 else f"{different} pixels differ"
        yield timing.line(
            f"evaluation, {CLASSES} classes, {SIZE[0]}×{SIZE[1]}, {name}",
            f"target ≤ 0.08; {verdict}",
        )
