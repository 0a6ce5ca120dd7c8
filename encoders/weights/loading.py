"""Loading pretrained or local weights into a model: all of them, or one clear error."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import isqrt
from pathlib import Path

import timm
from timm.models import Eva, VisionTransformer, eva, vision_transformer
from torch import Tensor, nn

from encoder_ablations.encoders.weights.efficientnet import LAYOUT, is_efficientnet, timm_names
from encoder_ablations.encoders.weights.files import read_weights
from encoder_ablations.encoders.weights.formats import convert
from encoder_ablations.encoders.weights.timm_files import classifier_names, named_as_model
from encoder_ablations.utils.errors import InputError
from encoder_ablations.utils.torch_files import load_strictly

Shape = tuple[int, ...]


@dataclass(frozen=True)
class LoadReport:
    """What was loaded.

    Attributes:
        path: the file.
        layout: how the file names its parameters.
        tensors: number of tensors loaded; always all that the model has.
        dropped: names in the file that are no part of the model: text towers, heads, decoders, mask
            tokens.
        resampled: resized position embeddings and patch kernels: timm's name, shape in the file,
            shape in the model.
    """

    path: str
    layout: str
    tensors: int
    dropped: tuple[str, ...]
    resampled: tuple[tuple[str, Shape, Shape], ...]


def load_weights(model: nn.Module, path: Path | str) -> LoadReport:
    """Load a local file into a model without head; every parameter is loaded, or none.

    Args:
        model: a timm VisionTransformer or Eva made with ``num_classes=0, global_pool=""`` (files in
            any layout of ``layouts.py``), another model of timm (files in a layout that timm itself
            reads), or a module whose parameters are called as in the file.
        path: ``.safetensors``, ``.pth``, ``.pt`` or ``.bin``.

    Raises:
        InputError: the file cannot be read without running code, or does not fit the model.
    """
    state = read_weights(path)
    where = f"weights: {path} does not fit the encoder {_name(model)}"
    if isinstance(model, VisionTransformer | Eva):
        return _load_vision_transformer(model, state, path, where)
    layout = "as the model"
    if is_efficientnet(state):
        names = timm_names(state, model.state_dict(), where)
        state = {names[name]: value for name, value in state.items()}
        layout = LAYOUT
    renamed = named_as_model(model, state)
    classifier = classifier_names(model, renamed)
    own = {name: value for name, value in renamed.items() if name not in classifier}
    load_strictly(model, own, where, _advice(model, own))
    unused = tuple(name for name in state if name not in renamed)
    resampled = _changed_shapes(state, own)
    return LoadReport(str(path), layout, len(own), (*classifier, *unused), resampled)


def _load_vision_transformer(
    model: VisionTransformer | Eva, state: Mapping[str, Tensor], path: Path | str, where: str
) -> LoadReport:
    converted = convert(state, f"weights: {path}")
    tensors = {name: _as_float(value) for name, value in converted.tensors.items()}
    zero_biases = _zero_biases(model, tensors, where)
    tensors = {name: value for name, value in tensors.items() if name not in zero_biases}
    _check_patch_kernel(model, tensors, where)
    _check_position_grid(model, tensors, where)
    # timm's filters resample position embeddings and patch kernels as timm does for its own
    # downloads. Whatever else they drop or rename shows in the strict load.
    filters = eva if isinstance(model, Eva) else vision_transformer
    resized: dict[str, Tensor] = filters.checkpoint_filter_fn(dict(tensors), model)
    load_strictly(model, resized, where, _advice(model, resized))
    unused = tuple(name for name in tensors if name not in resized)
    dropped = (*converted.dropped, *zero_biases, *unused)
    resampled = _changed_shapes(tensors, resized)
    return LoadReport(str(path), converted.layout, len(resized), dropped, resampled)


def _as_float(value: Tensor) -> Tensor:
    """Return floating-point numbers in float32, and others as they are."""
    return value.float() if value.is_floating_point() else value


def _changed_shapes(
    before: Mapping[str, Tensor], after: Mapping[str, Tensor]
) -> tuple[tuple[str, Shape, Shape], ...]:
    """Return name, old shape and new shape of the tensors whose shape has changed."""
    shapes = [
        (name, tuple(before[name].shape), tuple(after[name].shape))
        for name in after
        if name in before
    ]
    return tuple((name, old, new) for name, old, new in shapes if old != new)


def _zero_biases(model: nn.Module, tensors: Mapping[str, Tensor], where: str) -> tuple[str, ...]:
    """Return DINOv3's query and value biases that the model lacks; being zero, they change nothing.

    Raises:
        InputError: one of them is not zero.
    """
    expected = model.state_dict().keys()
    surplus = [name for name in tensors if name not in expected]
    extra = [name for name in surplus if name.endswith(("attn.q_bias", "attn.v_bias"))]
    if any(tensors[name].any() for name in extra):
        raise InputError(
            f"{where}: {extra[0]} is not zero. Use the timm model whose name ends in _qkvb."
        )
    return tuple(extra)


def _check_patch_kernel(
    model: VisionTransformer | Eva, tensors: Mapping[str, Tensor], where: str
) -> None:
    """Check that patches have the model's size, or that of its architecture.

    timm would resample any kernel to any size; only the architecture's own is meant to be.
    """
    name = "patch_embed.proj.weight"
    kernel = tensors.get(name)
    if kernel is None:
        return
    if kernel.ndim != 4:
        raise InputError(
            f"{where}: {name} is no convolution. "
            "Files of NaFlex models cannot be used; use another file."
        )
    size, own = tuple(kernel.shape[-2:]), tuple(model.patch_embed.patch_size)
    if size != own and size != _native_patch(model):
        raise InputError(
            f"{where}: its patches are {size[0]}×{size[1]}, the model's are {own[0]}×{own[1]}. "
            "Give the file or choose the encoder that has the other's patch size."
        )


def _native_patch(model: VisionTransformer | Eva) -> Shape | None:
    """Return the patch size that timm gives to the model's architecture by default."""
    architecture = getattr(model, "pretrained_cfg", {}).get("architecture")
    if architecture is None:
        return None
    native = timm.create_model(architecture, num_classes=0, depth=1, device="meta")
    return tuple(native.get_parameter("patch_embed.proj.weight").shape[-2:])


