"""Training curves and mask pictures for TensorBoard."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F

from encoder_ablations.data.datasets.palette import colorize, colors_of
from encoder_ablations.data.datasets.spec import DatasetSpec
from encoder_ablations.engine.evaluation.evaluate import Picture


class Curves:
    """Writes TensorBoard events; what an interrupted run wrote after ``step`` is discarded."""

    def __init__(self, folder: Path, step: int, enabled: bool = True) -> None:
        self.writer = None
        if enabled:
            from torch.utils.tensorboard import SummaryWriter  # slow to import

            self.writer = SummaryWriter(str(folder), purge_step=step + 1 if step else None)

    def scalar(self, name: str, value: float, step: int) -> None:
        if self.writer is not None:
            self.writer.add_scalar(name, value, step)

    def pictures(
        self, name: str, pictures: Sequence[Picture], spec: DatasetSpec, step: int
    ) -> None:
        """One row per picture: image, ground truth, prediction."""
        if self.writer is None:
            return
        colors = colors_of(spec)
        for picture in pictures:
            size = picture.image.shape[-2:]
            columns = [picture.image.numpy()]
            for labels in (picture.truth, picture.prediction):
                small = F.interpolate(labels[None, None].float(), size=size, mode="nearest")[0, 0]
                columns.append(colorize(small.to(torch.int64).numpy(), colors).transpose(2, 0, 1))
            self.writer.add_image(f"{name}/{picture.id}", np.concatenate(columns, axis=2), step)

    def close(self) -> None:
        if self.writer is not None:
            self.writer.close()
