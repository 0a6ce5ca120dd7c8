"""The callback that shows curves and mask pictures in TensorBoard."""

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from encoder_ablations.data.datasets.palette import colorize, colors_of
from encoder_ablations.data.datasets.sample import Labels
from encoder_ablations.engine.evaluation.main_metric import MAIN_METRICS
from encoder_ablations.engine.evaluation.picture import Picture
from encoder_ablations.engine.training.callbacks import (
    Callback,
    EvaluationReport,
    StepReport,
    Training,
)

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter


Colors = tuple[tuple[int, int, int], ...]


class TensorBoard(Callback):
    """Writes TensorBoard events; what an interrupted run wrote after its checkpoint is discarded.

    Args:
        spec: the classes and their colours.
    """

    def __init__(self, spec: Labels) -> None:
        self.colors = colors_of(spec)
        self.metric = MAIN_METRICS[spec.task].key
        self.writer: SummaryWriter | None = None

    def on_start(self, training: Training) -> None:
        """Open the file of events."""
        if not training.writes:
            return
        from torch.utils.tensorboard import SummaryWriter  # slow to import

        first = None
        if training.progress.step:
            first = training.progress.step + 1
        self.writer = SummaryWriter(str(training.folder), purge_step=first)

    def on_step(self, report: StepReport) -> None:
        """Write loss and learning rate at every new point of the loss curve."""
        if self.writer is not None and report.mean_loss is not None:
            self.writer.add_scalar("train/loss", report.mean_loss, report.step)
            for name, value in report.mean_terms.items():
                self.writer.add_scalar(f"train/loss/{name}", value, report.step)
            self.writer.add_scalar("train/lr", report.rate, report.step)

    def on_evaluation(self, report: EvaluationReport) -> None:
        """Write the main metric, and one row per picture: image, ground truth, prediction."""
        if self.writer is None:
            return
        self.writer.add_scalar(f"val/{self.metric}", report.miou, report.step)
        for picture in report.pictures:
            row = _row(picture, self.colors)
            self.writer.add_image(f"val/{picture.id}", row, report.step)

    def on_end(self, step: int, finished: bool) -> None:
        """Close the file."""
        if self.writer is not None:
            self.writer.close()


def _row(picture: Picture, colors: Colors) -> np.ndarray:
    """Return image, truth and prediction side by side: 3×h×3w uint8."""
    size = picture.image.shape[-2:]
    masks = [_painted(labels, size, colors) for labels in (picture.truth, picture.prediction)]
    return np.concatenate([picture.image.numpy(), *masks], axis=2)


def _painted(labels: Tensor, size: torch.Size, colors: Colors) -> np.ndarray:
    """Return H×W labels in their colours at another size: 3×h×w uint8."""
    small = F.interpolate(labels[None, None].float(), size=size, mode="nearest")[0, 0]
    return colorize(small.to(torch.int64).numpy(), colors).transpose(2, 0, 1)
