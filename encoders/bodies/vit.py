"""Vision transformers of timm as encoder bodies, through timm's own forward pass."""

import copy
import math
from collections.abc import Sequence
from typing import Any

import torch
from timm.models import Eva, VisionTransformer
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from encoder_ablations.encoders.base import Body, Normalization
from encoder_ablations.encoders.bodies.positions import resize_positions
from encoder_ablations.encoders.table.rows import TIMM

JIT: Any = torch.jit  # without types


class ViTBody(Body):
    """Reads ``len(taps)`` blocks of a timm model as feature maps, prefix tokens removed.

    timm's public ``forward_intermediates`` computes them, so CLIP's pre-norm, register tokens and
    rotary embeddings are the source's own. Images of any size are padded with zeros to whole
    patches.

    Attributes:
        patch: side of a patch in the pixels that the model sees.
        input_scale: factor by which images are resized before the model sees them.
        position_rule: how position embeddings are resized: "timm" (by the model itself) or a key of
            :data:`encoder_ablations.encoders.bodies.positions.RULES`.
    """

    def __init__(
        self,
        model: VisionTransformer | Eva,
        taps: Sequence[int],
        final_norm: bool,
        normalization: Normalization,
        input_scale: float = 1.0,
        position_rule: str = TIMM,
    ) -> None:
        super().__init__()
        self.taps = tuple(taps)
        self.final_norm = final_norm
        self.normalization = normalization
        self.input_scale = input_scale
        self.patch: int = model.patch_embed.patch_size[0]
        self.reduction: float = round(self.patch / input_scale, 6)
        self.reductions = (self.reduction,) * len(self.taps)
        self.widths = (model.embed_dim,) * len(self.taps)
        self.prefix_tokens: int = model.num_prefix_tokens
        self.depth = len(model.blocks)
        self.position_rule = position_rule
        self.reader = _Reader(model, self.taps, final_norm)

    @property
    def model(self) -> VisionTransformer | Eva:
        """The timm model."""
        return self.reader.model

    def forward(self, images: Tensor) -> list[Tensor]:
        """Return the maps, see :class:`Body`."""
        if self.input_scale != 1:
            images = self._rescale(images)
        if self.position_rule == TIMM:
            maps: list[Tensor] = self.reader(images)
            return maps
        # the grid of whole patches that covers the images, and its position embeddings
        rows, columns = (math.ceil(n / self.patch) for n in images.shape[-2:])
        learned: Tensor = self.get_parameter("reader.model.pos_embed")
        prefix = learned.shape[1] - self.model.patch_embed.num_patches
        positions = resize_positions(learned, (rows, columns), prefix, self.position_rule)
        if JIT.is_tracing():  # for counting FLOPs; functional_call refuses to be traced
            reader = copy.deepcopy(self.reader).requires_grad_(False)
            reader.model.pos_embed = nn.Parameter(positions.detach(), requires_grad=False)
            maps = reader(images)
        else:
            maps = functional_call(self.reader, {"model.pos_embed": positions}, (images,))
        return maps

    def _rescale(self, images: Tensor) -> Tensor:
        """Return images padded to whole patches, then resized by ``input_scale``.

        The model's patches then cover the image pixels of the larger patch.
        """
        step = round(self.reduction)
        height, width = images.shape[-2:]
        padded = F.pad(images, (0, -width % step, 0, -height % step))
        size = [n // step * self.patch for n in padded.shape[-2:]]
        return F.interpolate(
            padded, size=size, mode="bilinear", align_corners=False, antialias=True
        )

    def tokens(self, height: int, width: int) -> int:
        """Return the patch tokens of an image of this size."""
        return math.ceil(height / self.reduction) * math.ceil(width / self.reduction)

    def depth_of(self, parameter: str) -> int:
        """Return the depth, see :class:`Body`. Embeddings and tokens are the stem."""
        name = parameter.removeprefix("reader.model.")
        if name.startswith("blocks."):
            return int(name.split(".")[1]) + 1
        if name.startswith(("norm.", "fc_norm.")):
            return self.max_depth
        return 0

    @property
    def max_depth(self) -> int:
        """The number of blocks plus one."""
        return self.depth + 1

    def reads(self, parameter: str) -> bool:
        """Return whether any map depends on a parameter.

        None depends on the blocks after the last tap, or on a final norm that is not applied.
        """
        depth = self.depth_of(parameter)
        if depth == self.max_depth:
            return self.final_norm
        return depth <= max(self.taps) + 1

    def facts(self) -> dict[str, object]:
        """Return the body's properties, see :class:`Body`."""
        own: dict[str, object] = {
            "patch_size": self.patch,
            "input_scale": self.input_scale,
            "taps": list(self.taps),
            "final_norm": self.final_norm,
            "prefix_tokens": self.prefix_tokens,
            "position_rule": self.position_rule,
        }
        return super().facts() | own


class _Reader(nn.Module):
    """The model's taps as a forward pass of its own, for ``functional_call``."""

    def __init__(
        self, model: VisionTransformer | Eva, taps: tuple[int, ...], final_norm: bool
    ) -> None:
        super().__init__()
        self.model = model
        self.taps = taps
        self.final_norm = final_norm

    def forward(self, images: Tensor) -> list[Tensor]:
        """Return the maps of the tapped blocks."""
        maps: list[Tensor] = self.model.forward_intermediates(  # type: ignore[assignment]
            images,
            indices=list(self.taps),
            norm=self.final_norm,
            stop_early=True,
            output_fmt="NCHW",
            intermediates_only=True,
        )
        return maps
