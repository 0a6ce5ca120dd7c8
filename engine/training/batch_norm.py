"""BatchNorm whose statistics are those of the whole batch, however many processes share it.

BatchNorm (Ioffe & Szegedy, ICML 2015) normalises by the mean and variance of the images that one
forward pass sees. With several processes each would see its own share: the loss, the gradients and
the running statistics would differ. PyTorch's ``SyncBatchNorm`` corrects that on GPUs only; this
one computes the same on every device.

Micro-batches (accumulation) are separate forward passes, so no BatchNorm can know their common
statistics. :func:`images_per_statistic` tells which runs are affected.
"""

import torch
import torch.distributed as dist
from timm.layers.norm_act import BatchNormAct2d
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx
from torch.nn.modules.batchnorm import _BatchNorm

from encoder_ablations.engine.recipe import Recipe
from encoder_ablations.segmenters.base import Segmenter
from encoder_ablations.utils.errors import InputError

PLAIN = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
PARTS: tuple[str, ...] = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")


def images_per_statistic(model: nn.Module, recipe: Recipe) -> int | None:
    """Return over how many images BatchNorm's training statistics are taken.

    Returns:
        None where they cover the whole batch, or where no BatchNorm of ``model`` learns.
    """
    if recipe.accumulation == 1 or not learning_norms(model):
        return None
    return recipe.batch_size // recipe.accumulation


def check_images(segmenter: Segmenter, recipe: Recipe) -> None:
    """Check that BatchNorm sees enough images at a time to have a variance.

    Raises:
        InputError: the micro-batches of a recipe are too small for the head.
    """
    # over all processes, whose statistics are common
    images = recipe.batch_size // recipe.accumulation
    least = segmenter.head.least_images
    if images < least:
        raise InputError(
            f"this head's BatchNorm behind a mean over the image needs {least} images at a time, "
            f"but recipe.batch_size {recipe.batch_size} with recipe.accumulation "
            f"{recipe.accumulation} gives {images}. Set segmenter.norm=group, or use larger "
            "micro-batches."
        )


def learning_norms(model: nn.Module) -> list[_BatchNorm]:
    """Return the BatchNorms that use the statistics of the batch when ``model`` is trained."""
    was_training = model.training
    model.train()
    found = [
        module for module in model.modules() if isinstance(module, _BatchNorm) and module.training
    ]
    model.train(was_training)
    return found


def synchronise(model: nn.Module) -> None:
    """Replace every BatchNorm that learns by one over all processes, in place.

    The new ones have the same parameters and buffers.

    Raises:
        InputError: a derived BatchNorm, which may do more than normalise.
    """
    learning = {id(module) for module in learning_norms(model)}
    for parent in list(model.modules()):
        for name, child in parent.named_children():
            if id(child) in learning and not isinstance(child, DONE):
                setattr(parent, name, _synchronised(child))


def _synchronised(norm: nn.Module) -> "WholeBatchNorm":
    if type(norm) not in (*PLAIN, BatchNormAct2d):
        raise InputError(
            f"{type(norm).__name__} is a BatchNorm that cannot be synchronised over several "
            "processes; allowed are BatchNorm1d, BatchNorm2d, BatchNorm3d and timm's "
            "BatchNormAct2d. Train this model with one process."
        )
    assert isinstance(norm, _BatchNorm)
    kind, parts = WholeBatchNorm, PARTS
    if isinstance(norm, BatchNormAct2d):
        kind, parts = WholeBatchNormAct, (*PARTS, "drop", "act")
    whole = kind(norm.num_features, norm.eps, norm.momentum, norm.affine, norm.track_running_stats)
    # the optimiser holds the parameters themselves: they move, they are not copied
    for name in parts:
        setattr(whole, name, getattr(norm, name))
    return whole.train(norm.training)


