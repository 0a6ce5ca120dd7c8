"""Class scores on a coarse grid, and the one way to bring them to full resolution."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from encoder_ablations.encoders.resize import scale_bilinear
from encoder_ablations.segmenters.upsample_argmax import STRIDE, upsample_argmax

ROWS = 64
"""Rows of the result for which :meth:`ScoreMaps.labels` mixes masks into scores at once."""
CLASSES = 255
"""Classes whose scores are brought to full size at once on a GPU."""


@dataclass(frozen=True)
class ScoreMaps:
    """What a head predicts for B images of one size.

    Attributes:
        maps: B×N×h×w at ``stride`` of the padded image: N class scores, or N mask logits when ``mixing`` is given.
        image_size: (H, W) of the images without padding; h ≥ H/stride, w ≥ W/stride.
        mixing: B×K×N class probabilities of N queries. The scores are then ``mixing @ sigmoid(upsampled maps)``, the
            order of Mask2Former's semantic inference: the mask logits are upsampled, not the mixed probabilities.
        stride: image pixels per step of ``maps``.
    """

    maps: Tensor
    image_size: tuple[int, int]
    mixing: Tensor | None = None
    stride: int = STRIDE

    def at(self, size: tuple[int, int]) -> Tensor:
        """Scores B×K×size of the images resized to ``size``: one bilinear step from ``maps``, padding cropped."""
        maps = upsample(self.maps.float(), self.image_size, size, self.stride)
        if self.mixing is None:
            return maps
        return torch.einsum("bkn,bnhw->bkhw", self.mixing.float(), maps.sigmoid())

    def labels(self, size: tuple[int, int]) -> Tensor:
        """The class with the largest score at every pixel, the first one where several are equal: B×size int64.

        Equal to ``at(size).argmax(dim=1)`` up to rounding where two scores are all but equal. The scores of all classes
        never lie in memory at full size, except on a GPU, where that is faster.
        """
        if self.mixing is not None:
            masks = upsample(self.maps.float(), self.image_size, size, self.stride)
            mixed = (
                torch.einsum("bkn,bnhw->bkhw", self.mixing.float(), rows.sigmoid()).argmax(dim=1)
                for rows in masks.split(ROWS, dim=2)
            )
            return torch.cat(list(mixed), dim=1)
        if self.maps.device.type != "cpu":
            return self._running_argmax(size) if self.maps.shape[1] > CLASSES else self.at(size).argmax(dim=1)
        return torch.stack(
            [torch.from_numpy(upsample_argmax(maps, self.image_size, size, self.stride)) for maps in self.maps.float()]
        ).long()

    def _running_argmax(self, size: tuple[int, int]) -> Tensor:
        """``at(size).argmax(dim=1)`` with the scores of ``CLASSES`` classes at a time."""
        best, labels = None, None
        for first, part in zip(range(0, self.maps.shape[1], CLASSES), self.maps.split(CLASSES, dim=1), strict=True):
            values, places = upsample(part.float(), self.image_size, size, self.stride).max(dim=1)
            if best is None or labels is None:
                best, labels = values, places
            else:
                better = values > best
                best, labels = torch.where(better, values, best), torch.where(better, places + first, labels)
        assert labels is not None
        return labels


def upsample(maps: Tensor, image_size: tuple[int, int], size: tuple[int, int], stride: int = STRIDE) -> Tensor:
    """B×N×h×w at ``stride`` of a padded image -> B×N×size for the image without its padding (half-pixel centres)."""
    if all(n * stride == pixels for n, pixels in zip(maps.shape[-2:], image_size, strict=True)):
        return F.interpolate(maps, size=size, mode="bilinear", align_corners=False)
    rows, columns = (stride * target / pixels for target, pixels in zip(size, image_size, strict=True))
    return scale_bilinear(maps, (rows, columns), size)
