"""BatchNorm statistics of a run's frozen body, estimated on its own training images."""

from collections.abc import Sequence

from accelerate import Accelerator

from encoder_ablations.data.loading.items import Samples
from encoder_ablations.data.views.augmentation import AugmentationSpec
from encoder_ablations.encoders.freezing import fixed_batch_norms
from encoder_ablations.engine.training.batch_norm_statistics import (
    estimate_statistics,
    share_statistics,
)
from encoder_ablations.engine.training.statistic_images import statistic_batches
from encoder_ablations.experiments.runs.spec import RunSpec
from encoder_ablations.segmenters.base import Segmenter
from encoder_ablations.utils.errors import InputError

Part = tuple[Samples, Sequence[int]]
"""A dataset, and the positions of some of its samples."""


def prepare_statistics(
    segmenter: Segmenter, spec: RunSpec, train: Part, accelerator: Accelerator, workers: int = 0
) -> None:
    """Estimate the body's BatchNorm statistics for a run, see :func:`estimate_for`."""
    refuse_estimate(segmenter, spec)
    augmentation = spec.recipe.augmentation
    estimate_for(segmenter, augmentation, spec.seed, train, accelerator, workers)


def refuse_estimate(segmenter: Segmenter, spec: RunSpec) -> None:
    """Refuse to estimate statistics where a run reads no training image.

    Raises:
        InputError: the head needs no labels, and the encoder's statistics must be estimated.
    """
    if segmenter.encoder.batch_norm == "estimate" and not spec.fraction:
        raise InputError(
            f"encoder {spec.encoder.title}: its BatchNorm statistics would be estimated on "
            f"training images, but {spec.segmenter.title} reads none. Use pretrained weights."
        )


def estimate_for(
    segmenter: Segmenter,
    augmentation: AugmentationSpec,
    seed: int,
    train: Part,
    accelerator: Accelerator,
    workers: int = 0,
) -> None:
    """Estimate the body's BatchNorm statistics, in place, if the encoder asks for it.

    The images are chosen by the seed, and seen as in evaluation: not augmented, at its scale.

    Args:
        segmenter: the model before training; it is moved to the device.
        augmentation: that of training, which says at which size images are evaluated.
        seed: of the training.
        train: a dataset, and which of its samples are learnt from.
        accelerator: the device, and the processes that share the training.
        workers: processes that load images; 0 = this one.

    Raises:
        InputError: an image cannot be read, or is too small.
    """
    if segmenter.encoder.batch_norm != "estimate":
        return
    segmenter.to(accelerator.device)
    images = statistic_batches(*train, augmentation, seed, workers)
    estimate_statistics(segmenter, images)
    share_statistics(fixed_batch_norms(segmenter.encoder))