class WholeBatchNorm(_BatchNorm):
    """BatchNorm of B×C or B×C×…, in training over the images of all processes.

    Every process must call it.
    """

    def _check_input_dim(self, input: Tensor) -> None:
        """Refuse an input without channels, the second dimension."""
        if input.dim() < 2:
            raise ValueError(f"BatchNorm needs B×C or B×C×…, got {input.dim()} dimensions")

    def forward(self, input: Tensor) -> Tensor:
        """Return the normalised input: B×C×…, of the same shape and dtype."""
        if not self.training:
            return super().forward(input)
        self._check_input_dim(input)
        normalised, mean, variance, count = _Normalise.apply(input, self.eps)
        self._track(mean, variance, count)
        if self.weight is not None:
            normalised = normalised * _like(self.weight, input)
        if self.bias is not None:
            normalised = normalised + _like(self.bias, input)
        output: Tensor = normalised.to(input.dtype)
        return output

    @torch.no_grad()
    def _track(self, mean: Tensor, variance: Tensor, count: Tensor) -> None:
        """Move the running statistics towards those of a batch, with ``count`` values a channel."""
        if not self.track_running_stats:
            return
        assert self.running_mean is not None  # all three buffers exist when statistics are tracked
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        self.num_batches_tracked.add_(1)
        momentum = self.momentum
        if momentum is None:  # PyTorch then averages over all batches
            momentum = 1.0 / float(self.num_batches_tracked)
        unbiased = variance * count / (count - 1).clamp(min=1)
        self.running_mean.lerp_(mean.to(self.running_mean.dtype), momentum)
        self.running_var.lerp_(unbiased.to(self.running_var.dtype), momentum)


class WholeBatchNormAct(WholeBatchNorm):
    """timm's ``BatchNormAct2d`` over all processes: BatchNorm, dropout and an activation.

    Attributes:
        drop, act: the modules of the BatchNorm whose place it takes.
    """

    drop: nn.Module
    act: nn.Module

    def forward(self, input: Tensor) -> Tensor:
        """Return the activations: B×C×…, of the same shape and dtype as the input."""
        normalised = super().forward(input)
        if self.weight is None:  # else the activation, in place, would change what backward needs
            normalised = normalised.clone()
        output: Tensor = self.act(self.drop(normalised))
        return output


DONE = (WholeBatchNorm, nn.SyncBatchNorm)
"""BatchNorms that see the whole batch already."""


class _Normalise(torch.autograd.Function):
    """``(x - mean) / sqrt(variance + eps)``, mean and variance over all processes.

    It computes in float32 or, for float64 inputs, in float64.
    """

    @staticmethod
    def forward(
        ctx: FunctionCtx, images: Tensor, eps: float
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Normalise B×C×… images.

        Returns:
            The normalised images, the mean C, the biased variance C, and the values a channel.
        """
        values = images.to(torch.promote_types(images.dtype, torch.float32))
        variance, mean = torch.var_mean(values, _all_but_channels(values), correction=0)
        count = torch.full_like(mean[:1], values.numel() // values.shape[1])
        # one message a layer: every process's mean, variance and count
        parts = _gathered(torch.cat([mean, variance, count]))
        means, variances, counts = torch.split(parts, [len(mean), len(mean), 1], dim=1)
        total = counts.sum()
        mean = (means * counts).sum(dim=0) / total
        # Chan, Golub & LeVeque (1979), eq. 2.1: variance within the parts plus between them
        variance = ((variances + (means - mean) ** 2) * counts).sum(dim=0) / total
        inverse = torch.rsqrt(variance + eps)
        normalised = (values - _like(mean, values)) * _like(inverse, values)
        ctx.save_for_backward(normalised, inverse, total)
        ctx.mark_non_differentiable(mean, variance, total)
        return normalised, mean, variance, total

    @staticmethod
    def backward(ctx: FunctionCtx, gradient: Tensor, *_: Tensor) -> tuple[Tensor, None]:
        """Return the gradient of the images, also through mean and variance of all processes."""
        normalised, inverse, total = ctx.saved_tensors  # type: ignore[attr-defined]
        dims = _all_but_channels(gradient)
        sums = torch.stack([gradient.sum(dims), (gradient * normalised).sum(dims)])
        dist.all_reduce(sums)
        # Ioffe & Szegedy, section 3, with sums over the whole batch
        shift, slope = (_like(each / total, gradient) for each in sums)
        return (gradient - shift - normalised * slope) * _like(inverse, gradient), None


def _gathered(own: Tensor) -> Tensor:
    """Return every process's row, by rank: P×n."""
    parts = [torch.empty_like(own) for _ in range(dist.get_world_size())]
    dist.all_gather(parts, own)
    return torch.stack(parts)


def _all_but_channels(values: Tensor) -> list[int]:
    return [dim for dim in range(values.dim()) if dim != 1]


def _like(per_channel: Tensor, values: Tensor) -> Tensor:
    """Return C numbers in a shape that broadcasts over B×C×…."""
    return per_channel.view(1, -1, *[1] * (values.dim() - 2))
