"""Class scores on a coarse grid, and the one way to bring them to full resolution."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from encoder_ablations.encoders.pyramids.resize import scale_bilinear
from encoder_ablations.segmenters.ops.upsample_argmax import STRIDE, upsample_argmax
from encoder_ablations.utils.arithmetic import deterministic_kernels
from encoder_ablations.utils.errors import InputError

BAND_VALUES = 2**24
"""Scores that :meth:`ScoreMaps.bands` holds at once: 64 MiB of float32."""


class QueryOutputs(NamedTuple):
    """What Q queries say of B images.

    Attributes:
        classes: B×Q×K class probabilities; what they lack to a sum of 1 is "no object".
        masks: B×Q×H×W, the probability that a pixel lies in a query's mask.
    """

    classes: Tensor
    masks: Tensor


@dataclass(frozen=True)
class ScoreMaps:
    """Predictions for B images of one size, on a coarse grid.

    Attributes:
        maps: B×N×h×w at ``stride`` of the padded image: N class scores, or N mask logits when
            ``mixing`` is given.
        image_size: (H, W) of the images without padding; h ≥ H/stride, w ≥ W/stride.
        mixing: B×K×N class probabilities of N queries. The scores are then
            ``mixing @ sigmoid(upsampled maps)``, the order of Mask2Former's semantic inference: the
            mask logits are upsampled, not the mixed probabilities.
        stride: image pixels per step of ``maps``; 7/4 where patches of 14 pixels are divided by 8.
        background: id of the class that no query has, whose score is one half everywhere; None =
            there is no such class.
        image_scores: B×K' logits of the classes of the whole images; None without a head for these.
    """

    maps: Tensor
    image_size: tuple[int, int]
    mixing: Tensor | None = None
    stride: float = STRIDE
    background: int | None = None
    image_scores: Tensor | None = None

    def at(self, size: tuple[int, int]) -> Tensor:
        """Return the scores B×K×size of the images resized to ``size``, without padding.

        They are one bilinear step from ``maps``. The native kernel computes it, also where
        deterministic ones are asked for: its forward pass repeats its bits, and PyTorch's
        deterministic replacement on GPUs needs seven times the memory.
        """
        with deterministic_kernels(False):
            return self._mixed(upsample(self.maps.float(), self.image_size, size, self.stride))

    def probabilities(self, size: tuple[int, int]) -> Tensor:
        """Return the class probabilities B×K×size: scores that are not negative and add up to 1.

        They are the softmax of logits. Mixed masks' scores are divided by their sum over classes;
        where all are 0, every class gets 1/K. The most probable class is that of :meth:`labels`.
        """
        scores = self.at(size)
        if self.mixing is None:
            return scores.softmax(dim=1)
        scores = scores + torch.finfo(scores.dtype).tiny
        return scores / scores.sum(dim=1, keepdim=True)

    def bands(self, size: tuple[int, int]) -> Iterator[Tensor]:
        """Yield the scores of :meth:`at`, up to rounding, as B×K×rows×width from top to bottom.

        A band has at most ``BAND_VALUES`` values, but at least one row. It is for evaluation:
        gradients do not flow.
        """
        channels = self.maps.shape[1]
        if self.mixing is not None:
            channels = max(self.mixing.shape[1:])
        rows = max(1, BAND_VALUES // (len(self.maps) * channels * size[1]))
        with torch.no_grad(), deterministic_kernels(False):
            places, weights = row_taps(self.maps, self.image_size[0], size[0], self.stride)
        # yielded outside of the blocks, whose settings are not the consumer's
        for taps in zip(torch.split(places, rows, 1), torch.split(weights, rows, 1), strict=True):
            with torch.no_grad(), deterministic_kernels(False):
                band = self._band(*taps, size[1])
            yield band

    def _band(self, places: Tensor, weights: Tensor, width: int) -> Tensor:
        """Return the scores B×K×R×width of R rows.

        Args:
            places: T×R, see :func:`row_taps`.
            weights: T×R.
            width: columns of the result.
        """
        # between rows first, while the maps are narrow
        taps = [
            self.maps[:, :, place].float() * weight[:, None]
            for place, weight in zip(places, weights, strict=True)
        ]
        narrow = torch.stack(taps).sum(dim=0)
        height = narrow.shape[2]
        # an image exactly as high as these rows: upsample then leaves them as they are
        covered = (height * self.stride, self.image_size[1])
        return self._mixed(upsample(narrow, covered, (height, width), self.stride))

    def _mixed(self, maps: Tensor) -> Tensor:
        """Return the scores B×K×H×W of upsampled maps B×N×H×W."""
        if self.mixing is None:
            return maps
        scores = torch.einsum("bkn,bnhw->bkhw", self.mixing.float(), maps.sigmoid())
        if self.background is not None:
            scores[:, self.background] = 0.5
        return scores

    def queries(self, size: tuple[int, int]) -> QueryOutputs:
        """Return what every query says, its mask at ``size`` without padding.

        Raises:
            InputError: the scores are of a head without queries.
        """
        classes = self._class_probabilities()
        with deterministic_kernels(False):
            masks = upsample(self.maps.float(), self.image_size, size, self.stride)
        return QueryOutputs(classes, masks.sigmoid())

    def object_masks(
        self, class_id: int, size: tuple[int, int], score: float = 0.7, share: float = 0.5
    ) -> Tensor:
        """Return where the objects of a class lie, by queries that are sure of it: B×size bool.

        A query counts if the class is its most probable one and its probability is greater than
        ``score``. A pixel lies in an object if the largest mask probability of these queries is
        greater than ``share``.

        Args:
            class_id: the class, 0..K-1.
            size: (H, W) of the result, which covers the images without padding.
            score: least probability of the class, 0..1.
            share: least probability of the mask, 0..1.

        Raises:
            InputError: the scores are of a head without queries.
        """
        best = self._class_probabilities().max(dim=2)
        sure = (best.indices == class_id) & (best.values > score)
        found = torch.zeros(len(self.maps), *size, dtype=torch.bool, device=self.maps.device)
        # only the masks that count are enlarged
        for image in sure.any(dim=1).nonzero().flatten().tolist():
            masks = self.maps[image][sure[image]].float()
            with deterministic_kernels(False):
                large = upsample(masks[None], self.image_size, size, self.stride)
            found[image] = large.sigmoid().amax(dim=1)[0] > share
        return found

    def _class_probabilities(self) -> Tensor:
        """Return the class probabilities B×Q×K of the queries."""
        if self.mixing is None:
            raise InputError(
                "this head has no queries. Masks of single queries come from query_decoder, eomt "
                "and mask2former."
            )
        return self.mixing.float().transpose(1, 2)

    def labels(self, size: tuple[int, int]) -> Tensor:
        """Return the class with the largest score at every pixel, B×size int64.

        Of equal scores the first class counts. Equal to ``at(size).argmax(dim=1)`` up to rounding
        where two scores are nearly equal. The scores of all classes never lie in memory at full
        size.
        """
        if self.mixing is not None or self.maps.device.type != "cpu":
            return self.labels_by_bands(size)
        fused = [
            upsample_argmax(maps, self.image_size, size, self.stride)
            for maps in self.maps.detach().float()
        ]
        return torch.stack([torch.from_numpy(labels) for labels in fused]).long()

    def labels_by_bands(self, size: tuple[int, int]) -> Tensor:
        """Return :meth:`labels`, on any device and also of mixed masks."""
        return torch.cat([band.argmax(dim=1) for band in self.bands(size)], dim=1)


def row_taps(maps: Tensor, image_height: int, height: int, stride: float) -> tuple[Tensor, Tensor]:
    """Return the rows of the maps between which each row of the result lies, and their weights.

    Both are read off :func:`upsample` itself, applied to one map for each row that is 1 there and 0
    elsewhere.

    Args:
        maps: B×N×h×w.
        image_height: rows of the image without padding.
        height: rows of the result, H.
        stride: image pixels per step of the maps.

    Returns:
        Indices T×H and weights T×H float32, T = 2 (1 where the maps have one row).
    """
    extent = maps.shape[2]
    single = torch.eye(extent, device=maps.device)[None, :, :, None]
    shares = upsample(single, (image_height, stride), (height, 1), stride)[0, :, :, 0]
    weights, places = shares.topk(min(2, extent), dim=0)
    # a row of weight 0 might hold infinity, and 0 times that is NaN: read the other row instead
    return torch.where(weights > 0, places, places[:1]), weights


def upsample(
    maps: Tensor,
    image_size: tuple[float, float],
    size: tuple[int, int],
    stride: float = STRIDE,
) -> Tensor:
    """Return the maps at another size, without the image's padding (half-pixel centres).

    Args:
        maps: B×N×h×w at ``stride`` of the padded image.
        image_size: (H, W) of the image without padding.
        size: (rows, columns) of the result, which covers the unpadded image.
        stride: image pixels per step of the maps.

    Returns:
        B×N×size.
    """
    # scaled by a factor where the maps cover more than the image, or else to the size
    fits = (maps.shape[-2] * stride, maps.shape[-1] * stride) == tuple(image_size)
    factors = (stride * size[0] / image_size[0], stride * size[1] / image_size[1])
    return scale_bilinear(maps, factors, size, fits)
