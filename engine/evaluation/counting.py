"""Count pixels by truth and prediction, on the device that has predicted them."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from encoder_ablations.data.datasets.sample import ignore_label
from encoder_ablations.engine.evaluation.confusion import ConfusionMatrix
from encoder_ablations.utils.arithmetic import deterministic_kernels
from encoder_ablations.utils.errors import InputError


def count_image(id: str, prediction: Tensor, truth: Tensor, classes: int) -> ConfusionMatrix:
    """Return one image's counts, see :meth:`ConfusionMatrix.of`; errors begin with its ``id``."""
    try:
        return ConfusionMatrix.of(prediction, truth, classes)
    except InputError as error:
        raise InputError(f"{id}: {error}") from error


def start_count(
    id: str, prediction: Tensor, truth: Tensor, classes: int
) -> Callable[[], ConfusionMatrix]:
    """Return a function that returns what :func:`count_image` does.

    A GPU counts in its turn and sends the result. Only the function waits for it, so that the next
    image can be begun before. The CPU counts at once.
    """
    if prediction.device.type != "cuda":
        counts = count_image(id, prediction, truth, classes)
        return lambda: counts
    table = table_of(prediction, truth, classes).to("cpu", non_blocking=True)
    sent = torch.cuda.Event()
    sent.record()

    def read() -> ConfusionMatrix:
        sent.synchronize()
        if table[-1]:
            # it says what is wrong
            return count_image(id, prediction, truth, classes)
        return matrix_of(table, classes)

    return read


def table_of(prediction: Tensor, truth: Tensor, classes: int) -> Tensor:
    """Count pixels on their device, which is not waited for.

    Args:
        prediction: class ids, any signed integer type.
        truth: class ids of the same shape; the ignored id counts nowhere.
        classes: number of classes, K.

    Returns:
        K·K + 2 int64: the matrix row by row; ignored pixels; pixels with an id that is no class.
    """
    guess, true = prediction.flatten().long(), truth.flatten().long()
    ignored = true == ignore_label(classes)
    known = (guess >= 0) & (guess < classes) & (ignored | ((true >= 0) & (true < classes)))
    cells = torch.where(ignored, classes**2, true * classes + guess)
    cells = torch.where(known, cells, classes**2 + 1)
    table = torch.zeros(classes**2 + 2, dtype=torch.int64, device=cells.device)
    # sums of integers are the same in any order
    with deterministic_kernels(False):
        return table.scatter_add_(0, cells, torch.ones_like(cells))


def matrix_of(table: Tensor, classes: int) -> ConfusionMatrix:
    """Return the matrix in what :func:`table_of` returned, which is on the CPU."""
    counts = table[: classes**2].view(classes, classes).numpy()
    return ConfusionMatrix(np.array(counts))
