"""Which part of a body learns.

Frozen parts have no gradient, stay in evaluation mode after ``.train()``, and keep their buffers.
"""

from collections.abc import Collection

import torch
from timm.layers.norm import (
    RmsNorm,
    RmsNorm2d,
    RmsNorm2dFp32,
    RmsNormFp32,
    SimpleNorm,
    SimpleNorm2d,
    SimpleNorm2dFp32,
    SimpleNormFp32,
)
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from encoder_ablations.encoders.base import Body, Encoder
from encoder_ablations.encoders.spec import refuse_blocks
from encoder_ablations.utils.errors import InputError

PROBE = 64
"""Height and width of the image that shows which parameters a level depends on."""
NORMS = (
    nn.LayerNorm,
    nn.GroupNorm,
    nn.BatchNorm1d,
    nn.BatchNorm2d,
    nn.RMSNorm,
    # timm's norms that are no subclasses of PyTorch's
    RmsNorm,
    RmsNormFp32,
    RmsNorm2d,
    RmsNorm2dFp32,
    SimpleNorm,
    SimpleNormFp32,
    SimpleNorm2d,
    SimpleNorm2dFp32,
)


def freeze(encoder: Encoder, what: str | int) -> None:
    """Freeze a part of the encoder's body, in place. The neck always learns.

    Parameters that no map depends on are never trainable: DistributedDataParallel waits for the
    gradient of every trainable one, and they would be counted among those that learn.

    Args:
        encoder: gets new ``frozen`` modules.
        what: "none", "body", "all_but_norms", or a number N: the stem and the first N blocks
            (stages of a DarkNet; timm's blocks in its other models).

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
    if blocks == 0:
        raise InputError(
            f"freeze: {count} asks for the first blocks, but this encoder does not say which "
            "parameters are in which block (depth_of and max_depth). Allowed: none, body, "
            "all_but_norms."
        )
    refuse_blocks(count, blocks)
    for name, parameter in body.named_parameters():
        if body.depth_of(name) <= count:
            parameter.requires_grad_(False)
    # modules without children, since a container may hold blocks that learn
    leaves = {name: module for name, module in body.named_modules() if _is_leaf(module)}
    # timm's BatchNorms hold their activation
    leaves |= {name: norm for name, norm in body.named_modules() if isinstance(norm, _BatchNorm)}
    return tuple(module for name, module in leaves.items() if body.depth_of(f"{name}.") <= count)


def freeze_unread(encoder: Encoder, names: Collection[str], last_map: bool = False) -> None:
    """Freeze the parameters on which none of some levels depends, in place.

    They would never get a gradient, which DistributedDataParallel waits for, and would be counted
    among those that learn.

    Args:
        encoder: is tried out on a small image.
        names: of the levels that are read.
        last_map: whether the body's last map is read, too.

    Raises:
        InputError: the encoder has no level of a name.
    """
    known = [level.name for level in encoder.levels]
    for name in names:
        if name not in known:
            raise InputError(
                f"the head reads the level '{name}', but the encoder gives {', '.join(known)}."
            )
    learning = [each for each in encoder.parameters() if each.requires_grad]
    if not learning or set(names) == set(known):
        return
    training = encoder.training
    # BatchNorm would take the image into its statistics
    encoder.eval()
    with torch.enable_grad():
        maps = encoder.maps(torch.zeros(1, 3, PROBE, PROBE, device=learning[0].device))
        levels = encoder.pyramid(maps, (PROBE, PROBE))
        read = [levels[name].sum() for name in sorted(names)]
        if last_map:
            read.append(maps[-1].sum())
        total = torch.stack(read).sum()
    gradients = torch.autograd.grad(total, learning, allow_unused=True)
    for parameter, gradient in zip(learning, gradients, strict=True):
        parameter.requires_grad_(gradient is not None)
    encoder.train(training)


def has_running_statistics(module: nn.Module) -> bool:
    """Return whether any BatchNorm in a module normalises with running statistics."""
    return any(norm.track_running_stats for norm in _batch_norms(module))


def fixed_batch_norms(encoder: Encoder) -> list[_BatchNorm]:
    """Return the body's BatchNorms, first to last, whose running statistics no training changes."""
    frozen = {part for module in encoder.frozen for part in module.modules()}
    return [
        norm for norm in _batch_norms(encoder.body) if norm.track_running_stats and norm in frozen
    ]


def _batch_norms(module: nn.Module) -> list[_BatchNorm]:
    return [part for part in module.modules() if isinstance(part, _BatchNorm)]


def _is_leaf(module: nn.Module) -> bool:
    return next(module.children(), None) is None
