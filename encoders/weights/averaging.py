"""Averages of the weights of several checkpoints of one architecture.

Models that were trained further from the same weights can often be averaged (Wortsman et al., Model
soups, ICML 2022). Those that were not have other features at the same places, and their average is
no model. The checks here are our own.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from encoder_ablations.encoders.weights.checkpoints import Checkpoint
from encoder_ablations.utils.errors import InputError
from encoder_ablations.utils.texts import first_names, plural


@dataclass(frozen=True)
class Weighting:
    """The weight of each checkpoint, and where it comes from.

    Attributes:
        by: of each, together 1.
        facts: what the written file says of the rule.
        entropies: of each in nats, where images decide; None otherwise.
    """

    by: list[float]
    facts: dict[str, Any]
    entropies: list[float] | None = None


def check_compatible(checkpoints: Sequence[Checkpoint]) -> None:
    """Check that checkpoints are of one network.

    Raises:
        InputError: names or shapes differ, or activations or normalisations that are known.
    """
    first = checkpoints[0]
    for other in checkpoints[1:]:
        both = f"{first.path} and {other.path} must not be averaged"
        _check_names(first, other, both)
        for what, one, two in (
            ("activations", first.activation, other.activation),
            ("normalisations of images", first.normalization, other.normalization),
        ):
            if None not in (one, two) and one != two:
                raise InputError(
                    f"{both}: their {what} differ, {one} and {two}. "
                    "Give checkpoints of one network."
                )


def _check_names(first: Checkpoint, other: Checkpoint, both: str) -> None:
    """Check that two checkpoints have the same tensors, and that counts are equal."""
    different = sorted(first.tensors.keys() ^ other.tensors.keys())
    if different:
        raise InputError(
            f"{both}: only one of them has {first_names(different)}. "
            "Give files of one model in one layout."
        )
    for name, own in first.tensors.items():
        given = other.tensors[name]
        if own.shape != given.shape:
            raise InputError(
                f"{both}: {name} has the shapes {tuple(own.shape)} and {tuple(given.shape)}. "
                "Give files of one model."
            )
        if not own.is_floating_point() and not torch.equal(own, given):
            raise InputError(f"{both}: {name} holds whole numbers, which differ.")


def distances(checkpoints: Sequence[Checkpoint]) -> list[float]:
    """Return ‖θ - θ₁‖ / ‖θ₁‖ of each checkpoint θ, over all of its floating-point numbers.

    Raises:
        InputError: the first checkpoint is all zeros, or holds numbers that are not finite.
    """
    first = checkpoints[0].tensors
    size = sum(float(own.double().square().sum()) for own in _floats(first).values())
    found = []
    for other in checkpoints:
        apart = 0.0
        for name, own in _floats(first).items():
            apart += float((other.tensors[name].double() - own.double()).square().sum())
        if not 0 < size < float("inf") or not apart < float("inf"):
            raise InputError(f"{other.path}: its weights are all zero or not finite.")
        found.append((apart / size) ** 0.5)
    return found


def check_distances(
    checkpoints: Sequence[Checkpoint], found: Sequence[float], limit: float
) -> None:
    """Check that no checkpoint is further from the first than a limit.

    Raises:
        InputError: one is.
    """
    for checkpoint, distance in zip(checkpoints, found, strict=True):
        if distance > limit:
            raise InputError(
                f"{checkpoints[0].path} and {checkpoint.path} must not be averaged: their "
                f"relative distance is {distance:.2f}, and at most {limit:g} is allowed. They "
                "probably do not come from one training. Use --limit to allow more, or --force."
            )


def average(checkpoints: Sequence[Checkpoint], by: Sequence[float]) -> dict[str, Tensor]:
    """Return θ₁ + Σ wᵢ (θᵢ - θ₁), by the file's names and in its precision.

    Computed in double precision; equal checkpoints give themselves to the bit. Tensors whose
    precisions differ become float32.

    Args:
        checkpoints: that :func:`check_compatible` takes.
        by: the weight wᵢ of each, together 1.
    """
    first = checkpoints[0].tensors
    averaged: dict[str, Tensor] = {}
    for name, own in first.items():
        if not own.is_floating_point():
            averaged[name] = own.clone()
            continue
        total = own.double()
        for checkpoint, share in zip(checkpoints, by, strict=True):
            total = total + share * (checkpoint.tensors[name].double() - own.double())
        dtypes = {checkpoint.tensors[name].dtype for checkpoint in checkpoints}
        dtype = own.dtype if len(dtypes) == 1 else torch.float32
        averaged[name] = total.to(dtype)
    return averaged


def shares(by: Sequence[float] | None, count: int) -> list[float]:
    """Return the weight of each of several checkpoints, together 1; equal ones by default.

    Raises:
        InputError: there are more or fewer weights than checkpoints, or one is not positive.
    """
    given = [1.0] * count if by is None else list(by)
    if len(given) != count:
        numbers = plural(len(given), "number")
        raise InputError(f"--by has {numbers} for {count} checkpoints. Give one each.")
    if not all(0 < share < float("inf") for share in given):
        raise InputError("--by: weights must be above 0. Leave out a checkpoint that has none.")
    return [share / sum(given) for share in given]


def _floats(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value for name, value in tensors.items() if value.is_floating_point()}
