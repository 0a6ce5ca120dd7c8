"""The images of a training."""

from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor

from encoder_ablations.data.datasets.spec import DatasetSpec
from encoder_ablations.data.loading.items import Samples
from encoder_ablations.data.views.augmentation import AugmentationSpec
from encoder_ablations.engine.training.statistic_images import statistic_batches


@dataclass(frozen=True)
class TrainingData:
    """Which images are trained on, and which decide the best checkpoint.

    Attributes:
        class_pixels: of each class in the training images; needed where the recipe's augmentation
            balances classes.
    """

    spec: DatasetSpec
    train: Samples
    train_indices: list[int]
    val: Samples
    val_indices: list[int]
    class_pixels: list[int] | None = None

    def statistic_batches(
        self, augmentation: AugmentationSpec, seed: int, workers: int
    ) -> Iterator[Tensor]:
        """Yield training images B×3×H×W uint8 on which BatchNorm statistics are estimated."""
        return statistic_batches(self.train, self.train_indices, augmentation, seed, workers)
