"""Convolutional and hierarchical models of timm as encoder bodies, through timm's own forward."""

from typing import Any

from timm.models import group_parameters
from torch import Tensor, nn
from torch.nn import functional as F

from encoder_ablations.encoders.base import STRIDES, Body, Normalization
from encoder_ablations.encoders.bodies.stages import StageMaps, read_maps, sizes_of


class HierarchicalBody(Body):
    """Reads the maps of a timm model at strides 4, 8, 16 and 32.

    timm's public ``forward_intermediates`` computes them; no final norm is applied. Images are
    padded with zeros on the right and below, where the model needs it, and the maps cut.

    Attributes:
        model: the timm model, without what lies behind its last map.
        step: number to whose multiples images are padded.
    """

    reductions = tuple(float(stride) for stride in STRIDES.values())

    def __init__(self, model: nn.Module, maps: StageMaps, normalization: Normalization) -> None:
        super().__init__()
        self.model = model
        self.indices = maps.indices
        self.widths = maps.widths
        self.step = maps.step
        self.unread = maps.unread
        self.normalization = normalization
        self._depths = _depths(model)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Return the maps, see :class:`Body`."""
        height, width = images.shape[-2:]
        padded = images
        if height % self.step or width % self.step:
            padded = F.pad(images, (0, -width % self.step, 0, -height % self.step))
        maps = read_maps(self.model, self.indices, padded)
        sizes = sizes_of(height, width)
        return [
            each[..., :rows, :columns] for each, (rows, columns) in zip(maps, sizes, strict=True)
        ]

    def tokens(self, height: int, width: int) -> None:
        """Return None: the maps have different strides, so there is no one number of tokens."""
        return

    def depth_of(self, parameter: str) -> int:
        """Return the depth, see :class:`Body`. Blocks are those of timm's ``group_matcher``.

        Of a buffer or a module without parameters it is that of its nearest neighbours.
        """
        name = parameter.removeprefix("model.").rstrip(".")
        depth = self._depths.get(name)
        while depth is None and "." in name:
            below = [d for key, d in self._depths.items() if key.startswith(f"{name}.")]
            depth = min(below, default=None)
            name = name.rpartition(".")[0]
        return depth or 0

    @property
    def max_depth(self) -> int:
        """The number of blocks plus one."""
        return max(self._depths.values()) + 1

    def reads(self, parameter: str) -> bool:
        """Return whether any map depends on a parameter."""
        return parameter.removeprefix("model.") not in self.unread

    def facts(self) -> dict[str, object]:
        """Return the body's properties, see :class:`Body`."""
        return super().facts() | {"step": self.step}


def _depths(model: nn.Module) -> dict[str, int]:
    """Return the depth of every parameter by timm's own grouping: 0 is the stem, k block k."""
    timm_model: Any = model
    depths: dict[str, int] = group_parameters(
        model, timm_model.group_matcher(coarse=False), reverse=True
    )
    return depths
