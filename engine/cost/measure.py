"""What a segmenter costs: parameters, FLOPs, latency, each in total and by part."""

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn

from encoder_ablations.engine.compilation import as_written
from encoder_ablations.engine.cost.flops import flops_of
from encoder_ablations.engine.cost.model_cost import Latency, ModelCost
from encoder_ablations.segmenters.base import Segmenter
from encoder_ablations.utils.arithmetic import deterministic_kernels, tensor_float32

PARTS = ("encoder.body", "encoder.neck", "head")
WARM_UP, LEAST_PASSES, MOST_PASSES = 3, 5, 10_000
"""Passes of a latency: those not measured, and how few and how many are."""


def measure_cost(
    segmenter: Segmenter,
    input_size: tuple[int, int],
    batch_sizes: tuple[int, ...],
    seconds: float = 1.0,
    name: str | None = None,
) -> ModelCost:
    """Measure in true float32 and with the fastest kernels.

    So the numbers of all encoders compare, whatever their runs were trained with. With
    deterministic kernels ``F.interpolate`` would also take a path on GPUs that cannot be traced for
    counting FLOPs.

    Args:
        segmenter: on the device to measure.
        input_size: (H, W), the same for all encoders that are compared.
        batch_sizes: latency is measured for each.
        seconds: time spent on each latency, after warm-up.
        name: see :func:`~.flops.flops_of`; latencies are measured each time.
    """
    was_training = segmenter.training
    segmenter.eval()
    device = segmenter.mean.device
    fastest = deterministic_kernels(False, gpu=device.type == "cuda")
    plain = as_written(segmenter)
    with torch.inference_mode(), fastest, tensor_float32(False), _quiet("fvcore"), plain:
        image = torch.zeros(1, 3, *input_size, device=device)
        flops, by_part = flops_of(segmenter, image, PARTS, name)
        latencies = [
            measure_latency(segmenter, input_size, batch, seconds) for batch in batch_sizes
        ]
    segmenter.train(was_training)
    return ModelCost(
        input_size=input_size,
        tokens=segmenter.encoder.body.tokens(*input_size),
        **count_parameters(segmenter),
        flops=flops,
        flops_by_part=by_part,
        latency_ms=latencies,
    )


def count_parameters(segmenter: Segmenter) -> dict[str, dict[str, int]]:
    """Return ``parameters`` and ``parameters_by_part`` of :class:`ModelCost`."""
    every = list(segmenter.parameters())
    totals = {
        "total": sum(p.numel() for p in every),
        "trainable": sum(p.numel() for p in every if p.requires_grad),
    }
    parts = {
        part: sum(p.numel() for p in segmenter.get_submodule(part).parameters()) for part in PARTS
    }
    return {"parameters": totals, "parameters_by_part": parts}


def measure_latency(
    segmenter: Segmenter, size: tuple[int, int], batch_size: int, seconds: float
) -> Latency:
    """Measure forward passes of zero images.

    Args:
        segmenter: on the device to measure, in evaluation mode.
        size: (H, W) of the images.
        batch_size: images a pass.
        seconds: time to spend; at least 5 passes are measured, after 3 to warm up.
    """
    images = torch.zeros(batch_size, 3, *size, device=segmenter.mean.device)
    stopwatch = _Stopwatch(images.device)
    passes: list[dict[str, float]] = []
    body, neck = segmenter.encoder.body, segmenter.encoder.neck
    with stopwatch.on(body, "encoder.body"), stopwatch.on(neck, "encoder.neck"):
        for _ in range(WARM_UP):
            stopwatch.time(lambda: segmenter.predict(images))
        begin = time.perf_counter()
        while len(passes) < MOST_PASSES:
            if len(passes) >= LEAST_PASSES and time.perf_counter() - begin > seconds:
                break
            elapsed = stopwatch.time(lambda: segmenter.predict(images))
            # the head has no module of its own to time: it is what encoder and neck leave
            parts = stopwatch.seen | {"head": elapsed - sum(stopwatch.seen.values())}
            passes.append({"total": elapsed, **parts})
    p10, median, p90 = np.percentile([each["total"] for each in passes], [10, 50, 90])
    by_part = {part: float(np.median([each[part] for each in passes])) for part in PARTS}
    return Latency(batch_size=batch_size, median=median, p10=p10, p90=p90, median_by_part=by_part)


class _Stopwatch:
    """Measures calls, and modules within them, in milliseconds; it synchronises the device.

    Attributes:
        seen: how long each watched module took in the last call, all its calls together.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.seen: dict[str, float] = {}

    def now(self) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return 1000 * time.perf_counter()

    def time(self, call: Callable[[], object]) -> float:
        self.seen = dict.fromkeys(self.seen, 0.0)
        begin = self.now()
        call()
        return self.now() - begin

    @contextmanager
    def on(self, module: nn.Module, name: str) -> Iterator[None]:
        """Within the block note under ``name`` how long the calls of ``module`` take.

        A head that runs the body's blocks itself calls the body for each of them, and no neck.
        """
        self.seen[name] = 0.0

        def begin(_module: nn.Module, _inputs: tuple[Tensor, ...]) -> None:
            self.seen[name] -= self.now()

        def end(_module: nn.Module, _inputs: tuple[Tensor, ...], _output: object) -> None:
            self.seen[name] += self.now()

        handles = [module.register_forward_pre_hook(begin), module.register_forward_hook(end)]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()


@contextmanager
def _quiet(name: str) -> Iterator[None]:
    """Within the block a library's logger gives no warnings."""
    logger = logging.getLogger(name)
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
