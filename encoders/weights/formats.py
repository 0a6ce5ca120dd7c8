"""Weights under any known names -> timm's names and shapes."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from encoder_ablations.encoders.weights.layouts import LAYOUTS, Layout
from encoder_ablations.utils.errors import InputError


@dataclass(frozen=True)
class Converted:
    """Tensors under timm's names, the name of the file's layout, and the file's names that were left out by rule."""

    tensors: dict[str, Tensor]
    layout: str
    dropped: tuple[str, ...]


def convert(state: Mapping[str, Tensor], source: str = "weights") -> Converted:
    """Recognises the layout of ``state`` and brings it to the names and shapes of timm's VisionTransformer or Eva.

    Args:
        source: where ``state`` came from; it begins the error messages.

    Raises:
        InputError: an unknown layout, or a name that the layout's table does not have.
    """
    layout, root = _recognise(state, source)
    tensors: dict[str, Tensor] = {}
    dropped = []
    for name, value in state.items():
        inner = name.removeprefix(root) if name.startswith(root) else None
        if name.startswith(layout.beside) if inner is None else inner.startswith(layout.heads):
            dropped.append(name)
            continue
        target = layout.translate(inner) if inner is not None else None
        if target is None:
            raise InputError(
                f"{source}: '{name}' is no parameter of the layout '{layout.name}', which the other names have. "
                "Is this another model of the same family? Allowed: the plain vision transformers of this family."
            )
        if target in tensors:
            raise InputError(
                f"{source}: '{name}' is there a second time under another spelling. Save the model again."
            )
        tensors[target] = value
    _concatenate_parts(tensors)
    if not layout.open:
        _fit_to_timm(tensors)
    return Converted(tensors, layout.name, tuple(dropped))


def _recognise(state: Mapping[str, Tensor], source: str) -> tuple[Layout, str]:
    for layout in LAYOUTS:
        root = layout.root_in(state)
        if root is not None:
            return layout, root
    raise InputError(
        f"{source}: not a known vision transformer (first names: {', '.join(list(state)[:3])}). "
        f"Known layouts: {', '.join(layout.name for layout in LAYOUTS)}."
    )


def _concatenate_parts(tensors: dict[str, Tensor]) -> None:
    """ "qkv/0.weight", "qkv/1.weight", … -> "qkv.weight", along the first dimension."""
    parts = defaultdict(list)
    for name in [name for name in tensors if "/" in name]:
        head, _, tail = name.partition("/")
        parts[head + tail[1:]].append((tail[0], tensors.pop(name)))
    for name, values in parts.items():
        tensors[name] = torch.cat([value for _, value in sorted(values, key=lambda item: item[0])])


def _fit_to_timm(tensors: dict[str, Tensor]) -> None:
    """Differences that are more than names, in place."""
    for name in ("cls_token", "pos_embed"):
        if name in tensors:  # CLIP: C or N×C -> 1×N×C
            tensors[name] = tensors[name].reshape(1, -1, tensors[name].shape[-1])
    if "reg_token" in tensors and "pos_embed" in tensors:
        # DINOv2 with registers: timm adds position embeddings to patches only, so the class token takes up its own.
        tensors["cls_token"] = tensors["cls_token"] + tensors["pos_embed"][:, :1]
        tensors["pos_embed"] = tensors["pos_embed"][:, 1:]
    for name in list(tensors):
        if name.endswith(
            "attn.qkv_bias"
        ):  # DINOv3: the key's bias is masked; timm keeps the query's and the value's
            bias = tensors.pop(name) * tensors.pop(f"{name}_mask", torch.ones(()))
            for part, value in zip("qkv", bias.chunk(3), strict=True):
                if part != "k" or value.any():
                    tensors[name.replace("qkv_bias", f"{part}_bias")] = value
        elif (
            "mlp.fc1." in name and name.replace("fc1.", "fc1_g.") in tensors
        ):  # DINOv3 with a gated MLP
            tensors[name.replace("fc1.", "fc1_x.")] = tensors.pop(name)
