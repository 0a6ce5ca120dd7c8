"""Attention weights of the last block, as each method computes them."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from encoder_ablations.encoders.blocks import AttentionInput, Tokens
from encoder_ablations.segmenters.zero_shot.methods import Affinity

BLOCKED = float("-inf")


@dataclass(frozen=True)
class Guide:
    """What an affinity reads besides the block's own queries, keys and values.

    Attributes:
        sigma: standard deviation of the Gaussian, in patches.
        features: W×C×rows×columns of a second model on the grid of patches; None = not read.
        ids: W×N region of every patch, 0 = in no region; None = not read.
        shift: β of ProxyCLIP.
        scale: γ of ProxyCLIP.
        region_scale: τ of CorrCLIP.
    """

    sigma: float = 5.0
    features: Tensor | None = None
    ids: Tensor | None = None
    shift: float = 1.2
    scale: float = 3.0
    region_scale: float = 4.0


def attention(
    affinity: Affinity, given: AttentionInput, guide: Guide, mask: Tensor | None = None
) -> Tensor:
    """Return the weights B×h×T×T of a method: a softmax, or a sum of two or three.

    Args:
        affinity: the method's.
        given: queries, keys and values of the block.
        guide: what else is read.
        mask: T×T or B×1×T×T bool, whether a token attends to another; the weight of all others is
            exactly 0. None = all attend to all.
    """
    weights = torch.zeros((), device=given.values.device)
    for logits in affinity_logits(affinity, given, guide):
        if mask is not None:
            # filled, not added to: a mask cast to numbers would only add 1
            logits = logits.masked_fill(~mask, BLOCKED)
        weights = weights + logits.softmax(dim=-1)
    # features of a second model may have another precision
    return weights.to(given.values.dtype).expand(*given.values.shape[:2], -1, -1)


def affinity_logits(affinity: Affinity, given: AttentionInput, guide: Guide) -> Sequence[Tensor]:
    """Return the logits whose softmaxes are added: each B×h×T×T, or one for all heads, B×1×T×T."""
    queries, keys, values = given.queries, given.keys, given.values
    match affinity:
        case "vanilla":
            return [_products(queries, keys, given.scale)]
        case "identity":
            return [_only_itself(given)]
        case "qq":
            return [_products(queries, queries, given.scale)]
        case "kk":
            return [_products(keys, keys, given.scale)]
        case "qq_kk":
            return [_products(each, each, given.scale) for each in (queries, keys)]
        case "qq_kk_vv":
            return [_products(each, each, given.scale) for each in (queries, keys, values)]
        case "kk_gaussian":
            near = gaussian(given.tokens, guide.sigma).to(keys)
            return [_products(keys, keys, given.scale) + near]
    assert guide.features is not None  # the settings have been checked
    if affinity == "vfm":
        found = proxy_logits(guide.features, guide.shift, guide.scale)
    else:
        assert guide.ids is not None
        found = region_logits(guide.features, guide.ids, guide.region_scale)
    return [_among_patches(found, given.tokens)]


def gaussian(tokens: Tokens, sigma: float) -> Tensor:
    """Return exp(-d² / 2σ²) of patches at the distance d, T×T; 0 where a prefix token is part.

    This is ω of NACLIP (eq. 5).
    """
    count = tokens.values.shape[1]
    near = torch.zeros(count, count)
    rows, columns = tokens.grid
    places = torch.cartesian_prod(torch.arange(rows), torch.arange(columns)).float()
    near[tokens.patches, tokens.patches] = torch.exp(
        -(places[:, None] - places[None]).square().sum(dim=-1) / (2 * sigma**2)
    )
    return near


def similarity(features: Tensor) -> Tensor:
    """Return the cosines W×N×N between the N places of maps W×C×rows×columns."""
    unit = F.normalize(features.float().flatten(2), dim=1)
    return unit.transpose(1, 2) @ unit


def proxy_logits(features: Tensor, shift: float, scale: float) -> Tensor:
    """Return γ · (s - β · mean(s)) of similarities s, W×N×N; what is negative is left out.

    These are eq. 5 and 6 of ProxyCLIP, with the mean over each image. A patch always attends to
    itself. In the authors' code it attends to nothing where all similarities are near 1, and the
    result is undefined.

    Args:
        features: W×C×rows×columns.
        shift: β.
        scale: γ.
    """
    found = similarity(features)
    mean = found.mean(dim=(1, 2), keepdim=True)
    logits = (found - mean * shift) * scale
    return logits.masked_fill((logits < 0) & ~_diagonal(logits), BLOCKED)


def region_logits(features: Tensor, ids: Tensor, scale: float) -> Tensor:
    """Return the scaled similarities inside regions, W×N×N; all others are left out.

    A patch in no region, and any patch, attend to each other where they are more similar than two
    patches are on average. This is the scope reconstruction of CorrCLIP, with its code's rule for
    patches in no region.

    Args:
        features: W×C×rows×columns.
        ids: W×N, 0 = in no region.
        scale: what similarities are multiplied by.
    """
    found = similarity(features)
    outside = ids == 0
    same = (ids[:, :, None] == ids[:, None, :]) & ~outside[:, :, None]
    free = outside[:, :, None] | outside[:, None, :]
    alike = found > found.mean(dim=(1, 2), keepdim=True)
    allowed = same | (free & alike) | _diagonal(found)
    return (found * scale).masked_fill(~allowed, BLOCKED)


def _products(left: Tensor, right: Tensor, scale: float) -> Tensor:
    return left @ right.transpose(-2, -1) * scale


def _diagonal(like: Tensor) -> Tensor:
    """Return N×N bool, true on the diagonal, for …×N×N."""
    return torch.eye(like.shape[-1], dtype=torch.bool, device=like.device)


def _only_itself(given: AttentionInput) -> Tensor:
    """Return logits 1×1×T×T by which each token attends to itself."""
    values = given.values
    count = values.shape[-2]
    alone = torch.full((1, 1, count, count), BLOCKED, dtype=values.dtype, device=values.device)
    return alone.masked_fill(_diagonal(alone), 0.0)


def _among_patches(logits: Tensor, tokens: Tokens) -> Tensor:
    """Return W×1×T×T of logits W×N×N of the patches; other tokens attend to themselves."""
    count = tokens.values.shape[1]
    found = logits.new_full((len(logits), 1, count, count), BLOCKED)
    found.diagonal(dim1=-2, dim2=-1).zero_()
    found[:, 0, tokens.patches, tokens.patches] = logits
    return found
