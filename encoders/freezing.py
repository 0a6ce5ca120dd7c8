"""Which part of a body learns.

Frozen parts have no gradient, stay in evaluation mode after ``.train()``, and keep their buffers.
"""

from timm.layers.norm import RmsNorm
from torch import nn

from encoder_ablations.encoders.base import Body, Encoder
from encoder_ablations.utils.errors import InputError

NORMS = (nn.LayerNorm, nn.GroupNorm, nn.BatchNorm2d, nn.RMSNorm, RmsNorm)


def freeze(encoder: Encoder, what: str | int) -> None:
    """Freeze a part of the encoder's body, in place. The neck always learns.

    Parameters that no map depends on are never trainable: DistributedDataParallel waits for the
    gradient of every trainable one, and they would be counted among those that learn.

    Args:
        encoder: gets new ``frozen`` modules.
        what: "none", "body", "all_but_norms", or a number N: the stem and the first N blocks
            (stages of a DarkNet).

    Raises:
        InputError: N is more than the body's blocks.
    """
    body = encoder.body
    if what == "body":
        body.requires_grad_(False)
        encoder.frozen = (body,)
    elif what == "all_but_norms":
        body.requires_grad_(False)
        for norm in (module for module in body.modules() if isinstance(module, NORMS)):
            norm.requires_grad_(True)
    elif what != "none":
        encoder.frozen = _freeze_first(body, int(what))
    for name, parameter in body.named_parameters():
        parameter.requires_grad_(parameter.requires_grad and body.reads(name))
    encoder.train(encoder.training)


def _freeze_first(body: Body, count: int) -> tuple[nn.Module, ...]:
    """Freeze the stem and the first blocks; return the modules that stay in evaluation mode."""
    blocks = body.max_depth - 1
    if count > blocks:
        raise InputError(
            f"freeze: {count} blocks asked for, this encoder has {blocks}. "
            f"Allowed: 1..{blocks}, or body."
        )
    for name, parameter in body.named_parameters():
        if body.depth_of(name) <= count:
            parameter.requires_grad_(False)
    # modules without children, since a container may hold blocks that learn
    leaves = {name: module for name, module in body.named_modules() if _is_leaf(module)}
    return tuple(module for name, module in leaves.items() if body.depth_of(f"{name}.") <= count)


def _is_leaf(module: nn.Module) -> bool:
    return next(module.children(), None) is None
