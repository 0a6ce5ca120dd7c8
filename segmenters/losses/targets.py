"""Semantic masks as sets of segments, one for each class that an image shows, and their values at points."""

from dataclasses import dataclass

import torch
from torch import Tensor

from encoder_ablations.data.datasets.sample import IGNORE, ignore_label
from encoder_ablations.segmenters.losses.point_sampling import sample
from encoder_ablations.utils.errors import InputError


@dataclass(frozen=True)
class Targets:
    """Ground truth of B images with S segments together: those of the first image, then those of the second, …

    Attributes:
        masks: B×H×W int64 class ids, ``ignore`` = ignored.
        classes: for each image, the class ids in it, ascending.
        ignored: for each image, whether it has ignored pixels.
        ignore: the id of ignored pixels.
    """

    masks: Tensor
    classes: tuple[tuple[int, ...], ...]
    ignored: tuple[bool, ...]
    ignore: int = IGNORE

    def segments(self) -> list[Tensor]:
        """For each image T×H×W float32, 1 inside the segment, 0 elsewhere."""
        own = [
            torch.tensor(classes, dtype=torch.int64, device=self.masks.device)
            for classes in self.classes
        ]
        return [
            (mask == ids[:, None, None]).float() for mask, ids in zip(self.masks, own, strict=True)
        ]

    def labelled(self, image: int, points: Tensor) -> Tensor:
        """How much of the bilinear support of points (…×2) is labelled: …, 0..1.

        What lies beyond the border is labelled if the nearest pixel is.
        """
        if not self.ignored[image]:
            return torch.ones_like(points[..., 0])
        ignored = (self.masks[image] == self.ignore)[None, None].float()
        share = 1 - sample(ignored, points.reshape(1, -1, 2), beyond="border")
        share = share * (share > 1e-5)  # four ignored corners may add up to a little less than 1
        return share.view(points.shape[:-1])


def find_targets(masks: Tensor, num_classes: int) -> Targets:
    """Targets of masks B×H×W int64, with one transfer from the device.

    Raises:
        InputError: a mask holds an id that is neither a class nor the ignored one.
    """
    ignore = ignore_label(num_classes)
    seen = torch.zeros(len(masks), ignore + 1, dtype=torch.bool, device=masks.device)
    found = [
        row.nonzero().flatten().tolist() for row in seen.scatter_(1, masks.flatten(1), True).cpu()
    ]
    wrong = sorted({label for row in found for label in row if num_classes <= label < ignore})
    if wrong:
        raise InputError(
            f"a mask holds the class id {wrong[0]}; allowed: 0..{num_classes - 1}, or {ignore} to ignore."
        )
    classes = tuple(tuple(label for label in row if label != ignore) for row in found)
    return Targets(masks, classes, tuple(ignore in row for row in found), ignore)
