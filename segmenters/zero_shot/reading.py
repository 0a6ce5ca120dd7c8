"""Patches of windows in the space of texts, by a body whose blocks are run one by one."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

from torch import Tensor

from encoder_ablations.encoders.blocks import Blocks, Tokens
from encoder_ablations.segmenters.zero_shot.affinity import Guide, attention
from encoder_ablations.segmenters.zero_shot.block_masks import mask_of, rules_of
from encoder_ablations.segmenters.zero_shot.methods import Method
from encoder_ablations.segmenters.zero_shot.regions.patches import majority_ids
from encoder_ablations.utils.errors import InputError


@dataclass(frozen=True)
class WindowBatch:
    """W windows of one size.

    Attributes:
        images: W×3×h×w, normalised for the body.
        regions: for every entry of ``regions``, W×h×w int64 region ids.
        features: W×C×rows×columns of a second model on the grid of patches; None = there is none.
    """

    images: Tensor
    regions: Sequence[Tensor] = ()
    features: Tensor | None = None


@dataclass(frozen=True)
class Reading:
    """Patches and class token of W windows in the space of texts.

    Attributes:
        patches: W×D×rows×columns.
        class_token: W×D; None = the body has no prefix token.
    """

    patches: Tensor
    class_token: Tensor | None


def read(
    blocks: Blocks, windows: WindowBatch, method: Method, guide: Guide, prefix: str = "alone"
) -> Reading:
    """Return what the body says of windows.

    Args:
        blocks: of the body.
        windows: what it sees.
        method: how the blocks attend.
        guide: numbers of the method; its features and regions are those of the windows.
        prefix: see :attr:`~.spec.ZeroShotSpec.masked_class_token`.

    Raises:
        InputError: a rule names a block that does not exist, the method reads a class token that is
            not there, or the body was not trained with texts.
    """
    tokens = blocks.embed(windows.images)
    if method.class_token and not tokens.prefix:
        raise InputError(
            "segmenter.class_token: the encoder has no class token. Set class_token: 0, or use an "
            "encoder such as CLIP."
        )
    ids = [
        majority_ids(each, tokens.grid, blocks.reduction).to(windows.images.device)
        for each in windows.regions
    ]
    guide = replace(guide, features=windows.features, ids=ids[0] if ids else None)
    values = blocks.in_text_space(_run(blocks, tokens, method, guide, ids, prefix)).float()
    class_token = values[:, 0] if tokens.prefix else None
    return Reading(tokens.as_map(values), class_token)


def _run(
    blocks: Blocks,
    tokens: Tokens,
    method: Method,
    guide: Guide,
    ids: Sequence[Tensor],
    prefix: str,
) -> Tokens:
    """Return the tokens after the last block, whose attention is that of the method."""
    rules = rules_of(method.plan, blocks.depth)
    last = blocks.depth - 1
    for index in range(last):
        tokens = blocks.run(index, tokens, mask_of(rules.get(index), tokens, ids, prefix))
    mask = mask_of(rules.get(last), tokens, ids, prefix)
    if method.affinity == "vanilla" and method.residual and method.feedforward:
        return blocks.run(last, tokens, mask)
    weights = partial(attention, method.affinity, guide=guide, mask=mask)
    return blocks.attend(last, tokens, weights, method.residual, method.feedforward)
