"""Lovász-softmax loss."""

import torch
from torch import Tensor

from encoder_ablations.segmenters.dense_loss import DenseLoss
from encoder_ablations.segmenters.loss_registry import register_loss
from encoder_ablations.segmenters.loss_spec import LovaszSpec
from encoder_ablations.segmenters.losses.dense.regions import labelled_images


@register_loss("lovasz", LovaszSpec)
class Lovasz(DenseLoss):
    """The Lovász extension of the IoU loss (Berman et al., CVPR 2018), of each image by itself.

    Over a whole batch it would not be the sum of its micro-batches' losses. So it is the authors'
    form per image: the mean over the classes that the image shows, then over the images that have
    a labelled pixel.
    """

    def total(self, masks: Tensor) -> Tensor:
        """Return the number of masks B×H×W that have a labelled pixel."""
        return labelled_images(masks, self.ignore).sum().float()

    def forward(self, logits: Tensor, masks: Tensor) -> Tensor:
        """See :class:`DenseLoss`."""
        # 0, with a gradient, also where no image has a label
        value = logits[:0].sum()
        for scores, mask in zip(logits, masks, strict=True):
            labelled = mask != self.ignore
            labels = mask[labelled]
            if len(labels):
                value = value + _of_image(scores[:, labelled].softmax(0), labels)
        return value


def _of_image(probabilities: Tensor, labels: Tensor) -> Tensor:
    """Return the loss of the P labelled pixels of an image, the mean over the classes it shows.

    Args:
        probabilities: K×P.
        labels: P int64, at least one.
    """
    present = labels.unique()
    own = (labels == present[:, None]).float()
    # eq. 8: the error of each pixel, for each class
    errors, order = (own - probabilities[present]).abs().sort(dim=1, descending=True)
    loss: Tensor = (errors * _jaccard_gradient(own.gather(1, order))).sum(1)
    return loss.mean()


def _jaccard_gradient(own: Tensor) -> Tensor:
    """Return the gradient of the Lovász extension: algorithm 1 of the paper.

    Args:
        own: C×P, 1 where a pixel is of the class, sorted by falling error.

    Returns:
        C×P: what each further error adds to the IoU loss.
    """
    area = own.sum(1, keepdim=True)
    intersection = area - own.cumsum(1)
    union = area + (1 - own).cumsum(1)
    jaccard = 1 - intersection / union
    return torch.cat([jaccard[:, :1], jaccard.diff(dim=1)], dim=1)
