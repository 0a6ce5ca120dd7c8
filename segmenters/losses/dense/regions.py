"""Where classes are, and how far predicted and true areas agree: B×K numbers for B images."""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F


class Areas(NamedTuple):
    """Areas of every class in every image, in labelled pixels; each B×K.

    Attributes:
        common: sum of the class's probabilities over its own pixels.
        predicted: sum of the class's probabilities over all labelled pixels.
        true: number of pixels of the class.
    """

    common: Tensor
    predicted: Tensor
    true: Tensor


def softmax_areas(logits: Tensor, masks: Tensor, ignore: int) -> Areas:
    """Return the areas of the softmax of logits B×K×H×W at masks B×H×W int64."""
    own = own_pixels(masks, logits.shape[1])
    probabilities = logits.softmax(1) * (masks != ignore)[:, None]
    common = (probabilities * own).sum((2, 3))
    return Areas(common, probabilities.sum((2, 3)), own.sum((2, 3)).float())


def own_pixels(masks: Tensor, num_classes: int) -> Tensor:
    """Return for masks B×H×W which pixels are of each class: B×K×H×W bool."""
    ids = torch.arange(num_classes, device=masks.device)
    return masks[:, None] == ids[None, :, None, None]


def labelled_images(masks: Tensor, ignore: int) -> Tensor:
    """Return which of the masks B×H×W have a labelled pixel: B bool."""
    return (masks != ignore).flatten(1).any(1)


def binary_entropy(logits: Tensor, masks: Tensor, ignore: int) -> Tensor:
    """Return the binary cross-entropy of each pixel, the mean over classes: B×H×W.

    It is 0 where a pixel is ignored.

    Args:
        logits: B×K×H×W, one sigmoid for each class.
        masks: B×H×W int64.
        ignore: the id of ignored pixels.
    """
    own = own_pixels(masks, logits.shape[1]).to(logits.dtype)
    entropy = F.binary_cross_entropy_with_logits(logits, own, reduction="none")
    return entropy.mean(1) * (masks != ignore)
