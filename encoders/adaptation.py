"""Adapters: small layers that learn beside a body whose own weights stay fixed.

They are those of LoRA (Hu et al., "LoRA: Low-Rank Adaptation of Large Language Models", ICLR 2022),
as the package peft adds them to a module: https://github.com/huggingface/peft.
"""

import copy
import re
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import nn

from encoder_ablations.encoders.base import Body, Encoder
from encoder_ablations.encoders.freezing import PROBE
from encoder_ablations.encoders.spec import EncoderSpec, LoraSpec
from encoder_ablations.utils.errors import InputError
from encoder_ablations.utils.optional import missing
from encoder_ablations.utils.seeding import torch_stream

ATTENTION = "attn"
"""timm's name of the modules that hold the layers of an attention."""
WRAPPED = ".base_layer."
"""Between the name of an adapted layer and those of its own parameters, which peft puts there."""

Layers = Mapping[str, str]
"""Name of a layer in the body → its name in the body's model, which users write."""


def add_adapters(encoder: Encoder, spec: EncoderSpec, seed: int) -> None:
    """Add the adapters that a specification asks for to the encoder's body, in place.

    The body's own weights do not learn then, and it stays in evaluation mode as a frozen one. The
    adapters' first values come from a stream of their own. They do not change the maps.

    Args:
        encoder: gets new ``adapters`` and ``frozen`` modules.
        spec: its specification; without ``adapt`` nothing is done.
        seed: of the random stream.

    Raises:
        InputError: no layer fits, a pattern matches none, or peft is not installed.
    """
    if spec.adapt is None:
        return
    lora, body = spec.adapt.lora, encoder.body
    where = f"encoder {spec.name}: adapt.lora"
    layers = _adaptable_layers(body)
    names = _chosen_layers(body, layers, lora, where)
    with torch_stream(seed, "encoder", "adapters"):
        _inject(body, names, lora)
    encoder.frozen = (body,)
    encoder.adapters = {name: _learning_parts(body.get_submodule(name)) for name in names}
    training = encoder.training
    _check_all_called(encoder, layers, where)
    encoder.train(training)


def merge_adapters(encoder: Encoder) -> Encoder:
    """Return a copy of an encoder with its adapters merged into the weights of its body.

    The copy has the layers and names of an encoder without adapters, and its body is frozen. Its
    maps are the same up to rounding. An encoder without adapters is copied as it is.

    Args:
        encoder: stays as it is.
    """
    merged = copy.deepcopy(encoder)
    for name in merged.adapters:
        layer: Any = merged.body.get_submodule(name)
        layer.merge(safe_merge=True)
        owner, _, own = name.rpartition(".")
        setattr(merged.body.get_submodule(owner), own, layer.get_base_layer())
    merged.adapters = {}
    merged.body.forget_copies()
    return merged


def refuse_adapters(spec: EncoderSpec, framework: str) -> None:
    """Refuse an encoder with adapters where another framework trains it.

    Raises:
        InputError: the encoder has adapters.
    """
    if spec.adapt is not None:
        raise InputError(
            f"encoder {spec.name}: adapt (LoRA) is trained by ablate run and ablate train, not by "
            f"{framework}. Remove adapt, or merge trained adapters first (merge_adapters in "
            "encoder_ablations.encoders.adaptation)."
        )


def plain_names(encoder: Encoder) -> dict[str, str]:
    """Return the names of the body's own parameters, as they are without adapters.

    Returns:
        Name in the body → name in the same body without adapters. The adapters' are left out.
    """
    adapters = encoder.adapter_names
    names = [name for name, _ in encoder.body.named_parameters() if f"body.{name}" not in adapters]
    return {name: _plain_name(name, encoder.adapters) for name in names}


def _plain_name(name: str, adapted: Iterable[str]) -> str:
    layer, wrapped, own = name.rpartition(WRAPPED)
    if wrapped and layer in adapted:
        return f"{layer}.{own}"
    return name


