"""The learning rate of every step."""

import math
from collections.abc import Callable

import torch

from encoder_ablations.engine.recipe_parts import ScheduleSpec

DECAYS: dict[str, Callable[[float, float], float]] = {
    "poly": lambda done, power: (1 - done) ** power,
    "cosine": lambda done, power: 0.5 * (1 + math.cos(math.pi * done)),
    "linear": lambda done, power: 1 - done,
    "constant": lambda done, power: 1.0,
}
"""The factor after a share ``done`` of the steps, 0..1, where it ends at 0; see ``ScheduleSpec``.
"""


def rate_factor(step: int, steps: int, spec: ScheduleSpec) -> float:
    """Return the factor on every learning rate at ``step`` (0-based).

    A linear warm-up is followed by the decay over the remaining steps.
    """
    if spec.decay == "one_cycle":
        return _one_cycle(step, steps, spec)
    if step < spec.warmup_steps:
        return (step + 1) / (spec.warmup_steps + 1)
    done = (step - spec.warmup_steps) / (steps - spec.warmup_steps)
    if spec.decay == "step":
        passed = sum(done >= milestone for milestone in spec.milestones)
        return max(spec.min_factor, spec.factor**passed)
    return _between(spec.min_factor, 1.0, DECAYS[spec.decay](done, spec.power))


def _one_cycle(step: int, steps: int, spec: ScheduleSpec) -> float:
    """Return the factor of one cycle (Smith & Topin 2018), as PyTorch's OneCycleLR computes it."""
    peak = spec.rise * steps - 1
    if step <= peak:
        return _between(1.0, spec.start_factor, DECAYS["cosine"](step / peak, spec.power))
    fallen = (step - peak) / (steps - 1 - peak)
    return _between(spec.min_factor, 1.0, DECAYS["cosine"](fallen, spec.power))


def _between(end: float, start: float, left: float) -> float:
    """Return the value on the way from ``start`` to ``end`` of which a share ``left`` is left."""
    return end + (start - end) * left


def set_rates(optimizer: torch.optim.Optimizer, factor: float) -> None:
    """Set every group's learning rate to ``factor`` times its base rate."""
    for group in optimizer.param_groups:
        group["lr"] = group["base_lr"] * factor
