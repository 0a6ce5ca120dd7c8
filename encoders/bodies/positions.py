"""Learned position embeddings for another grid of patches, by their authors' rule."""

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

Rule = Callable[[Tensor, tuple[int, int]], Tensor]
"""Resizes 1×C×side×side float32 to (rows, columns)."""


def _dinov2(square: Tensor, grid: tuple[int, int]) -> Tensor:
    """Resize bicubically with the offset 0.1.

    That is ``interpolate_pos_encoding`` of facebookresearch/dinov2.
    """
    # while FLOPs are counted the length is a tensor
    side = int(square.shape[-1])
    factors = [(n + 0.1) / side for n in grid]
    return F.interpolate(square, scale_factor=factors, mode="bicubic", antialias=False)


def _mae(square: Tensor, grid: tuple[int, int]) -> Tensor:
    """Resize bicubically without antialiasing.

    That is ``interpolate_pos_embed`` of facebookresearch/mae, util/pos_embed.py, which has it from
    facebookresearch/deit (main.py). microsoft/unilm (beit, beit3) and baaivision/EVA have it, too.
    """
    return F.interpolate(square, size=grid, mode="bicubic", align_corners=False, antialias=False)


def _pe(square: Tensor, grid: tuple[int, int]) -> Tensor:
    """Resize bilinearly without antialiasing.

    That is ``_sample_abs_posemb`` of facebookresearch/perception_models, core/vision_encoder/pe.py.
    """
    return F.interpolate(square, size=grid, mode="bilinear", align_corners=False, antialias=False)


def _tips(square: Tensor, grid: tuple[int, int]) -> Tensor:
    """Resize bilinearly with antialiasing.

    That is ``add_positional_encodings`` of google-deepmind/tips, scenic/models/vit.py, and
    ``interpolate_pos_encoding`` of transformers.
    """
    return F.interpolate(square, size=grid, mode="bilinear", align_corners=False, antialias=True)


RULES: dict[str, Rule] = {"dinov2": _dinov2, "mae": _mae, "beit": _mae, "pe": _pe, "tips": _tips}
"""All rules except timm's own. "beit" is also the rule for tables of relative positions, see
:func:`encoder_ablations.encoders.bodies.relative_positions.resize_relative_positions`.
"""


def resize_positions(
    positions: Tensor, grid: tuple[int, int], prefix_tokens: int, rule: str
) -> Tensor:
    """Return the position embeddings of another grid; for the native grid the same tensor.

    The sources resize to square grids only; here the same rule holds for rows and for columns.

    Args:
        positions: 1×(P+N)×C with P prefix tokens, which stay as they are, and N patches of a
            square grid.
        grid: (rows, columns) of patches.
        prefix_tokens: P.
        rule: a key of ``RULES``.

    Returns:
        1×(P+rows·columns)×C.
    """
    side = math.isqrt(positions.shape[1] - prefix_tokens)
    if grid == (side, side):
        return positions
    # prefix tokens have no place in the grid
    prefix, patches = positions[:, :prefix_tokens], positions[:, prefix_tokens:]
    square = patches.float().reshape(1, side, side, -1).permute(0, 3, 1, 2)
    resized = RULES[rule](square, grid)
    return torch.cat([prefix, resized.flatten(2).transpose(1, 2).to(positions.dtype)], dim=1)
