"""Which tokens attend to which in a block: within regions, or to neighbours."""

from collections.abc import Sequence

import torch
from torch import Tensor

from encoder_ablations.encoders.blocks import Tokens
from encoder_ablations.segmenters.zero_shot.methods import BlockRule
from encoder_ablations.utils.errors import InputError


def rules_of(plan: Sequence[BlockRule], depth: int) -> dict[int, BlockRule]:
    """Return the rule of every block that has one; of two rules for a block the later one.

    Args:
        plan: the rules.
        depth: number of blocks.

    Raises:
        InputError: a rule names a block that does not exist.
    """
    found: dict[int, BlockRule] = {}
    for rule in plan:
        for block in rule.blocks:
            if not -depth <= block < depth:
                raise InputError(
                    f"segmenter.plan: block {block} does not exist; the encoder has {depth} "
                    f"blocks. Allowed: {-depth}..{depth - 1}."
                )
        # a negative number counts from the end
        first, last = (block % depth for block in rule.blocks)
        if first > last:
            raise InputError(
                f"segmenter.plan: of the encoder's {depth} blocks, the first block of a rule is "
                f"{first} and its last {last}. Write them in order."
            )
        found |= dict.fromkeys(range(first, last + 1), rule)
    return found


def mask_of(
    rule: BlockRule | None, tokens: Tokens, ids: Sequence[Tensor], prefix: str
) -> Tensor | None:
    """Return W×1×T×T or T×T bool, whether the token of a row attends to that of a column.

    Args:
        rule: of the block; None = it is free.
        tokens: before the block.
        ids: for every entry of ``regions``, W×N: the region of each patch.
        prefix: "alone" or "free", see :attr:`~.spec.ZeroShotSpec.masked_class_token`.
    """
    if rule is None:
        return None
    if rule.attend == "regions":
        found = ids[rule.regions]
        patches = found[:, None, :, None] == found[:, None, None, :]
    else:
        patches = neighbours(tokens.grid, rule.radius).to(tokens.values.device)
    return _with_prefix(patches, tokens, free=prefix == "free")


def neighbours(grid: tuple[int, int], radius: int) -> Tensor:
    """Return N×N bool: patches at most ``radius`` rows and columns apart.

    Args:
        grid: (rows, columns) of N patches.
        radius: in patches; 0 = a patch is its only neighbour.
    """
    rows, columns = grid
    places = torch.cartesian_prod(torch.arange(rows), torch.arange(columns))
    distance = (places[:, None] - places[None]).abs().amax(dim=-1)
    return distance <= radius


def _with_prefix(patches: Tensor, tokens: Tokens, free: bool) -> Tensor:
    """Return …×T×T bool of …×N×N bool among patches.

    Args:
        patches: whether patches attend to each other.
        tokens: T of them.
        free: whether prefix tokens attend to all and all to them; otherwise only to themselves.
    """
    count = tokens.values.shape[1]
    mask = patches.new_zeros((*patches.shape[:-2], count, count))
    # new_full takes no bool where PyTorch's tracer counts operations
    if free:
        mask = ~mask
    mask |= torch.eye(count, dtype=torch.bool, device=patches.device)
    mask[..., tokens.patches, tokens.patches] = patches
    return mask
