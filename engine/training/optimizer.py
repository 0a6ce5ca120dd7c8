"""Parameter groups and the optimiser."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

from encoder_ablations.engine.optimizers import optimizer_class
from encoder_ablations.engine.recipe_parts import OptimizerSpec
from encoder_ablations.segmenters.base import Segmenter
from encoder_ablations.utils.errors import InputError

UNDECAYED_NAMES = {
    *("cls_token", "reg_token", "dist_token", "mask_token", "level_embed"),
    *("pos_embed", "pos_embed_window", "pos_embed_x", "pos_embed_y"),
    *("relative_position_bias_table", "attention_biases", "rel_pos_h", "rel_pos_w"),
    "gamma",
}
"""Tokens, embeddings of positions, and LayerScale, which are parameters of their own."""


def build_optimizer(segmenter: Segmenter, spec: OptimizerSpec) -> torch.optim.Optimizer:
    """Return the optimiser over :func:`parameter_groups`.

    ``base_lr`` of a group is its own base rate.

    Raises:
        InputError: there is no such optimiser, or the head does not learn by gradients.
    """
    if not segmenter.head.learns:
        raise InputError(
            f"the head {type(segmenter.head).__name__} does not learn by gradients, so there are "
            "no training steps. Use it with ablate run or ablate train."
        )
    # the classes have keyword arguments of their own, which the spec has checked
    make: Callable[..., torch.optim.Optimizer] = optimizer_class(spec.name)
    groups = parameter_groups(segmenter, spec)
    return make(groups, **fused(make, spec.arguments(), segmenter.mean.device))


def fused(
    make: Callable[..., torch.optim.Optimizer], arguments: Mapping[str, Any], device: torch.device
) -> dict[str, Any]:
    """Return an optimiser's arguments; on a GPU one kernel updates all weights, where it can.

    It rounds otherwise than many kernels do, so the CPU keeps PyTorch's own choice.
    """
    chosen = {"fused", "foreach", "capturable", "differentiable"} & set(arguments)
    offered = "fused" in inspect.signature(make).parameters
    if device.type != "cuda" or chosen or not offered:
        return dict(arguments)
    return {**arguments, "fused": True}


def parameter_groups(segmenter: Segmenter, spec: OptimizerSpec) -> list[dict[str, Any]]:
    """Return the trainable parameters, grouped by learning rate and weight decay.

    The encoder's body gets the rate
    ``lr · encoder_lr_multiplier · layer_decay^(blocks after it)``; its adapters, its neck and the
    head get ``lr``.
    Norms, biases, embeddings, tokens and LayerScale are not decayed.

    Returns:
        Groups with ``params``, ``names``, ``lr``, ``base_lr``, ``weight_decay``, in a fixed order.
    """
    undecayed = undecayed_names(segmenter)
    body, prefix = segmenter.encoder.body, "encoder.body."
    adapters = {f"encoder.{name}" for name in segmenter.encoder.adapter_names}
    groups: dict[tuple[float, float], dict[str, Any]] = {}
    for name, parameter in segmenter.named_parameters():
        if not parameter.requires_grad:
            continue
        rate = spec.lr
        if name.startswith(prefix) and name not in adapters:
            blocks_after = body.max_depth - body.depth_of(name.removeprefix(prefix))
            rate *= spec.encoder_lr_multiplier * spec.layer_decay**blocks_after
        decay = spec.weight_decay
        if name in undecayed:
            decay = 0.0
        empty: dict[str, Any] = {
            "params": [],
            "names": [],
            "lr": rate,
            "base_lr": rate,
            "weight_decay": decay,
        }
        group = groups.setdefault((rate, decay), empty)
        group["params"].append(parameter)
        group["names"].append(name)
    return list(groups.values())


def undecayed_names(module: nn.Module) -> set[str]:
    """Return the names of the parameters without weight decay.

    These are norms, biases, embeddings, tokens and LayerScale.
    """
    names = set()
    for prefix, child in module.named_modules():
        for name, parameter in child.named_parameters(recurse=False):
            if parameter.ndim <= 1 or isinstance(child, nn.Embedding) or name in UNDECAYED_NAMES:
                names.add(f"{prefix}.{name}".removeprefix("."))
    return names
