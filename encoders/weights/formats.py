"""Weights under any known names, brought to timm's names and shapes."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from encoder_ablations.encoders.weights.layouts import LAYOUTS, Layout
from encoder_ablations.encoders.weights.readouts import readout_tensors
from encoder_ablations.utils.errors import InputError
from encoder_ablations.utils.texts import first_names


@dataclass(frozen=True)
class Converted:
    """Tensors under timm's names.

    Attributes:
        tensors: by timm's names.
        layout: name of the file's layout.
        dropped: the file's names that do not belong to the body.
    """

    tensors: dict[str, Tensor]
    layout: str
    dropped: tuple[str, ...]


def convert(
    state: Mapping[str, Tensor], source: str = "weights", readout: bool = False
) -> Converted:
    """Recognise the layout of ``state``, and bring it to timm's names and shapes.

    They are those of timm's VisionTransformer or Eva.

    Args:
        state: tensors by the file's names.
        source: where ``state`` came from; it begins the error messages.
        readout: whether to keep what leads from the body into the space of texts.

    Raises:
        InputError: an unknown layout, or a name that the layout's table does not have.
    """
    layout, root = _recognise(state, source)
    tensors: dict[str, Tensor] = {}
    dropped = []
    for name, value in state.items():
        if layout.drops(name, root):
            dropped.append(name)
            continue
        target = layout.translate(name, root)
        if target is None:
            raise InputError(
                f"{source}: '{name}' is no parameter of the layout '{layout.name}', which the "
                "other names have. Is this another model of the same family? "
                "Allowed: the plain vision transformers of this family."
            )
        if target in tensors:
            raise InputError(
                f"{source}: '{name}' is there a second time under another spelling. "
                "Save the model again."
            )
        tensors[target] = value
    _concatenate_parts(tensors)
    if not layout.open:
        _fit_tokens_to_timm(tensors)
        _fit_dinov3_to_timm(tensors)
    if readout:
        kept = readout_tensors(state, layout.name, root)
        tensors |= kept.tensors
        dropped = [name for name in dropped if name not in kept.names]
    return Converted(tensors, layout.name, tuple(dropped))


def _recognise(state: Mapping[str, Tensor], source: str) -> tuple[Layout, str]:
    """Return the layout of a file, and what stands before the names of its vision tower."""
    for layout in LAYOUTS:
        root = layout.root_in(state)
        if root is not None:
            return layout, root
    raise InputError(
        f"{source}: not a known vision transformer (first names: {first_names(list(state))}). "
        f"Known layouts: {', '.join(layout.name for layout in LAYOUTS)}."
    )


def _concatenate_parts(tensors: dict[str, Tensor]) -> None:
    """Join "qkv/0.weight", "qkv/1.weight", … to "qkv.weight", along the first dimension."""
    parts: dict[str, dict[str, Tensor]] = defaultdict(dict)
    for name in [name for name in tensors if "/" in name]:
        head, _, tail = name.partition("/")
        parts[head + tail[1:]][tail[0]] = tensors.pop(name)
    for name, by_number in parts.items():
        tensors[name] = torch.cat([by_number[number] for number in sorted(by_number)])


def _fit_tokens_to_timm(tensors: dict[str, Tensor]) -> None:
    """Change shapes of tokens and position embeddings to timm's, in place."""
    # CLIP: C or N×C -> 1×N×C
    for name in {"cls_token", "pos_embed"} & tensors.keys():
        tensors[name] = tensors[name].reshape(1, -1, tensors[name].shape[-1])
    if {"reg_token", "pos_embed"} <= tensors.keys():
        # DINOv2 with registers: timm adds position embeddings to patches only, so the class token
        # takes up its own
        tensors["cls_token"] = tensors["cls_token"] + tensors["pos_embed"][:, :1]
        tensors["pos_embed"] = tensors["pos_embed"][:, 1:]


def _fit_dinov3_to_timm(tensors: dict[str, Tensor]) -> None:
    """Split the biases of attention and rename gated MLPs, in place."""
    # the key's bias is masked; timm keeps the query's and the value's
    for name in [name for name in tensors if name.endswith("attn.qkv_bias")]:
        bias = tensors.pop(name) * tensors.pop(f"{name}_mask", torch.ones(()))
        query, key, value = bias.chunk(3)
        tensors[name.replace("qkv_bias", "q_bias")] = query
        tensors[name.replace("qkv_bias", "v_bias")] = value
        if key.any():  # the strict load then reports it
            tensors[name.replace("qkv_bias", "k_bias")] = key
    # a gated MLP has a gate beside its first layer
    for gate in [name for name in tensors if "mlp.fc1_g." in name]:
        first = gate.replace("fc1_g.", "fc1.")
        if first in tensors:
            tensors[gate.replace("fc1_g.", "fc1_x.")] = tensors.pop(first)
