"""Gradients of single images: clipped and summed, and the noise on their sum."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from encoder_ablations.utils.seeding import derive

ROUNDING = 1e-6
"""Added to norms, as in Opacus: a clipped gradient stays within the clip however it is rounded."""


class ClippedSum:
    """The sum of the clipped gradients of images (Abadi et al., CCS 2016, algorithm 1).

    Args:
        parameters: those that learn.
        clip: largest L2 norm of an image's gradient over all parameters together.

    Attributes:
        sums: a tensor for each parameter, of its shape.
    """

    def __init__(self, parameters: Sequence[nn.Parameter], clip: float) -> None:
        self.parameters = parameters
        self.clip = clip
        self.sums = [torch.zeros_like(parameter) for parameter in parameters]

    def add(self, loss: Tensor) -> None:
        """Add the clipped gradient of an image's loss, a scalar.

        Raises:
            FloatingPointError: the gradient is not finite.
        """
        found = torch.autograd.grad(loss, self.parameters, allow_unused=True)
        used = [
            (total, own) for total, own in zip(self.sums, found, strict=True) if own is not None
        ]
        norm = torch.stack([own.norm() for _, own in used]).norm()
        if not torch.isfinite(norm):
            raise FloatingPointError(
                "an image's gradient is not finite; a lower learning rate may help"
            )
        factor = (self.clip / (norm + ROUNDING)).clamp(max=1.0)
        for total, own in used:
            total.addcmul_(own, factor)

    def noised(self, noise: float, seed: int, step: int) -> list[Tensor]:
        """Return the sums with Gaussian noise, which comes from a stream of its own.

        It is drawn on the CPU, so that it is the same on every device.

        Args:
            noise: standard deviation in units of the clip.
            seed: of the training.
            step: of the training, counted from 0.
        """
        generator = torch.Generator().manual_seed(derive(seed, "private noise", step))
        noised = []
        for total in self.sums:
            drawn = torch.randn(total.shape, generator=generator, dtype=torch.float32)
            noised.append(total + noise * self.clip * drawn.to(total.device, total.dtype))
        return noised
