"""Several predictions of the same pixels, made one."""

import torch
from torch import Tensor

from encoder_ablations.engine.inference.spec import Combination


class Combined:
    """Collects the probabilities that views and models give.

    Args:
        how: "mean" of the probabilities, "max" for every class divided by its sum over classes, or
            the share of the "vote".
    """

    def __init__(self, how: Combination) -> None:
        self._how = how
        self._sum: Tensor | None = None
        self._entropies: Tensor | None = None
        self._weights = 0.0

    def add(self, probabilities: Tensor, weight: float = 1.0) -> None:
        """Add one prediction.

        Args:
            probabilities: B×K×h×w, at least 0, with a sum of 1 over the classes.
            weight: of it in the mean or the vote, more than 0; "max" does not look at it.
        """
        entropies = weight * entropy(probabilities)
        counted = self._counted(probabilities, weight)
        if self._sum is None or self._entropies is None:
            self._sum, self._entropies = counted, entropies
        elif self._how == "max":
            self._sum = torch.maximum(self._sum, counted)
            self._entropies = self._entropies + entropies
        else:
            self._sum = self._sum + counted
            self._entropies = self._entropies + entropies
        self._weights += weight

    def values(self) -> Tensor:
        """Return the probabilities of the K classes and the mean entropy, B×(K+1)×h×w.

        The last channel is the mean of the single predictions' entropies, in nats. What the entropy
        of the combined probabilities exceeds it by is the disagreement between the predictions
        (mutual information).
        """
        assert self._sum is not None
        assert self._entropies is not None
        images, classes, height, width = self._sum.shape
        values = self._sum.new_empty(images, classes + 1, height, width)
        # written in place: the probabilities are too large to be copied once more
        torch.div(self._sum, self._sum.sum(dim=1, keepdim=True), out=values[:, :classes])
        torch.div(self._entropies, self._weights, out=values[:, classes])
        return values

    def _counted(self, probabilities: Tensor, weight: float) -> Tensor:
        if self._how == "max":
            return probabilities
        if self._how == "vote":
            votes = torch.zeros_like(probabilities)
            votes.scatter_(1, probabilities.argmax(dim=1, keepdim=True), weight)
            return votes
        if weight == 1:
            return probabilities
        return weight * probabilities


def entropy(probabilities: Tensor) -> Tensor:
    """Return the entropy over the classes in nats, B×h×w of B×K×h×w."""
    # faster than torch.special.entr, and 0·log 0 is 0 as well
    smallest = torch.finfo(probabilities.dtype).tiny
    negative = probabilities.clamp_min(smallest).log_().mul_(probabilities).sum(dim=1)
    return negative.neg_()
