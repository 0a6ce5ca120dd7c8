"""BatchNorm statistics of a frozen body, or of averaged weights, estimated on images.

The statistics of a layer are the mean and variance of its input over all images. Its input depends
on the statistics of the layers before it. Computing one layer after the other takes a pass over the
images for each. Here one pass serves all: every BatchNorm normalises with the statistics of the
images that pass together, and the moments of its input are summed over the whole pass. The first
layer's are exact. Later layers' approximate those of the exact procedure, the better the more
images pass together. This is PreciseBN (Wu & Johnson, "Rethinking 'Batch' in BatchNorm", 2021,
section 3).
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from accelerate.utils import broadcast
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from encoder_ablations.encoders.freezing import fixed_batch_norms
from encoder_ablations.engine.training.batch_norm import learning_norms
from encoder_ablations.segmenters.base import Segmenter
from encoder_ablations.utils.arithmetic import tensor_float32
from encoder_ablations.utils.errors import InputError


def estimate_statistics(segmenter: Segmenter, batches: Iterable[Tensor]) -> None:
    """Set the running mean and variance of the frozen body's BatchNorms, in place.

    The variance is that of the images, divided by the number of values. Parameters, and BatchNorms
    that learn, stay as they are.

    Args:
        segmenter: whose encoder's body is frozen, at least in part.
        batches: images B×3×H×W, RGB 0..255, on any device; sizes may differ between batches.

    Raises:
        InputError: a map has only one pixel in a batch, which has no variance.
    """
    _estimate(segmenter, fixed_batch_norms(segmenter.encoder), segmenter.features, batches)


def estimate_learnt_statistics(segmenter: Segmenter, batches: Iterable[Tensor]) -> None:
    """Set the running mean and variance of the BatchNorms that learn, as for a frozen body's.

    Weights that were averaged need it, because no batch has passed them. Arguments and errors are
    those of :func:`estimate_statistics`.
    """
    _estimate(segmenter, learning_norms(segmenter), segmenter.predict, batches)


def share_statistics(norms: Iterable[_BatchNorm]) -> None:
    """Give all processes the first one's statistics: rounding may differ between devices."""
    for norm in norms:
        for statistic in (norm.running_mean, norm.running_var):
            if statistic is not None:
                statistic.copy_(broadcast(statistic))


@torch.no_grad()
def _estimate(
    segmenter: Segmenter,
    norms: Iterable[_BatchNorm],
    forward: Callable[[Tensor], object],
    batches: Iterable[Tensor],
) -> None:
    """Set the statistics of some BatchNorms from passes of images; see the functions above."""
    moments = {norm: _Moments() for norm in norms}
    handles = [norm.register_forward_pre_hook(moments[norm].add) for norm in moments]
    buffers = {name: value.clone() for name, value in segmenter.named_buffers()}
    was_training = segmenter.training
    segmenter.eval()
    for norm in moments:
        norm.train()  # normalises with the batch
    try:
        with tensor_float32(False):
            for images in batches:
                forward(images.to(segmenter.mean.device))
    finally:
        for handle in handles:
            handle.remove()
        segmenter.train(was_training)
    # the passes have moved the running statistics, and counted themselves
    for name, value in segmenter.named_buffers():
        value.copy_(buffers[name])
    for norm, found in moments.items():
        found.write(norm)


@dataclass
class _Moments:
    """Count, mean and squared deviations of each channel, over all that was added.

    Attributes:
        count: values a channel.
        mean: C float64.
        deviations: C float64, the sum of squared differences from the mean.
    """

    count: int = 0
    mean: Tensor | None = None
    deviations: Tensor | None = None

    def add(self, _norm: torch.nn.Module, inputs: tuple[Tensor]) -> None:
        """Add the input of a BatchNorm, B×C×…."""
        values = inputs[0].float()
        count = values.numel() // values.shape[1]
        if count < 2:
            raise InputError(
                "BatchNorm statistics cannot be estimated: a map has one pixel in all, which has "
                "no variance. Use larger or more images; for a frozen body say "
                "encoder.batch_norm=keep, otherwise leave out recipe.average."
            )
        others = [dim for dim in range(values.dim()) if dim != 1]
        variance, mean = torch.var_mean(values, others, correction=0)
        mean, deviations = mean.double(), variance.double() * count
        if self.mean is None or self.deviations is None:
            self.count, self.mean, self.deviations = count, mean, deviations
            return
        # Chan, Golub & LeVeque (1979), eq. 2.1: deviations within the parts plus between them
        total = self.count + count
        change = mean - self.mean
        self.deviations = self.deviations + deviations + change**2 * (self.count * count / total)
        self.mean = self.mean + change * (count / total)
        self.count = total

    def write(self, norm: _BatchNorm) -> None:
        """Make these the running statistics of a BatchNorm."""
        if self.mean is None or self.deviations is None:
            return  # no map depends on it
        assert norm.running_mean is not None  # only BatchNorms with running statistics are asked
        assert norm.running_var is not None
        norm.running_mean.copy_(self.mean)
        norm.running_var.copy_(self.deviations / self.count)
