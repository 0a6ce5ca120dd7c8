"""Vision transformers of timm as encoder bodies, through timm's own forward pass."""

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from timm.models.beit import Beit
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from encoder_ablations.encoders.base import Body, Normalization
from encoder_ablations.encoders.blocks import Blocks, Tokens
from encoder_ablations.encoders.bodies.positions import resize_positions
from encoder_ablations.encoders.bodies.relative_positions import resize_relative_positions
from encoder_ablations.encoders.bodies.timm_vits import (
    TimmViT,
    final_norm_of,
    has_own_grid,
    patch_of,
    prefix_tokens_of,
)
from encoder_ablations.encoders.bodies.vit_blocks import ViTBlocks, embedded
from encoder_ablations.encoders.table.rows import TIMM

JIT: Any = torch.jit  # without types


class ViTBody(Body):
    """Reads ``len(taps)`` blocks of a timm model as feature maps, prefix tokens removed.

    timm's public ``forward_intermediates`` computes them, so CLIP's pre-norm, register tokens and
    rotary embeddings are the source's own. Images of any size are padded with zeros to whole
    patches. A map is the output of a block, also for SAM, whose neck is not read.

    Attributes:
        final_norm: whether the model's final norm is applied; False for a model without one.
        patch: side of a patch in the pixels that the model sees.
        input_scale: factor by which images are resized before the model sees them.
        position_rule: how position embeddings are resized: "timm" (by the model itself) or a key of
            :data:`encoder_ablations.encoders.bodies.positions.RULES`.
        text: whether the model holds what leads from the final norm into the space of texts.
    """

    def __init__(
        self,
        model: TimmViT,
        taps: Sequence[int],
        final_norm: bool,
        normalization: Normalization,
        input_scale: float = 1.0,
        position_rule: str = TIMM,
        text: bool = False,
    ) -> None:
        super().__init__()
        self.text = text
        self.taps = tuple(taps)
        self.final_norm = final_norm and final_norm_of(model) is not None
        self.normalization = normalization
        self.input_scale = input_scale
        self.patch = patch_of(model)
        self.reduction: float = round(self.patch / input_scale, 6)
        self.reductions = (self.reduction,) * len(self.taps)
        self.widths = (model.embed_dim,) * len(self.taps)
        self.prefix_tokens = prefix_tokens_of(model)
        self.depth = len(model.blocks)
        self.position_rule = position_rule
        self.reader = _Reader(model, self.taps, self.final_norm)
        self.readers: dict[tuple[object, ...], nn.Module] = {}

    @property
    def model(self) -> TimmViT:
        """The timm model."""
        return self.reader.model

    def forward(self, images: Tensor, step: Callable[[Tensor], Any] | None = None) -> Any:
        """Return the maps, see :class:`Body`.

        Args:
            images: B×3×H×W, normalised.
            step: a part of the forward pass, which :class:`~.vit_blocks.ViTBlocks` asks for; what
                it returns is then returned in place of the maps.
        """
        if step is not None:
            return step(images)
        return self._read(images, embedding=False)

    def as_blocks(self) -> Blocks:
        """Return the blocks one by one, see :class:`Body`."""
        return ViTBlocks(self, self.model, self.reduction, self._tokens_of, self.text)

    def _tokens_of(self, images: Tensor) -> Tokens:
        """Return the tokens before the first block, of B×3×H×W normalised images."""
        values, rotary = self._read(images, embedding=True)
        grid = self.grid(images.shape[-2], images.shape[-1])
        return Tokens(values, self.prefix_tokens, grid, rotary)

    def _read(self, images: Tensor, embedding: bool) -> Any:
        """Return what the reader reads of images of any size."""
        if self.input_scale != 1:
            images = self._rescale(images)
        if self.position_rule == TIMM:
            return self.reader(images, embedding)
        # the grid of whole patches that covers the images
        rows, columns = (math.ceil(n / self.patch) for n in images.shape[-2:])
        positions = self._positions((rows, columns))
        reader = self._reader_of((rows, columns))
        tensors = dict(self.reader.named_parameters()) | positions
        if JIT.is_tracing():  # for counting FLOPs; functional_call refuses to be traced
            return _with_tensors(reader, tensors)(images, embedding)
        return functional_call(reader, tensors, (images, embedding))

    def _positions(self, grid: tuple[int, int]) -> dict[str, Tensor]:
        """Return the learned positions for (rows, columns) of patches, by the reader's names."""
        own: Any = self.model
        known: tuple[int, int] = own.patch_embed.grid_size
        found: dict[str, Tensor] = {}
        for name, learned in self.reader.named_parameters():
            if name == "model.pos_embed":
                prefix = learned.shape[1] - own.patch_embed.num_patches
                found[name] = resize_positions(learned, grid, prefix, self.position_rule)
            elif isinstance(own, Beit) and name.endswith("relative_position_bias_table"):
                found[name] = resize_relative_positions(learned, known, grid)
        return found

    def _reader_of(self, grid: tuple[int, int]) -> nn.Module:
        """Return a reader whose modules fit a grid; the last copy is kept for the next images."""
        own: Any = self.model
        if not has_own_grid(own) or grid == own.patch_embed.grid_size:
            return self.reader
        kernel: Tensor = own.patch_embed.proj.weight
        key = (*grid, kernel.device, kernel.dtype)
        if key not in self.readers:
            self.readers = {key: _copy_for_grid(self.reader, grid)}
        copied = self.readers[key]
        # dropout of adapters is on in training only
        for module, own_module in zip(copied.modules(), self.reader.modules(), strict=True):
            module.training = own_module.training
        return copied

    def forget_copies(self) -> None:
        """Forget the readers of other grids, see :class:`Body`."""
        self.readers = {}

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
        return math.prod(self.grid(height, width))

    def grid(self, height: int, width: int) -> tuple[int, int]:
        """Return the rows and columns of patches of an image of this size."""
        return math.ceil(height / self.reduction), math.ceil(width / self.reduction)

    def depth_of(self, parameter: str) -> int:
        """Return the depth, see :class:`Body`. Embeddings and tokens are the stem."""
        name = parameter.removeprefix("reader.model.")
        if name.startswith("blocks."):
            return int(name.split(".")[1]) + 1
        if name.startswith(("norm.", "fc_norm.", "neck.", "head.", "attn_pool.")):
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
        if self.text:
            own["text_space"] = True
        return super().facts() | own


