"""An encoder's feature maps, compared with the model that its weights come from."""

from dataclasses import dataclass
from typing import Any

import timm
import torch
from timm.models.naflexvit import NaFlexVit
from timm.models.vision_transformer_sam import VisionTransformerSAM
from torch import Tensor, nn

from encoder_ablations.encoders.base import Encoder
from encoder_ablations.encoders.bodies.darknet import DarkNetBody
from encoder_ablations.encoders.bodies.hierarchical import HierarchicalBody
from encoder_ablations.encoders.bodies.stages import stage_maps
from encoder_ablations.encoders.bodies.timm_vits import final_norm_of, options_without_head
from encoder_ablations.encoders.bodies.vit import ViTBody
from encoder_ablations.encoders.table.rows import EncoderRow, HierarchicalRow, ViTRow, source_of

TOLERANCE = 1e-5
ANY_SIZE = 224
"""Side in pixels of the images on which models that take any size are compared."""


@dataclass(frozen=True)
class Inspection:
    """Feature maps of one image.

    Attributes:
        maps: the body's, each 1×C×h×w.
        pyramid: p2..p5, each 1×C×h×w.
        source_difference: largest absolute difference between the body's maps and the source
            model's own block outputs at its native size (SAM and NaFlex models: ``ANY_SIZE``); None
            without a source to compare with.
    """

    maps: list[Tensor]
    pyramid: dict[str, Tensor]
    source_difference: float | None


def inspect(encoder: Encoder, row: EncoderRow, images: Tensor) -> Inspection:
    """Run an encoder on 1×3×H×W normalised images, and compare its body with the source."""
    encoder.eval()
    with torch.inference_mode():
        return Inspection(
            encoder.body(images), encoder(images), source_difference(encoder.body, row)
        )


def source_difference(body: nn.Module, row: EncoderRow) -> float | None:
    """Return how far a body is from its source, see :class:`Inspection`.

    The image is noise, so that every channel is exercised.
    """
    if isinstance(body, ViTBody) and isinstance(row, ViTRow):
        return _vit_difference(body, row)
    if isinstance(body, DarkNetBody) and row.model is not None:
        return _darknet_difference(body, row.model)
    if isinstance(body, HierarchicalBody) and isinstance(row, HierarchicalRow):
        return _hierarchical_difference(body, row)
    return None


def _noise(height: int, width: int) -> Tensor:
    return torch.randn(1, 3, height, width, generator=torch.Generator().manual_seed(0))


def _vit_difference(body: ViTBody, row: ViTRow) -> float:
    """Compare with the outputs of blocks, which hooks take from the source's forward pass."""
    own: Any = body.model
    # built as timm builds it by default, so that the adapter's settings are not shared
    options = options_without_head(own)
    size = ANY_SIZE
    if not isinstance(own, NaFlexVit | VisionTransformerSAM):
        size = own.patch_embed.img_size[0]
        options |= {"patch_size": body.patch, "img_size": size}
    if row.activation:
        options["act_layer"] = row.activation
    source: Any = timm.create_model(row.model, num_classes=0, **options)
    source.load_state_dict(own.state_dict())
    source.eval()
    seen: dict[int, Tensor] = {}
    handles = [
        source.blocks[index].register_forward_hook(
            lambda _m, _i, output, index=index: seen.update({index: output})
        )
        for index in body.taps
    ]
    with torch.inference_mode():
        images = _noise(size, size)
        source.forward_features(images)
        for handle in handles:
            handle.remove()
        native = ViTBody(
            own,
            body.taps,
            body.final_norm,
            body.normalization,
            position_rule=body.position_rule,
        )
        maps = native.eval()(images)
        differences = []
        for index, features in zip(body.taps, maps, strict=True):
            expected = _block_map(source, seen[index], body.final_norm)
            differences.append((features - expected.reshape(features.shape)).abs().max())
    return torch.stack(differences).max().item()


def _block_map(source: Any, output: Tensor, final_norm: bool) -> Tensor:
    """Return a block's output as B×C×… without prefix tokens, normed where asked for."""
    norm: Any = nn.Identity()
    if final_norm:
        norm = final_norm_of(source)
    if isinstance(source, VisionTransformerSAM):  # B×rows×columns×C, and norms take B×C×…
        features: Tensor = norm(output.permute(0, 3, 1, 2))
        return features
    tokens: Tensor = norm(output)[:, source.num_prefix_tokens :]
    return tokens.transpose(1, 2)


def _darknet_difference(body: DarkNetBody, model: str) -> float:
    source = timm.create_model(model, features_only=True, out_indices=(2, 3, 4, 5))
    own = body.state_dict()
    names = zip(source.state_dict(), own, strict=True)
    source.load_state_dict({theirs: own[ours] for theirs, ours in names})
    source.eval()
    with torch.inference_mode():
        images = _noise(256, 256)
        pairs = zip(source(images), body(images), strict=True)
        return torch.stack([(theirs - ours).abs().max() for theirs, ours in pairs]).max().item()


def _hierarchical_difference(body: HierarchicalBody, row: HierarchicalRow) -> float | None:
    """Compare with the outputs of stages, which hooks take from the source's forward pass.

    Returns:
        None if timm does not say which module gives which map.
    """
    options = dict(stage_maps(row.model.partition(".")[0]).options)
    size = ANY_SIZE
    # a model that takes images of one size by default is built so, and compared at that size
    if options.pop("strict_img_size", None) is not None:
        size = source_of(row).input_size[-1]
    source: Any = timm.create_model(row.model, num_classes=0, **options)
    surplus = source.load_state_dict(body.model.state_dict(), strict=False).unexpected_keys
    if surplus:
        raise ValueError(f"timm's {row.model} has no {surplus[0]}")
    stages = [source.feature_info[index]["module"] for index in body.indices]
    if not {*stages} <= {name for name, _ in source.named_modules()}:
        return None
    with torch.inference_mode():
        images = _noise(size, size)
        maps = body(images)
        expected = _outputs_of(source.eval(), stages, images)
        pairs = zip(maps, expected, strict=True)
        differences = [(ours - _channels_first(theirs, ours)).abs().max() for ours, theirs in pairs]
    return torch.stack(differences).max().item()


def _outputs_of(model: nn.Module, names: list[str], images: Tensor) -> list[Tensor]:
    """Return what the modules of these names give in the model's own forward pass."""
    seen: dict[str, Tensor] = {}
    handles = [
        model.get_submodule(name).register_forward_hook(
            lambda _m, _i, output, name=name: seen.update({name: output})
        )
        for name in names
    ]
    model(images)
    for handle in handles:
        handle.remove()
    return [seen[name] for name in names]


def _channels_first(output: Tensor, like: Tensor) -> Tensor:
    """Return a stage's output, which may be B×h×w×C, in the order B×C×h×w of another map."""
    if output.shape == like.shape:
        return output
    return output.permute(0, 3, 1, 2)
