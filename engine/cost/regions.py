"""The cost of models that find regions in images: it depends on what the images show."""

import time
from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from encoder_ablations.engine.cost.measure import measure_cost
from encoder_ablations.engine.cost.model_cost import Latency, ModelCost, RegionsCost
from encoder_ablations.segmenters.base import Segmenter
from encoder_ablations.segmenters.zero_shot.regions.reader import RegionReader

IMAGES = 3
"""In which finding regions is timed."""


@runtime_checkable
class ReadsRegions(Protocol):
    """A head that reads regions of images.

    Attributes:
        regions: gives them.
    """

    regions: RegionReader


def measure_with_regions(
    segmenter: Segmenter,
    input_size: tuple[int, int],
    batch_sizes: tuple[int, ...],
    images: Sequence[Tensor],
    name: str | None = None,
) -> ModelCost:
    """Return a model's cost, with the time of finding regions where its head reads some.

    Other models are measured by :func:`~.measure.measure_cost` alone. Of these it is measured with
    regions that are given, since how many there are changes neither FLOPs nor latency. Finding them
    is timed in images of the dataset, without the cache of regions, and added to the latencies.

    Args:
        segmenter: on the device to measure.
        input_size: (H, W).
        batch_sizes: latency is measured for each.
        images: each 3×h×w uint8 RGB, as the model's evaluation sees it; the first few are read.
        name: see :func:`~.flops.flops_of`.
    """
    head = segmenter.head
    if not isinstance(head, ReadsRegions) or not head.regions.sets:
        return measure_cost(segmenter, input_size, batch_sizes, name=name)
    arrays = [np.ascontiguousarray(each.permute(1, 2, 0).cpu().numpy()) for each in images]
    device = segmenter.mean.device
    # the first call also loads SAM
    maps = head.regions.found_anew(arrays[0], input_size, device)
    times = [_seconds(head.regions, each, input_size, device) for each in arrays[:IMAGES]]
    with head.regions.given(maps):
        cost = measure_cost(segmenter, input_size, batch_sizes, name=name)
    regions = RegionsCost(milliseconds=1000 * float(np.median(times)), images=len(times))
    latencies = [_with(each, regions.milliseconds) for each in cost.latency_ms]
    return cost.model_copy(update={"latency_ms": latencies, "regions": regions})


def _seconds(
    regions: RegionReader, image: np.ndarray, size: tuple[int, int], device: torch.device
) -> float:
    """Return how long finding the regions of an image H×W×3 takes."""
    started = time.perf_counter()
    regions.found_anew(image, size, device)
    return time.perf_counter() - started


def _with(latency: Latency, milliseconds: float) -> Latency:
    """Return a latency that includes finding the regions, which takes so long for each image."""
    more = milliseconds * latency.batch_size
    changes = {name: getattr(latency, name) + more for name in ("median", "p10", "p90")}
    parts = latency.median_by_part
    head = {"head": parts["head"] + more}
    return latency.model_copy(update={**changes, "median_by_part": parts | head})
