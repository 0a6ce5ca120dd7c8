"""From finished runs to a predictor."""

from collections.abc import Sequence

import torch

from encoder_ablations.engine.inference.predictor import Predictor
from encoder_ablations.engine.inference.spec import InferenceSpec
from encoder_ablations.experiments.runs.model import Weighting, member_of
from encoder_ablations.experiments.runs.trained.run import TrainedRun
from encoder_ablations.utils.errors import InputError


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


def check_window(spec: InferenceSpec, stride: int) -> None:
    """Refuse windows that are smaller than the encoder's coarsest stride."""
    if spec.window is not None and spec.window < stride:
        raise InputError(
            f"--window {spec.window} is smaller than the encoder's coarsest stride {stride}; "
            f"allowed are {stride} and more."
        )
