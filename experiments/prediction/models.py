"""From finished runs to a predictor."""

from collections.abc import Sequence
from typing import Literal

import torch

from encoder_ablations.engine.inference.predictor import Member, Predictor
from encoder_ablations.engine.inference.spec import InferenceSpec
from encoder_ablations.experiments.prediction.chosen_runs import TrainedRun
from encoder_ablations.experiments.runs.model import load_best
from encoder_ablations.experiments.runs.record import best_step
from encoder_ablations.utils.errors import InputError

Weighting = Literal["equal", "validation"]


def make_predictor(
    runs: Sequence[TrainedRun],
    spec: InferenceSpec,
    device: torch.device,
    weighting: Weighting = "equal",
) -> Predictor:
    """Return a predictor of one run's model, or of several as an ensemble.

    Args:
        runs: of the same classes.
        spec: windows, views, and how predictions are combined.
        device: where the models compute.
        weighting: "equal", or "validation": every model counts by its best validation score.

    Raises:
        InputError: a checkpoint cannot be used, or a window is smaller than the encoder's stride.
    """
    members = []
    for run in runs:
        member = member_of(run, device, weighting)
        check_window(spec, member.segmenter.encoder.divisibility)
        members.append(member)
    dataset = runs[0].record.spec.dataset
    return Predictor(members, dataset.classes, spec, dataset.image_classes)


def member_of(run: TrainedRun, device: torch.device, weighting: Weighting = "equal") -> Member:
    """Return a run's model with its best weights, and how it counts among others.

    Args:
        run: a finished run.
        device: where the model computes.
        weighting: see :func:`make_predictor`.

    Raises:
        InputError: the checkpoint cannot be used.
    """
    own = run.record.spec
    segmenter, _ = load_best(run.folder, own, best_step(run.record))
    segmenter.class_names = own.dataset.classes
    weight = 1.0
    if weighting == "validation":
        # a model that has learnt nothing at all still has a weight
        weight = max(run.val_score, 1e-6)
    short_side = own.recipe.augmentation.short_side
    return Member(segmenter.to(device).eval(), short_side, weight)


def check_window(spec: InferenceSpec, stride: int) -> None:
    """Refuse windows that are smaller than the encoder's coarsest stride."""
    if spec.window is not None and spec.window < stride:
        raise InputError(
            f"--window {spec.window} is smaller than the encoder's coarsest stride {stride}; "
            f"allowed are {stride} and more."
        )
