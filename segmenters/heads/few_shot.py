"""Classes by the features of a few labelled images: no weight is learned by gradients."""

from collections.abc import Iterator
from typing import Any, Self

import torch
from torch import Tensor
from torch.nn import functional as F

from encoder_ablations.data.datasets.sample import ignore_label
from encoder_ablations.encoders.base import Encoder, Level
from encoder_ablations.segmenters.base import Head
from encoder_ablations.segmenters.built_in import FewShotSpec
from encoder_ablations.segmenters.features import Example
from encoder_ablations.segmenters.registry import register_head
from encoder_ablations.segmenters.scores import ScoreMaps
from encoder_ablations.utils.errors import InputError

LEAST_SHARE = 1e-4
"""A class's share of the neighbours' labels is at least this, so that its logarithm is finite."""
NEVER = -2.0
"""Cosine of a class that no training pixel shows: less than any other."""


@register_head("few_shot", FewShotSpec, reads="maps", learns=False)
class FewShotHead(Head):
    """Compares the body's last map with that of the training images, place by place.

    "prototype": the logits are the cosines of a feature and each class's mean feature, divided by
    the temperature (as in Snell et al., NeurIPS 2017, with cosines). "knn": the labels of the
    nearest features in a memory, weighted by the softmax of their cosines over the temperature,
    as in Hummingbird (Balažević et al., NeurIPS 2023); the scores are their logarithms.
    """

    mean_features: Tensor
    memory: Tensor
    labels: Tensor

    def __init__(self, spec: FewShotSpec, num_classes: int, level: Level) -> None:
        super().__init__()
        self.spec = spec
        self.num_classes = num_classes
        self.level = level.name
        self.levels = (level.name,)
        self.stride = level.stride
        if spec.method == "prototype":
            self.register_buffer("mean_features", torch.zeros(num_classes, level.channels))
        else:
            self.register_buffer("memory", torch.zeros(spec.memory, level.channels))
            self.register_buffer("labels", torch.zeros(spec.memory, num_classes))

    @classmethod
    def build(cls, spec: FewShotSpec, encoder: Encoder, num_classes: int) -> Self:
        """Return a head that has read no image yet."""
        head = cls(spec, num_classes, encoder.levels[-1])
        head.ignore = ignore_label(num_classes)
        return head

    def fit(self, examples: Iterator[Example]) -> None:
        """Read the training images, see :meth:`Head.fit`.

        Raises:
            InputError: none of their pixels is labelled.
        """
        read = (self._places(example) for example in examples)
        if self.spec.method == "prototype":
            self._average(read)
        else:
            self._remember(read)

    def _places(self, example: Example) -> tuple[Tensor, Tensor]:
        """Return the features N×C of unit length of all places, and their pixels N×K by class."""
        features: Tensor = example.pyramid[self.level][0]
        counts = pixels_of_places(example.mask, features.shape[-2:], self.num_classes)
        return F.normalize(features.float().flatten(1).T, dim=1), counts.to(features.device)

    def _average(self, read: Iterator[tuple[Tensor, Tensor]]) -> None:
        """Set each class's mean over its pixels, each of which has the feature of its place."""
        sums = torch.zeros_like(self.mean_features, dtype=torch.float64)
        pixels = sums.new_zeros(self.num_classes)
        for features, counts in read:
            sums += counts.double().T @ features.double()
            pixels += counts.sum(dim=0)
        _require_labels(bool(pixels.sum()))
        self.mean_features.copy_(sums / pixels.clamp(min=1)[:, None])

    def _remember(self, read: Iterator[tuple[Tensor, Tensor]]) -> None:
        """Keep labelled places, or a random part of them, all equally likely."""
        places = self.memory.new_zeros(0)
        memory, labels = self.memory[:0], self.labels[:0]
        for features, counts in read:
            labelled = counts.sum(dim=1) > 0
            shares = counts[labelled] / counts[labelled].sum(dim=1, keepdim=True)
            # the places with the smallest random numbers stay: a uniform sample of all so far
            drawn = torch.rand(len(shares)).to(places)
            places = torch.cat([places, drawn])
            kept = places.argsort(stable=True)[: self.spec.memory]
            places = places[kept]
            memory = torch.cat([memory, features[labelled]])[kept]
            labels = torch.cat([labels, shares.to(labels)])[kept]
        _require_labels(bool(len(memory)))
        self.memory.zero_()[: len(memory)] = memory
        self.labels.zero_()[: len(labels)] = labels

    def predict(self, pyramid: dict[str, Tensor], image_size: tuple[int, int]) -> ScoreMaps:
        """Return the scores of B images, see :meth:`Head.predict`."""
        features = F.normalize(pyramid[self.level].float(), dim=1)
        places = features.movedim(1, -1)
        if self.spec.method == "prototype":
            scores = self._cosines(places) / self.spec.temperature
        else:
            scores = self._shares(places).clamp(min=LEAST_SHARE).log()
        return ScoreMaps(scores.movedim(-1, 1), image_size, stride=self.stride)

    def _cosines(self, places: Tensor) -> Tensor:
        """Return the cosines …×K of features …×C and the classes' mean features."""
        cosines = places @ F.normalize(self.mean_features, dim=1).T
        return cosines.masked_fill(~self.mean_features.any(dim=1), NEVER)

    def _shares(self, places: Tensor) -> Tensor:
        """Return the classes' shares …×K of the labels of the nearest features in the memory."""
        used = self.labels.any(dim=1)
        cosines = (places @ self.memory.T).masked_fill(~used, NEVER)
        nearest, where = cosines.topk(min(self.spec.neighbours, len(self.memory)), dim=-1)
        weights = (nearest / self.spec.temperature).softmax(dim=-1)
        # fewer places than neighbours: the empty rows have no weight
        weights = weights * used[where]
        weights = weights / weights.sum(dim=-1, keepdim=True).clamp(min=LEAST_SHARE)
        shares: Tensor = (weights[..., None] * self.labels[where]).sum(dim=-2)
        return shares


def pixels_of_places(mask: Tensor, grid: Any, num_classes: int) -> Tensor:
    """Return how many pixels of each class lie in each place of a grid, N×K, row by row.

    Pixels of other ids, such as ignored ones, are not counted.

    Args:
        mask: H×W class ids.
        grid: (rows, columns) that divide the mask.
        num_classes: K.
    """
    rows, columns = (
        torch.arange(size, device=mask.device) * steps // size
        for size, steps in zip(mask.shape, grid, strict=True)
    )
    place = rows[:, None] * grid[1] + columns
    counted = mask < num_classes
    cells = place[counted] * num_classes + mask[counted]
    total = grid[0] * grid[1] * num_classes
    return torch.bincount(cells, minlength=total).view(-1, num_classes)


def _require_labels(found: bool) -> None:
    """Refuse training images without labels.

    Raises:
        InputError: no pixel is labelled.
    """
    if not found:
        raise InputError(
            "segmenter few_shot: no pixel of the training images has a class. Use a larger "
            "fraction."
        )
