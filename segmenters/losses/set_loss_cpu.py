"""The set loss on the CPU: one compiled pass over the points, without tables of all points.

It computes what :mod:`encoder_ablations.segmenters.losses.set_loss_pytorch` does, apart from
rounding: sums are added in another order. A gradient can be taken once.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from encoder_ablations.segmenters.losses.matching import Matches, PairSums
from encoder_ablations.segmenters.losses.point_sampling import Points, SeededCandidates
from encoder_ablations.segmenters.losses.targets import Targets
from encoder_ablations.utils.kernels import in_parallel
from encoder_ablations.utils.optional import no_place_for_kernels

NONE = -1
"""The segment of pixels that lie in none."""


@dataclass(frozen=True)
class _Masks:
    """The masks of a batch as the loops read them, see ``set_loss_numba``."""

    owners: list[np.ndarray]
    labelled: list[np.ndarray]

    @classmethod
    def of(cls, targets: Targets, excluded: bool) -> "_Masks":
        owners = [_owners(targets, image) for image in range(len(targets.classes))]
        labelled = [
            _labelled(targets, image, excluded and has_ignored)
            for image, has_ignored in enumerate(targets.ignored)
        ]
        return cls(owners, labelled)


def pair_sums(
    mask_logits: Sequence[Tensor], targets: Targets, points: Tensor, excluded: bool
) -> PairSums:
    """Return what the costs of all pairs follow from, see :class:`PairSums`.

    Args:
        mask_logits: L times B×Q×h×w.
        targets: the ground truth.
        points: L×B×P×2.
        excluded: whether ignored pixels weigh nothing; otherwise they lie in no segment.
    """
    kernels, masks = _kernels(), _Masks.of(targets, excluded)
    predictions, images = points.shape[:2]
    columns = max(map(len, targets.classes))
    sums = torch.zeros(predictions, images, 2, columns + 1, mask_logits[0].shape[1])
    areas = torch.zeros(predictions, images, columns + 1)
    maps = [each.detach().float().contiguous().numpy() for each in mask_logits]

    def add(first: int, last: int) -> None:
        for item in range(first, last):
            prediction, image = divmod(item, images)
            kernels.pair_sums(
                maps[prediction][image],
                points[prediction, image].numpy(),
                masks.owners[image],
                masks.labelled[image],
                sums[prediction, image].numpy(),
                areas[prediction, image].numpy(),
            )

    in_parallel(add, predictions * images, 1)
    return PairSums(sums[:, :, 0].mT, sums[:, :, 1].mT, areas)


def mask_terms(
    maps: Tensor, targets: Targets, matches: Matches, points: Points, excluded: bool
) -> tuple[Tensor, Tensor]:
    """Return the sums over all matched pairs of the cross-entropy and of the Dice loss.

    Args:
        maps: L×M×h×w mask logits of the matched queries.
        targets: the ground truth.
        matches: the pairs.
        points: where they are compared.
        excluded: whether ignored pixels weigh nothing.
    """
    masks = _Masks.of(targets, excluded)
    pairs = _Pairs(masks, *_places(targets, matches))
    flat = maps.flatten(0, 1).float()
    positions = _chosen(flat.detach().numpy(), pairs, points)
    entropy, dice = _PairTerms.apply(flat, positions, pairs)
    return entropy.sum(), dice.sum()


@dataclass(frozen=True)
class _Pairs:
    """For each of the L·M pairs its image, and the number of its segment there."""

    masks: _Masks
    images: np.ndarray
    segments: np.ndarray


def _places(targets: Targets, matches: Matches) -> tuple[np.ndarray, np.ndarray]:
    """Return images and segments of :class:`_Pairs`."""
    starts = np.cumsum([0, *map(len, targets.classes)])
    segments = matches.segments.flatten().numpy()
    images = np.searchsorted(starts, segments, side="right") - 1
    return images, segments - starts[images]


def _chosen(maps: np.ndarray, pairs: _Pairs, points: Points) -> np.ndarray:
    """Return the uncertain and the random points of every pair: L·M×P×2."""
    kernels = _kernels()
    random = points.random.flatten(0, 1).numpy()
    positions = np.empty((len(maps), points.matching.shape[2], 2), np.float32)
    seeds, candidates = _candidates(points.candidates, len(maps))

    def choose(first: int, last: int) -> None:
        own = candidates(first, last)
        for pair in range(first, last):
            labelled = pairs.masks.labelled[pairs.images[pair]]
            kernels.choose_points(
                maps[pair], labelled, seeds[pair], own[pair - first], random[pair], positions[pair]
            )

    in_parallel(choose, len(maps), 16)
    return positions


def _candidates(
    given: Tensor | SeededCandidates, pairs: int
) -> tuple[np.ndarray, Callable[[int, int], Sequence[np.ndarray]]]:
    """Return the seed of every pair, 0 for none, and what gives the candidates of some pairs.

    Those of seeds are drawn into room that the pairs of one range share.
    """
    if isinstance(given, Tensor):
        kept = list(given.flatten(0, 1).numpy())
        return np.zeros(pairs, np.int64), lambda first, last: kept[first:last]
    shape = (given.number, 2)
    return (
        given.seeds.flatten().numpy(),
        lambda first, last: [np.empty(shape, np.float32)] * (last - first),
    )


class _PairTerms(torch.autograd.Function):
    """Cross-entropy and Dice loss of each pair; maps R×h×w to two of R."""

    @staticmethod
    def forward(
        ctx: Any, maps: Tensor, positions: np.ndarray, pairs: _Pairs
    ) -> tuple[Tensor, Tensor]:
        kernels, logits = _kernels(), maps.detach().numpy()
        found = np.zeros((len(logits), 4))

        def add(pair: int) -> None:
            kernels.pair_terms(logits[pair], positions[pair], *_mask(pairs, pair), found[pair])

        _for_each(add, len(logits))
        ctx.save_for_backward(maps)
        ctx.positions, ctx.pairs, ctx.found = positions, pairs, found
        entropy, common, area, labelled = torch.from_numpy(found).unbind(1)
        dice = 1 - (2 * common + 1) / (area + 1)
        return (entropy / labelled.clamp(min=1)).float(), dice.float()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, by_entropy: Tensor, by_dice: Tensor) -> tuple[Tensor, None, None]:
        (maps,) = ctx.saved_tensors
        kernels, logits = _kernels(), maps.detach().numpy()
        _, common, area, labelled = torch.from_numpy(ctx.found).unbind(1)
        # derivatives of 1 - (2·common + 1) / (area + 1) by common and by area
        of_common = -2 / (area + 1) * by_dice
        of_area = (2 * common + 1) / (area + 1).square() * by_dice
        factors = torch.stack([by_entropy / labelled.clamp(min=1), of_common, of_area], dim=1)
        each, gradient = factors.float().numpy(), np.empty_like(logits)

        def fill(pair: int) -> None:
            kernels.pair_gradient(
                logits[pair],
                ctx.positions[pair],
                *_mask(ctx.pairs, pair),
                each[pair],
                gradient[pair],
            )

        _for_each(fill, len(logits))
        return torch.from_numpy(gradient), None, None


def _mask(pairs: _Pairs, pair: int) -> tuple[np.ndarray, np.ndarray, int]:
    """Return owners, labelled and the segment of a pair."""
    image = pairs.images[pair]
    return pairs.masks.owners[image], pairs.masks.labelled[image], pairs.segments[pair]


def _for_each(work: Callable[[int], object], number: int) -> None:
    """Call ``work`` for 0..number, on PyTorch's threads."""

    def some(first: int, last: int) -> None:
        for item in range(first, last):
            work(item)

    in_parallel(some, number, 16)


def _owners(targets: Targets, image: int) -> np.ndarray:
    """Return the segment of each pixel, with a border of none: (H+2)×(W+2) int16."""
    numbers = np.full(targets.ignore + 1, NONE, np.int16)
    numbers[list(targets.classes[image])] = np.arange(len(targets.classes[image]))
    return np.pad(numbers[targets.masks[image].numpy()], 1, constant_values=NONE)


def _labelled(targets: Targets, image: int, has_ignored: bool) -> np.ndarray:
    """Return 1 and 0 for each pixel, the border repeated; 0×0 if all points weigh 1."""
    if not has_ignored:
        return np.empty((0, 0), np.float32)
    mask = targets.masks[image].numpy()
    return np.pad((mask != targets.ignore).astype(np.float32), 1, mode="edge")


def _kernels() -> ModuleType:
    """Return the compiled loops; imported when they are needed, because numba takes a second."""
    try:
        from encoder_ablations.segmenters.losses import set_loss_numba
    except RuntimeError as error:
        raise no_place_for_kernels(error) from error
    return set_loss_numba
