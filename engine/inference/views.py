"""Test-time augmentation: views of an image, and their scores as seen from the image itself."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from encoder_ablations.engine.inference.spec import ViewsSpec

ROWS, COLUMNS = -2, -1
AXES = {"vertical": ROWS, "horizontal": COLUMNS}
GREY = (0.299, 0.587, 0.114)
"""Weights of red, green and blue in the grey level (ITU-R BT.601)."""


@dataclass(frozen=True)
class View:
    """One way of looking at an image.

    Attributes:
        mirrored: the axis along which it is mirrored; None = it is not.
        turns: quarter turns, counter-clockwise.
        scale: factor on its size.
        brightness: factor on all values.
        contrast: factor on the distance from the mean grey level.
    """

    mirrored: int | None = None
    turns: int = 0
    scale: float = 1.0
    brightness: float = 1.0
    contrast: float = 1.0

    def of(self, images: Tensor) -> Tensor:
        """Return the view of images B×3×H×W, RGB 0..255, as B×3×h×w float32."""
        seen = self._relit(images.float())
        if self.scale != 1:
            seen = _resized(seen, self.scale)
        if self.mirrored is not None:
            seen = seen.flip(self.mirrored)
        return seen.rot90(self.turns, (ROWS, COLUMNS))

    def size(self, size: tuple[int, int]) -> tuple[int, int]:
        """Return the (rows, columns) at which the view's scores are asked for.

        They are those of the image, (H, W), exchanged where the view lies on its side. A view at
        another scale is brought back to the image's size here.
        """
        height, width = size
        if self.turns % 2:
            return width, height
        return height, width

    def undone(self, scores: Tensor) -> Tensor:
        """Return the scores B×K×h×w of the view, turned and mirrored back, as B×K×H×W."""
        back = scores.rot90(-self.turns, (ROWS, COLUMNS))
        if self.mirrored is not None:
            back = back.flip(self.mirrored)
        return back

    def _relit(self, images: Tensor) -> Tensor:
        """Return images B×3×H×W with changed brightness and contrast, clipped to 0..255."""
        if self.brightness == 1 and self.contrast == 1:
            return images
        bright = (images * self.brightness).clamp(0, 255)
        weights = torch.tensor(GREY, device=images.device).view(1, 3, 1, 1)
        grey = (bright * weights).sum(dim=1, keepdim=True).mean(dim=(2, 3), keepdim=True)
        return (grey + self.contrast * (bright - grey)).clamp(0, 255)


def views_of(spec: ViewsSpec) -> list[View]:
    """Return the image as it is and then every view that the settings add."""
    return [
        View(),
        *(View(mirrored=AXES[axis]) for axis in spec.flips),
        *(View(turns=turns) for turns in _turns(spec.turns)),
        *(View(scale=factor) for factor in spec.scales),
        *(View(brightness=factor) for factor in spec.brightness),
        *(View(contrast=factor) for factor in spec.contrast),
    ]


def _turns(wanted: bool) -> Sequence[int]:
    if wanted:
        return (1, 2, 3)
    return ()


def _resized(images: Tensor, factor: float) -> Tensor:
    """Return images B×3×H×W resized bilinearly with antialiasing; no side gets shorter than 1."""
    size = [max(1, round(side * factor)) for side in images.shape[-2:]]
    return F.interpolate(images, size=size, mode="bilinear", antialias=True)
