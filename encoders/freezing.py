"""What of a body learns. What is frozen has no gradient, evaluation mode that survives ``.train()``, fixed buffers."""

from torch import nn

from encoder_ablations.encoders.base import Encoder
from encoder_ablations.utils.errors import InputError

NORMS = (nn.LayerNorm, nn.GroupNorm, nn.BatchNorm2d, nn.RMSNorm)


def freeze(encoder: Encoder, what: str | int) -> None:
    """Freezes a part of the encoder's body, in place. The neck always learns.

    Parameters that no map depends on are never trainable: DistributedDataParallel waits for the gradient of every
    trainable one, and they would be counted among those that learn.

    Args:
        what: "none", "body", "all_but_norms", or a number N: the stem and the first N blocks (stages of a DarkNet).

    Raises:
        InputError: N is more than the body's blocks.
    """
    body = encoder.body
    if what == "body":
        body.requires_grad_(False)
        encoder.frozen = (body,)
    elif what == "all_but_norms":
        body.requires_grad_(False)
        for module in body.modules():
            if isinstance(module, NORMS):
                module.requires_grad_(True)
    elif what != "none":
        count, blocks = int(what), body.max_depth - 1
        if count > blocks:
            raise InputError(
                f"freeze: {count} blocks asked for, this encoder has {blocks}. Allowed: 1..{blocks}, or body."
            )
        for name, parameter in body.named_parameters():
            if body.depth_of(name) <= count:
                parameter.requires_grad_(False)
        encoder.frozen = tuple(
            module
            for name, module in body.named_modules()
            if not list(module.children()) and body.depth_of(f"{name}.") <= count
        )
    for name, parameter in body.named_parameters():
        if not body.reads(name):
            parameter.requires_grad_(False)
    encoder.train(encoder.training)
