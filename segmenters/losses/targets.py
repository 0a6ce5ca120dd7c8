"""Semantic masks as sets of segments, one for each class that an image shows."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from encoder_ablations.data.datasets.sample import IGNORE, ignore_label
from encoder_ablations.segmenters.losses.point_sampling import sample
from encoder_ablations.segmenters.ops.transfers import sent
from encoder_ablations.utils.errors import InputError


@dataclass(frozen=True)
class Targets:
    """Ground truth of B images with S segments together, image after image.

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
        """Return, for each image, T×H×W float32: 1 inside the segment, 0 elsewhere."""
        segments = []
        for mask, classes in zip(self.masks, self.classes, strict=True):
            ids = sent(torch.tensor(classes, dtype=torch.int64), mask.device)
            segments.append((mask == ids[:, None, None]).float())
        return segments

    def labelled(self, image: int, points: Tensor) -> Tensor:
        """Return the share of the bilinear support of points (…×2) that is labelled: …, 0..1.

        A place beyond the border is labelled if the nearest pixel is.
        """
        if not self.ignored[image]:
            return torch.ones_like(points[..., 0])
        ignored = (self.masks[image] == self.ignore)[None, None].float()
        share = 1 - sample(ignored, points.reshape(1, -1, 2), beyond="border")
        # four ignored corners may add up to a little less than 1
        share = share * (share > 1e-5)
        return share.view(points.shape[:-1])


def shown_ids(masks: Tensor, num_classes: int) -> Tensor:
    """Return which ids each of the masks B×H×W shows: B×(ignored id + 1) bool, on their device."""
    ids = ignore_label(num_classes) + 1
    seen = torch.zeros(len(masks), ids, dtype=torch.bool, device=masks.device)
    return seen.scatter_(1, masks.flatten(1), True)


def segments_of(seen: Tensor, num_classes: int, background: int | None = None) -> Tensor:
    """Return which segments each mask has: B×K bool, K - 1 with a background.

    Args:
        seen: see :func:`shown_ids`.
        num_classes: number of classes, K.
        background: id of a class that is no segment.
    """
    shown = seen[:, :num_classes]
    if background is None:
        return shown
    # without that class's column the later ones move down by one
    return torch.cat([shown[:, :background], shown[:, background + 1 :]], dim=1)


def find_targets(masks: Tensor, num_classes: int, background: int | None = None) -> Targets:
    """Return the targets of masks B×H×W int64, with one transfer from the device.

    Args:
        masks: class ids, and the ignored one.
        num_classes: number of classes, K.
        background: id of a class that is no segment. In the targets the ids above it are one less,
            and its own pixels have the id K - 1, which belongs to no segment.

    Raises:
        InputError: a mask holds an id that is neither a class nor the ignored one.
    """
    ignore = ignore_label(num_classes)
    seen = shown_ids(masks, num_classes).cpu()
    wrong = np.flatnonzero(seen[:, num_classes:ignore].any(0).numpy())
    if wrong.size:
        raise InputError(
            f"a mask holds the class id {num_classes + wrong[0]}; "
            f"allowed: 0..{num_classes - 1}, or {ignore} to ignore."
        )
    shown = segments_of(seen, num_classes, background)
    if background is not None:
        above = (masks > background) & (masks != ignore)
        moved = masks - above.long()
        masks = moved.masked_fill(masks == background, num_classes - 1)
    classes = tuple(tuple(np.flatnonzero(row).tolist()) for row in shown.numpy())
    return Targets(masks, classes, tuple(seen[:, ignore].tolist()), ignore)
