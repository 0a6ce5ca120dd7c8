"""What timm's classes of plain vision transformers call by different names."""

from functools import cache
from typing import Any

import timm
from timm.models import Eva, VisionTransformer
from timm.models.beit import Beit
from timm.models.deit import VisionTransformerDistilled
from timm.models.naflexvit import NaFlexVit
from timm.models.vision_transformer_sam import VisionTransformerSAM
from torch import nn

from encoder_ablations.encoders.table.rows import TIMM

TimmViT = VisionTransformer | Eva | Beit | NaFlexVit | VisionTransformerSAM
"""timm's vision transformers whose blocks all have the same grid of tokens."""


@cache
def one_block_of(name: str) -> Any:
    """Return a timm model without memory that tells its class and patch, with one block if it can.

    All callers share it, and none may change it. Sapiens 2 has options for every block, and so has
    all of them.
    """
    blocks: dict[str, Any] = {"depth": 1}
    if "sapiens2" in name:
        blocks = {}
    return timm.create_model(name, num_classes=0, device="meta", **blocks)


def embedding_of(model: TimmViT) -> Any:
    """Return the module that cuts images into patches."""
    if isinstance(model, NaFlexVit):
        return model.embeds
    return model.patch_embed


def patch_of(model: TimmViT) -> int:
    """Return the side of a patch in pixels."""
    side: int = embedding_of(model).patch_size[0]
    return side


def prefix_tokens_of(model: TimmViT) -> int:
    """Return the number of class, distillation and register tokens; SAM's encoder has none."""
    count: int = getattr(model, "num_prefix_tokens", 0)
    return count


def final_norm_of(model: TimmViT) -> nn.Module | None:
    """Return the norm after the last block; None for a model without one.

    C-RADIO and PE spatial have none. SAM's norms after the blocks lie between convolutions of its
    neck, which change the width; they are no norm of a block's output.
    """
    norm = model.neck if isinstance(model, VisionTransformerSAM) else model.norm
    if isinstance(norm, nn.Identity | nn.Sequential):
        return None
    return norm


def has_own_grid(model: TimmViT) -> bool:
    """Return whether a model's modules are built for one grid and must be copied for another.

    BEiT's are (tables of relative positions), and those of models with rotary embeddings whose
    learned positions timm does not resize. The others adapt to every image themselves.
    """
    return isinstance(model, Beit) or (isinstance(model, Eva) and not model.dynamic_img_size)


def accept_all_sizes(model: TimmViT, position_rule: str) -> None:
    """Make a model take images of any size, padded with zeros to whole patches.

    timm rescales PE's rotary coordinates to the native grid; PE's authors count on (``Rope2D`` of
    facebookresearch/perception_models). At the native grid both are the same.
    """
    embedding = embedding_of(model)
    embedding.dynamic_img_pad = True
    embedding.strict_img_size = False
    if position_rule == "pe":
        rotary: Any = model.rope  # timm.create_model ignores the option where it is None
        rotary.ref_feat_shape = None


def options_without_head(model: TimmViT) -> dict[str, Any]:
    """Return the options of ``timm.create_model`` for this class without pooling.

    Without pooling a model's last norm stands before it, as a norm of tokens. DeiT's distilled
    models refuse the option and need none; in NaFlex models it does not decide about the norm.
    """
    if isinstance(model, VisionTransformerDistilled):
        return {}
    options: dict[str, Any] = {"global_pool": ""}
    if isinstance(model, NaFlexVit):
        options["fc_norm"] = False
    return options


def options_for_sizes(model: TimmViT, position_rule: str) -> dict[str, Any]:
    """Return the options of ``timm.create_model`` by which positions follow a rule."""
    if isinstance(model, VisionTransformer | Eva):
        return {"dynamic_img_size": position_rule == TIMM}
    return {}