def _chosen_layers(body: Body, layers: Layers, lora: LoraSpec, where: str) -> list[str]:
    """Return the names of the body's layers that get adapters, in its order."""
    if not layers:
        raise InputError(
            f"{where}: this encoder has no layer that LoRA can be added to (torch.nn.Linear, or "
            "torch.nn.Conv2d without groups and dilation). Remove adapt."
        )
    if lora.targets is None:
        return _default_layers(body, list(layers))
    chosen: set[str] = set()
    for pattern in lora.targets:
        found = {name for name, short in layers.items() if _matches(short, pattern)}
        if not found:
            raise InputError(
                f"{where}.targets: no layer that LoRA can be added to is called '{pattern}'. "
                f"Allowed: {_listed(layers.values())}, or the ends of such names."
            )
        chosen |= found
    return [name for name in layers if name in chosen]


def _adaptable_layers(body: Body) -> Layers:
    """Return the layers that adapters can be added to, and that a map depends on."""
    found = {}
    for name, module in body.named_modules():
        if _is_adaptable(module) and body.reads(f"{name}.weight"):
            found[name] = name.removeprefix("reader.").removeprefix("model.")
    return found


def _is_adaptable(module: nn.Module) -> bool:
    """Return whether LoRA can be added to a layer, and later be merged into its weights."""
    # derived classes may do more with their weights, such as standardise them
    if type(module) is nn.Linear:
        return True
    if type(module) is not nn.Conv2d:
        return False
    # peft's convolutions have no dilation, and cannot be merged into groups
    return module.groups == 1 and module.dilation == (1, 1) and module.padding_mode == "zeros"


def _default_layers(body: Body, names: list[str]) -> list[str]:
    """Return the layers of the attention; without any, all layers behind the stem."""
    in_attention = [name for name in names if _is_in_attention(body, name)]
    if in_attention:
        return in_attention
    behind_stem = [name for name in names if body.depth_of(f"{name}.weight") > 0]
    return behind_stem or names


def _is_in_attention(body: Body, name: str) -> bool:
    owner = name.rpartition(".")[0]
    kind = type(body.get_submodule(owner)).__name__.lower()
    return owner.rpartition(".")[2] == ATTENTION or "attention" in kind


def _matches(name: str, pattern: str) -> bool:
    return fnmatchcase(name, pattern) or fnmatchcase(name, f"*.{pattern}")


def _listed(names: Iterable[str]) -> str:
    """Return names with ``*`` in place of numbers, each once."""
    shown = [re.sub(r"\b\d+\b", "*", name) for name in names]
    return ", ".join(dict.fromkeys(shown))


def _inject(body: Body, names: Iterable[str], lora: LoraSpec) -> None:
    """Put peft's layers in the place of some layers; nothing but their adapters learns then."""
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError as error:
        raise missing("peft", error) from error
    alpha: Any = lora.alpha  # peft takes any number, though its annotation says int
    config = LoraConfig(
        r=lora.rank,
        lora_alpha=alpha,
        lora_dropout=lora.dropout,
        # a text is a regular expression of whole names, of which lists are the ends
        target_modules="|".join(map(re.escape, names)),
    )
    inject_adapter_in_model(config, body)


def _learning_parts(layer: nn.Module) -> nn.ModuleList:
    """Return the modules that learn, and their dropout, within one of peft's layers."""
    children = layer.named_children()
    return nn.ModuleList(child for name, child in children if name.startswith("lora_"))


def _check_all_called(encoder: Encoder, layers: Layers, where: str) -> None:
    """Check on a small image that the maps depend on all adapters; set evaluation mode.

    Some models compute with the weights of a layer without calling it, as BEiT does with qkv. An
    adapter beside such a layer would never learn.

    Raises:
        InputError: some adapters have no effect.
    """
    # dropout would draw random numbers
    encoder.eval()
    last = {name: list(parts.parameters())[-1] for name, parts in encoder.adapters.items()}
    device = next(iter(last.values())).device
    side = -(-PROBE // encoder.divisibility) * encoder.divisibility
    with torch.enable_grad():
        maps = encoder.body(torch.zeros(1, 3, side, side, device=device))
        total = torch.stack([each.sum() for each in maps]).sum()
    gradients = torch.autograd.grad(total, list(last.values()), allow_unused=True)
    pairs = zip(last, gradients, strict=True)
    unused = [layers[name] for name, gradient in pairs if gradient is None]
    if unused:
        others = [short for short in layers.values() if short not in unused]
        raise InputError(
            f"{where}: adapters of {_listed(unused)} would have no effect, because the model uses "
            "the weights of these layers without calling them. Name other layers as "
            f"adapt.lora.targets: {_listed(others)}."
        )
