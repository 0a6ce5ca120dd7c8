"""An :class:`EncoderSpec` to an :class:`Encoder`."""

from typing import Any

import timm
from torch import nn

from encoder_ablations.encoders.base import Body, Encoder, Normalization
from encoder_ablations.encoders.bodies.darknet import IMAGENET, DarkNetBody
from encoder_ablations.encoders.bodies.positions import TIMM
from encoder_ablations.encoders.bodies.taps import DEFAULT_TAPS, tap_indices
from encoder_ablations.encoders.bodies.vit import ViTBody
from encoder_ablations.encoders.freezing import freeze
from encoder_ablations.encoders.pyramids.fpn import AdditiveFPN, ConcatFPN
from encoder_ablations.encoders.pyramids.necks import BareTaps, SimpleFeaturePyramid, TapPyramid
from encoder_ablations.encoders.spec import EncoderSpec
from encoder_ablations.encoders.table import DarkNetRow, ViTRow, find_row, source_of
from encoder_ablations.encoders.weights.loading import download_weights, load_weights
from encoder_ablations.utils.errors import InputError
from encoder_ablations.utils.seeding import torch_stream

REGULAR_PATCH = 16
NECKS = {
    ViTRow: ("tap_pyramid", "simple_feature_pyramid", "none"),
    DarkNetRow: ("fpn_additive", "fpn_concat", "none"),
}


def build_encoder(spec: EncoderSpec, seed: int = 0) -> Encoder:
    """Builds and loads an encoder. Body and neck draw their random weights from two streams of ``seed``.

    Raises:
        InputError: an unknown name, a setting that this encoder does not have, weights that do not fit or cannot be
            downloaded, or a stated fact (patch size, mean, …) that is not the model's.
    """
    row = find_row(spec.name)
    neck_name = _check(spec, row)
    with torch_stream(seed, "encoder", "body"):
        body = (
            _vit_body(spec, row, neck_name) if isinstance(row, ViTRow) else _darknet_body(spec, row)
        )
    check_stated_facts(spec, body)
    with torch_stream(seed, "encoder", "neck"):
        neck = _build_neck(spec, neck_name, body)
    encoder = Encoder(body, neck, None if neck_name == "none" else spec.channels)
    freeze(encoder, spec.freeze)
    return encoder


def _check(spec: EncoderSpec, row: ViTRow | DarkNetRow) -> str:
    """The name of the neck, after checking that every setting means something for this kind of encoder."""
    allowed = NECKS[type(row)]
    neck = spec.neck or allowed[0]
    if neck not in allowed:
        raise InputError(
            f"encoder {spec.name}: neck '{neck}' does not fit. Allowed: {', '.join(allowed)}."
        )
    if spec.top_down and neck != "tap_pyramid":
        raise InputError(
            f"encoder {spec.name}: top_down belongs to the neck tap_pyramid, not to {neck}. Remove it."
        )
    if neck == "none" and spec.channels != EncoderSpec.model_fields["channels"].default:
        raise InputError(
            f"encoder {spec.name}: channels belongs to a neck, and neck is none. Remove it."
        )
    if neck != "none" and spec.taps is not None and len(spec.taps) != len(DEFAULT_TAPS):
        raise InputError(
            f"encoder {spec.name}: {neck} needs {len(DEFAULT_TAPS)} taps, {len(spec.taps)} are given."
        )
    if isinstance(row, DarkNetRow):
        given = {
            "taps": spec.taps,
            "final_norm": spec.final_norm,
            "grid": None if spec.grid == "native" else spec.grid,
        }
        for key, value in given.items():
            if value is not None:
                raise InputError(
                    f"encoder {spec.name}: {key} applies to vision transformers only. Remove it."
                )
    return neck


