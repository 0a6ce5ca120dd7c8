"""Seg-Grad-CAM: which places of an image speak for a class in a region.

Vinogradova, Dibrov & Myers, "Towards Interpretable Semantic Segmentation via Gradient-Weighted
Class Activation Mapping" (AAAI 2020), after Selvaraju et al., "Grad-CAM" (ICCV 2017).
"""

import numpy as np
import torch
from torch import Tensor

from encoder_ablations.encoders.base import Level
from encoder_ablations.engine.inference.predictor import Predictor
from encoder_ablations.segmenters.base import Segmenter
from encoder_ablations.segmenters.scores import upsample
from encoder_ablations.utils.arithmetic import tensor_float32
from encoder_ablations.utils.errors import InputError, unknown

ROUNDING = 1e-5
"""A mean gradient that is smaller than this share of the mean absolute one is 0 up to rounding."""


def chosen_level(predictor: Predictor, name: str | None = None) -> Level:
    """Return the level of the encoder that a heat map is of.

    Args:
        predictor: of one model.
        name: of the level, e.g. "p5"; None = the coarsest one that the head reads.

    Raises:
        InputError: the head reads no such level, or there are several models, views or windows.
    """
    segmenter = predictor.only_member("--grad-cam").segmenter
    if segmenter.head.reads == "body":
        raise InputError(
            "--grad-cam needs a head that reads the encoder's levels, but the head of this run "
            "computes with the encoder's blocks itself. Use a run with another head."
        )
    read = {
        level.name: level
        for level in segmenter.encoder.levels
        if segmenter.head.levels is None or level.name in segmenter.head.levels
    }
    if name is None:
        return list(read.values())[-1]
    if name not in read:
        raise unknown("level that the head reads", name, read)
    return read[name]


def seg_grad_cam(
    predictor: Predictor, image: np.ndarray, class_id: int, region: np.ndarray, level: Level
) -> np.ndarray:
    """Return how much each place of a level speaks for a class in a region: H×W float32, 0..1.

    The largest value is 1; all are 0 where nothing speaks for the class.

    Args:
        predictor: of one model, in one view of the whole image.
        image: H×W×3 (RGB) or H×W (grey) uint8.
        class_id: the class, 0..K-1.
        region: H×W bool: the pixels whose scores are explained.
        level: see :func:`chosen_level`.

    Raises:
        InputError: there are several models, views or windows.
    """
    member = predictor.only_member("--grad-cam")
    pixels = predictor.pixels_for(member, image)
    height, width = pixels.shape[-2:]
    with tensor_float32(False):
        weights, maps = _weights(member.segmenter, pixels, class_id, region, level)
        # eq. 1: the maps that speak for the class outweigh those that speak against it
        heat = (weights * maps).sum(dim=1, keepdim=True).relu()
        size = (region.shape[0], region.shape[1])
        large = upsample(heat, (height, width), size, level.stride)[0, 0]
    largest = large.max().clamp_min(torch.finfo(large.dtype).tiny)
    found: np.ndarray = (large / largest).cpu().numpy()
    return found


def _weights(
    segmenter: Segmenter, pixels: Tensor, class_id: int, region: np.ndarray, level: Level
) -> tuple[Tensor, Tensor]:
    """Return the weight of each map of a level, 1×C×1×1, and the maps, 1×C×h×w.

    The gradient is taken with respect to the maps alone, so it does not matter whether the
    encoder's weights are frozen.
    """
    with torch.no_grad():
        levels = dict(segmenter.pyramid(pixels))
    maps = levels[level.name].detach().clone().requires_grad_()
    levels[level.name] = maps
    with torch.enable_grad():
        scores = segmenter.head.predict(levels, (pixels.shape[-2], pixels.shape[-1]))
        inside = torch.from_numpy(region).to(pixels.device)
        # the score of the class, summed over the pixels of the region
        total = scores.at((region.shape[0], region.shape[1]))[0, class_id][inside].sum()
        (gradient,) = torch.autograd.grad(total, maps)
    # eq. 2: the mean gradient over all places of a map
    weights = gradient.mean(dim=(2, 3), keepdim=True)
    # it is 0 where the head norms each map by itself; the result must not be made of its rounding
    rounding = ROUNDING * gradient.abs().mean(dim=(2, 3), keepdim=True)
    return torch.where(weights.abs() > rounding, weights, 0), maps.detach()
