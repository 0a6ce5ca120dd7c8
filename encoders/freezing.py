"""Keeping parts of a body as they are: no gradient, evaluation mode that survives ``.train()``, no buffer updates."""

from torch import nn

from encoder_ablations.encoders.base import Encoder
from encoder_ablations.utils.errors import InputError

NORMS = (nn.LayerNorm, nn.GroupNorm, nn.BatchNorm2d, nn.RMSNorm)


def freeze(encoder: Encoder, what: str | int) -> None:
    """Freezes a part of the encoder's body, in place. The neck always learns.

    Args:
        what: "none", "body", "all_but_norms", or a number N: the stem and the first N blocks (stages of a DarkNet).

    Raises:
        InputError: N is more than the body's blocks.
    """
    body = encoder.body
    if what == "none":
        return
    if what == "body":
        body.requires_grad_(False)
        encoder.frozen = (body,)
    elif what == "all_but_norms":
        body.requires_grad_(False)
        for module in body.modules():
            if isinstance(module, NORMS):
                module.requires_grad_(True)
    else:
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
    encoder.train(encoder.training)
