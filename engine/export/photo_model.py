"""A trained model as one module: raw photos in, labels and probabilities out."""

from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from encoder_ablations.data.views.resampling import whole_span
from encoder_ablations.segmenters.base import Segmenter
from encoder_ablations.segmenters.scores import ScoreMaps

LARGEST_SCALE = 2.0**22
"""What PyTorch's 8-bit resizing multiplies its weights by at most, to make them integers."""


class PhotoModel(nn.Module):
    """A segmenter with everything that happens before and after it.

    Resizing to the run's short side, normalising, padding, and bringing the scores back to the
    photo's size are inside. All of it can be traced by ``torch.export``.

    Args:
        segmenter: in evaluation mode.
        size: (H, W) of all photos; None = any size.
        short_side: what the shorter side is resized to; None = photos keep their size. It needs
            a ``size``.
    """

    def __init__(
        self,
        segmenter: Segmenter,
        size: tuple[int, int] | None = None,
        short_side: int | None = None,
    ) -> None:
        super().__init__()
        self.segmenter = segmenter
        self.size = size
        self.resizing = None
        if size is not None and short_side is not None and min(size) != short_side:
            self.resizing = Resizing(size, short_side / min(size))

    def forward(self, photos: Tensor) -> tuple[Tensor, ...]:
        """Return labels B×H×W uint8 (int64 beyond 255 classes) and probabilities B×K×H×W.

        A model with an image head also gives the probabilities B×K' of the photos' own classes.

        Args:
            photos: B×3×H×W uint8, RGB.
        """
        height, width = photos.shape[-2:]
        seen = photos
        if self.resizing is not None:
            seen = self.resizing(photos)
        maps = self.segmenter.predict(seen)
        if self.size is None:
            maps = _enlarged(maps)
        probabilities = maps.probabilities((height, width))
        labels = probabilities.argmax(dim=1)
        if probabilities.shape[1] <= 255:
            labels = labels.to(torch.uint8)
        if maps.image_scores is None:
            return labels, probabilities
        return labels, probabilities, maps.image_scores.softmax(dim=1)


class Resizing(nn.Module):
    """Antialiased bilinear resizing of photos of one size, as two products with fixed matrices.

    It is the resizing of :func:`encoder_ablations.data.views.resampling.resize`. PyTorch's 8-bit
    kernel computes that, which no other format has; all have matrix products. Both round to whole
    levels after the columns and after the rows.

    Args:
        size: (H, W) of the photos.
        factor: on both sides.
    """

    rows: Tensor
    columns: Tensor

    def __init__(self, size: tuple[int, int], factor: float) -> None:
        super().__init__()
        height, width = (whole_span(side, factor).length for side in size)
        self.register_buffer("rows", _shares(size[0], height).T.contiguous())
        self.register_buffer("columns", _shares(size[1], width))

    def forward(self, photos: Tensor) -> Tensor:
        """Return photos B×3×H×W uint8 as B×3×h×w float32 with whole levels 0..255."""
        narrow = _levels(photos.to(self.rows.dtype) @ self.columns)
        return _levels(self.rows @ narrow)


def _shares(length: int, resized: int) -> Tensor:
    """Return the share that each pixel of a side has in each pixel of the result, length×resized.

    They are read off PyTorch's own filter, applied to an image for each row of which another pixel
    is 1. The 8-bit kernel rounds them to multiples of a power of 2, such that the largest just fits
    into 16 bits with a sign. So are these.
    """
    single = torch.eye(length, dtype=torch.float64)[None, None]
    exact: Tensor = F.interpolate(single, (length, resized), mode="bilinear", antialias=True)[0, 0]
    largest = float(exact.max())
    scale = 1.0
    while scale < LARGEST_SCALE and int(0.5 + 2 * scale * largest) < 2**15:
        scale *= 2
    return ((exact * scale + 0.5).floor() / scale).float()


def _levels(values: Tensor) -> Tensor:
    return (values + 0.5).floor().clamp(0, 255)


def _enlarged(maps: ScoreMaps) -> ScoreMaps:
    """Return the maps at stride 1, without the padding.

    :meth:`ScoreMaps.at` chooses its way by comparing sizes, which a trace for any size cannot. Here
    the maps are enlarged by a factor and then cut, which gives the same values. They are cut by an
    index: PyTorch would ask of a slice whether it is the whole.
    """
    height, width = maps.image_size
    large = F.interpolate(
        maps.maps.float(), scale_factor=maps.stride, mode="bilinear", align_corners=False
    )
    device = large.device
    cut = large.index_select(2, torch.arange(height, device=device))
    cut = cut.index_select(3, torch.arange(width, device=device))
    return replace(maps, maps=cut, stride=1)