def _copy_for_grid(reader: "_Reader", grid: tuple[int, int]) -> nn.Module:
    """Return a copy of a reader for another grid, with buffers but without values of parameters.

    Its buffers must serve training, too, when it is made while autograd is off.
    """
    with torch.inference_mode(False):
        empty: dict[int, Any] = {}
        for parameter in reader.parameters():
            shape = torch.empty_like(parameter, device="meta")
            empty[id(parameter)] = nn.Parameter(shape, requires_grad=False)
        copied = copy.deepcopy(reader, empty)
        patch = patch_of(reader.model)
        model: Any = copied.model
        model.set_input_size(img_size=(grid[0] * patch, grid[1] * patch))
        # BEiT's blocks have equal indices of relative positions, of (patches + 1)² numbers each
        indexed = [each for each in model.modules() if hasattr(each, "relative_position_index")]
        for module in indexed:
            module.relative_position_index = indexed[0].relative_position_index
    return copied


def _with_tensors(reader: nn.Module, tensors: Mapping[str, Tensor]) -> nn.Module:
    """Return a copy of a reader with fixed values of its parameters."""
    copied = copy.deepcopy(reader)
    for name, value in tensors.items():
        owner, _, own = name.rpartition(".")
        fixed = nn.Parameter(value.detach(), requires_grad=False)
        setattr(copied.get_submodule(owner), own, fixed)
    return copied


class _Reader(nn.Module):
    """The model's taps as a forward pass of its own, for ``functional_call``."""

    def __init__(self, model: TimmViT, taps: tuple[int, ...], final_norm: bool) -> None:
        super().__init__()
        self.model = model
        self.taps = taps
        self.final_norm = final_norm

    def forward(self, images: Tensor, embedding: bool = False) -> Any:
        """Return the maps of the tapped blocks; or what the first block is given."""
        if embedding:
            return embedded(self.model, images)
        model: Any = self.model  # the classes' annotations differ
        maps: list[Tensor] = model.forward_intermediates(
            images,
            indices=list(self.taps),
            norm=self.final_norm,
            stop_early=True,
            output_fmt="NCHW",
            intermediates_only=True,
        )
        return maps
