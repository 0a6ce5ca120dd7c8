"""Images that are predicted together."""

from collections.abc import Callable, Iterable, Iterator, Sequence

import torch
from torch import Tensor

from encoder_ablations.data.loading.items import EvaluationItem
from encoder_ablations.segmenters.features import Features

Input = Tensor | Features


def of_equal_size(items: Iterable[EvaluationItem], most: int) -> Iterator[list[EvaluationItem]]:
    """Yield items in their order, neighbours whose images and masks have the same sizes together.

    Args:
        items: images and masks.
        most: items that are yielded together, at most.
    """
    group: list[EvaluationItem] = []
    for item in items:
        if group and _sizes(group[0]) != _sizes(item):
            yield group
            group = []
        group.append(item)
        # at once, so that no more items are kept than are asked for
        if len(group) == most:
            yield group
            group = []
    if group:
        yield group


def read_together(
    group: Sequence[EvaluationItem], read: Callable[[EvaluationItem], Input]
) -> Input:
    """Return the input of a model for several items of equal size.

    Args:
        group: the items, at least one.
        read: gives the model's input for one.
    """
    first, *others = [read(item) for item in group]
    if not others:
        return first
    if isinstance(first, Features):
        parts = [first, *(each for each in others if isinstance(each, Features))]
        maps = [torch.cat(levels) for levels in zip(*(each.maps for each in parts), strict=True)]
        return Features(maps, first.image_size)
    return torch.cat([first, *(each for each in others if isinstance(each, Tensor))])


def _sizes(item: EvaluationItem) -> tuple[torch.Size, torch.Size]:
    return item.image.shape, item.mask.shape
