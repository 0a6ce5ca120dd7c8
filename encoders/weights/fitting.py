"""Fitting the tensors of a file to a vision transformer of timm: grids, patches, names."""

from collections.abc import Callable, Mapping
from functools import partial
from math import isqrt

from timm.layers.pos_embed import resample_abs_pos_embed_nhwc
from timm.models import Eva, beit, eva, naflexvit, vision_transformer, vision_transformer_sam
from timm.models.beit import Beit
from timm.models.naflexvit import NaFlexVit
from timm.models.vision_transformer_sam import VisionTransformerSAM
from torch import Tensor, nn
from torch.nn import functional as F

from encoder_ablations.encoders.bodies.relative_positions import (
    PREFIX_ROWS,
    resize_relative_positions,
)
from encoder_ablations.encoders.bodies.timm_vits import (
    TimmViT,
    embedding_of,
    one_block_of,
    patch_of,
    prefix_tokens_of,
)
from encoder_ablations.utils.errors import InputError

Shape = tuple[int, ...]
Filter = Callable[..., dict[str, Tensor]]
FILTERS: dict[type[nn.Module], Filter] = {
    Eva: eva.checkpoint_filter_fn,
    Beit: beit.checkpoint_filter_fn,
    NaFlexVit: naflexvit.checkpoint_filter_fn,
    VisionTransformerSAM: vision_transformer_sam.checkpoint_filter_fn,
}
"""timm's filters. They resample position embeddings and patch kernels as timm does for its own
downloads. Whatever else they drop or rename shows in the strict load."""
PLAIN: Filter = partial(vision_transformer.checkpoint_filter_fn, adapt_layer_scale=True)


def fit_to_model(
    model: TimmViT, tensors: Mapping[str, Tensor], where: str
) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """Return tensors by the model's names in its shapes, and the names that it has no use for.

    Args:
        model: the model.
        tensors: by timm's names.
        where: begins the error messages.

    Raises:
        InputError: patches or positions are those of another model.
    """
    zero_biases = _zero_biases(model, tensors, where)
    pooled_norm = _norm_behind_pooling(tensors)
    surplus = (*zero_biases, *pooled_norm)
    kept = {name: value for name, value in tensors.items() if name not in surplus}
    if "norm.weight" not in kept:
        # weights trained with mean pooling have their last norm behind it
        kept |= {name.removeprefix("fc_"): tensors[name] for name in pooled_norm}
        surplus = zero_biases
    _check_patch_kernel(model, kept, where)
    _check_position_grid(model, kept, where)
    kept = _fit_relative_tables(model, kept, where)
    filtered = FILTERS.get(type(model), PLAIN)(dict(kept), model)
    fitted = _fit_maps_of_positions(model, filtered)
    unused = tuple(name for name in kept if name not in fitted)
    return fitted, (*surplus, *unused)


def _norm_behind_pooling(tensors: Mapping[str, Tensor]) -> tuple[str, ...]:
    return tuple(name for name in tensors if name.startswith("fc_norm."))


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


def _check_patch_kernel(model: TimmViT, tensors: Mapping[str, Tensor], where: str) -> None:
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
    size, own = tuple(kernel.shape[-2:]), (patch_of(model), patch_of(model))
    if size != own and size != _native_patch(model):
        raise InputError(
            f"{where}: its patches are {size[0]}×{size[1]}, the model's are {own[0]}×{own[1]}. "
            "Give the file or choose the encoder that has the other's patch size."
        )


def _native_patch(model: TimmViT) -> Shape | None:
    """Return the patch size that timm gives to the model's architecture by default."""
    architecture = getattr(model, "pretrained_cfg", {}).get("architecture")
    if architecture is None:
        return None
    native = one_block_of(architecture)
    return patch_of(native), patch_of(native)


def _check_position_grid(model: TimmViT, tensors: Mapping[str, Tensor], where: str) -> None:
    """Check that position embeddings of another number are those of a square grid."""
    positions = tensors.get("pos_embed")
    if positions is None or positions.ndim != 3:
        return
    count = positions.shape[1]
    prefix = prefix_tokens_of(model)
    if getattr(model, "no_embed_class", False):
        prefix = 0
    prefixes = {prefix}
    if isinstance(model, NaFlexVit):  # files of other classes, where prefix tokens may have some
        prefixes = {0, prefix}
    own = getattr(model, "pos_embed", None)
    if own is not None and count == own.shape[1]:
        return
    if not any(_is_square(count - each) for each in prefixes):
        raise InputError(
            f"{where}: it has {count} position embeddings, which is not {prefix} plus a square "
            "grid. Likely cause: a file of another model family."
        )


def _is_square(count: int) -> bool:
    return count > 0 and isqrt(count) ** 2 == count


def _fit_relative_tables(
    model: TimmViT, tensors: Mapping[str, Tensor], where: str
) -> dict[str, Tensor]:
    """Return the tensors with BEiT's tables of relative positions resized to the model's grid.

    timm's filter would interpolate them linearly, BEiT's authors do it by cubic splines.
    """
    if not isinstance(model, Beit):
        return dict(tensors)
    fitted = dict(tensors)
    grid = model.patch_embed.grid_size
    for name, table in tensors.items():
        if not name.endswith("relative_position_bias_table"):
            continue
        offsets = table.shape[0] - PREFIX_ROWS
        if not _is_square(offsets):
            raise InputError(
                f"{where}: {name} has {table.shape[0]} rows, which is not {PREFIX_ROWS} plus those "
                "of a square grid. Likely cause: a file of another model family."
            )
        side = (isqrt(offsets) + 1) // 2
        fitted[name] = resize_relative_positions(table, (side, side), grid)
    return fitted


def _fit_maps_of_positions(model: TimmViT, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors with positions of another grid resized as SAM's and NaFlex models do.

    timm's filters leave these as they are.
    """
    fitted = dict(tensors)
    for name, own in model.named_parameters():
        given = tensors.get(name)
        if given is None or given.shape == own.shape or given.shape[-1] != own.shape[-1]:
            continue
        if given.ndim == 4 and name.endswith("pos_embed"):  # 1×rows×columns×C
            mode = getattr(embedding_of(model), "pos_embed_interp_mode", "bicubic")
            grid = list(own.shape[1:3])
            fitted[name] = resample_abs_pos_embed_nhwc(given, grid, interpolation=mode)
        elif name.endswith(("rel_pos_h", "rel_pos_w")):  # (2·side-1)×C
            line = F.interpolate(given.T[None], size=own.shape[0], mode="linear")
            fitted[name] = line[0].T
    return fitted