def _check_position_grid(
    model: VisionTransformer | Eva, tensors: Mapping[str, Tensor], where: str
) -> None:
    """Check that position embeddings of another number are those of a square grid."""
    positions = tensors.get("pos_embed")
    if positions is None or model.pos_embed is None:
        return
    count = positions.shape[1]
    prefix = 0 if model.no_embed_class else model.num_prefix_tokens
    patches = count - prefix
    square = patches > 0 and isqrt(patches) ** 2 == patches
    if count != model.pos_embed.shape[1] and not square:
        raise InputError(
            f"{where}: it has {count} position embeddings, which is not {prefix} plus a square "
            "grid. Likely cause: a file of another model family."
        )


def _advice(model: nn.Module, state: Mapping[str, Tensor]) -> str:
    """Return the likely cause of weights that do not fit.

    Another size of the same family has more or fewer blocks, or other widths.
    """
    own, given = model.state_dict().keys(), state.keys()
    missing, surplus = own - given, given - own
    only_blocks = all(name.startswith("blocks.") for name in missing | surplus)
    cause = "another model family"
    if only_blocks and not (missing and surplus):
        cause = "another size of the same family"
    return f"Likely cause: a file of {cause}. Give the file of this encoder."


def _name(model: nn.Module) -> str:
    """Return timm's name of the model, or else its class."""
    return getattr(model, "pretrained_cfg", {}).get("architecture") or type(model).__name__