def _vit_body(spec: EncoderSpec, row: ViTRow, neck: str) -> ViTBody:
    source = source_of(row)
    options: dict[str, Any] = {
        "dynamic_img_size": row.position_rule == TIMM,
        "dynamic_img_pad": True,
    }
    shape: Any = timm.create_model(row.model, pretrained=False, num_classes=0, device="meta")
    patch: int = shape.patch_embed.patch_size[0]
    input_scale = 1.0
    if spec.grid != "native":
        if patch != 14:
            raise InputError(
                f"encoder {spec.name} has patch {patch}: grid is for patch 14. Allowed here: native."
            )
        if spec.grid == "rescaled_input":
            input_scale = patch / REGULAR_PATCH
        else:
            size = (
                source.input_size[-1] // patch * REGULAR_PATCH
            )  # keeps the grid of the position embeddings
            options |= {"patch_size": REGULAR_PATCH, "img_size": size}
    model = _timm_model(row, spec.weights, options)
    if row.position_rule != TIMM:
        model.patch_embed.strict_img_size = (
            False  # the position embedding is brought to the grid by the body
        )
    fractions = spec.taps or DEFAULT_TAPS
    taps = tap_indices(fractions, len(model.blocks))
    return ViTBody(
        model,
        taps=taps[-1:] if neck == "simple_feature_pyramid" else taps,
        final_norm=spec.final_norm is not False,
        normalization=normalization_of(row),
        input_scale=input_scale,
        position_rule=row.position_rule,
    )


def normalization_of(row: ViTRow | DarkNetRow) -> Normalization:
    """What the weights of a row expect, known without building it."""
    if isinstance(row, DarkNetRow):
        return IMAGENET
    source = source_of(row)
    (red, green, blue), (red_std, green_std, blue_std) = source.mean, source.std
    return Normalization((red, green, blue), (red_std, green_std, blue_std))


def _timm_model(row: ViTRow, weights: str, options: dict[str, Any]) -> Any:
    if row.activation:
        options = {**options, "act_layer": row.activation}
    model = timm.create_model(row.model, pretrained=False, num_classes=0, global_pool="", **options)
    if weights != "random":
        load_weights(model, download_weights(row.model) if weights == "pretrained" else weights)
    return model


def _darknet_body(spec: EncoderSpec, row: DarkNetRow) -> DarkNetBody:
    body = DarkNetBody(row.blocks, row.stem, row.negative_slope)
    if spec.weights == "pretrained" and row.model is None:
        raise InputError(
            f"encoder {spec.name} has no pretrained weights. Use weights: random, a local file, "
            "or the encoder darknet53_in1k."
        )
    if spec.weights != "random":
        load_weights(
            body, download_weights(str(row.model)) if spec.weights == "pretrained" else spec.weights
        )
    return body


def check_stated_facts(spec: EncoderSpec, body: Body) -> None:
    """Compares what a YAML states about a model with the model itself.

    Raises:
        InputError: the first fact that differs, with both values.
    """
    facts: dict[str, object] = {
        "mean": body.normalization.mean,
        "std": body.normalization.std,
        "width": body.widths[-1],
        "depth": body.max_depth - 1,
    }
    if isinstance(body, ViTBody):
        facts |= {"patch_size": body.patch, "prefix_tokens": body.prefix_tokens}
    for key in ("patch_size", "width", "depth", "prefix_tokens", "mean", "std"):
        stated = getattr(spec, key)
        if stated is not None and stated != facts.get(key):
            raise InputError(
                f"encoder {spec.name}: {key} is stated as {stated}, the model has {facts.get(key)}. "
                f"Remove the line or correct it."
            )


def _build_neck(spec: EncoderSpec, name: str, body: Body) -> nn.Module:
    if name == "tap_pyramid":
        return TapPyramid(body.widths, body.reductions, spec.channels, spec.top_down)
    if name == "none":
        return BareTaps()
    if name == "simple_feature_pyramid":
        return SimpleFeaturePyramid(body.widths[-1], body.reductions[-1], spec.channels)
    return (AdditiveFPN if name == "fpn_additive" else ConcatFPN)(body.widths, spec.channels)
