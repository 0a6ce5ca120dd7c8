"""The guided filter of He, Sun & Tang, "Guided Image Filtering" (ECCV 2010), on grey levels."""

import torch
from torch import Tensor
from torch.nn import functional as F

from encoder_ablations.engine.inference.views import GREY


def refined(probabilities: Tensor, images: Tensor, radius: int, epsilon: float) -> Tensor:
    """Return probabilities whose edges lie on those of the images.

    Args:
        probabilities: B×K×H×W, at least 0, with a sum of 1 over the classes.
        images: B×3×H×W, RGB 0..255: the guide.
        radius: squares have sides of 2·radius + 1 pixels.
        epsilon: regularisation, a variance of grey levels in 0..1.

    Returns:
        B×K×H×W, at least 0, with a sum of 1 over the classes.
    """
    weights = torch.tensor(GREY, device=images.device).view(1, 3, 1, 1)
    # float64: variances of flat squares are differences of nearly equal numbers
    guide = (images.double() * weights).sum(dim=1, keepdim=True) / 255
    values = probabilities.double()
    mean_guide, mean_values = box_mean(guide, radius), box_mean(values, radius)
    # eq. 5 and 6: in every square, values are a linear function of the guide
    covariance = box_mean(guide * values, radius) - mean_guide * mean_values
    variance = box_mean(guide * guide, radius) - mean_guide**2
    slope = covariance / (variance + epsilon)
    offset = mean_values - slope * mean_guide
    # eq. 8: every pixel takes the mean of all squares that hold it
    result = box_mean(slope, radius) * guide + box_mean(offset, radius)
    result = result.clamp_min(0)
    return (result / result.sum(dim=1, keepdim=True)).to(probabilities.dtype)


def box_mean(values: Tensor, radius: int) -> Tensor:
    """Return the mean over squares around each pixel, as far as they lie in the image.

    Args:
        values: B×C×H×W.
        radius: squares have sides of 2·radius + 1 pixels.
    """
    return _side_mean(_side_mean(values, radius).transpose(-1, -2), radius).transpose(-1, -2)


def _side_mean(values: Tensor, radius: int) -> Tensor:
    """Return the mean over 2·radius + 1 pixels along the last side."""
    length = values.shape[-1]
    # sums[i] is the sum of the first i pixels
    sums = F.pad(values.cumsum(dim=-1), (1, 0))
    places = torch.arange(length, device=values.device)
    first = (places - radius).clamp_min(0)
    last = (places + radius + 1).clamp_max(length)
    return (sums[..., last] - sums[..., first]) / (last - first)
