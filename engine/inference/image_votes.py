"""The class of a whole image, from several views, windows and models."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class ImageClass:
    """The class that is predicted for a whole image.

    Attributes:
        name: of the most probable class.
        probability: of that class, 0..1.
    """

    name: str
    probability: float


class ImageVotes:
    """Collects the class probabilities of one whole image.

    The result is their mean over models, views and windows, in which models count by their weights.

    Args:
        leave_out_black: whether windows do not count in which every pixel is black, as rasters are
            where they have no data.
    """

    def __init__(self, leave_out_black: bool = False) -> None:
        self._leave_out_black = leave_out_black
        self._sum = np.zeros(0)
        self._weight = 0.0

    def add(self, scores: Tensor, weight: float, windows: np.ndarray | None = None) -> None:
        """Take what one pass says.

        Args:
            scores: B×K logits of B windows of the image.
            weight: of the model.
            windows: B×h×w×3 uint8, where black ones are to be left out.
        """
        if self._leave_out_black and windows is not None:
            seen = windows.any(axis=(1, 2, 3))
            if not seen.any():
                return
            scores = scores[torch.from_numpy(seen).to(scores.device)]
        probabilities = scores.double().softmax(dim=1).sum(dim=0).cpu().numpy()
        if not self._weight:
            self._sum = np.zeros_like(probabilities)
        self._sum = self._sum + weight * probabilities
        self._weight += weight * len(scores)

    def decided(self, classes: Sequence[str] | None) -> ImageClass | None:
        """Return the most probable of the classes; None where nothing has voted.

        Args:
            classes: their names; None = the models have none.
        """
        if classes is None or not self._weight:
            return None
        means = self._sum / self._weight
        best = int(means.argmax())
        return ImageClass(classes[best], float(means[best]))


def share_out(
    votes: Sequence[ImageVotes], scores: Tensor | None, weight: float, windows: np.ndarray
) -> None:
    """Give the class scores of a batch to the images that they are of.

    Args:
        votes: of one image, of which the batch holds windows, or of each image of the batch.
        scores: B×K logits; None = the model has no image head.
        weight: of the model.
        windows: B×h×w×3 uint8, the batch.
    """
    if scores is None:
        return
    parts = scores.chunk(len(votes))
    for each, part, own in zip(votes, parts, np.split(windows, len(votes)), strict=True):
        each.add(part, weight, own)
