"""From an :class:`EncoderSpec` to an :class:`Encoder`."""

import timm
from torch import nn

from encoder_ablations.encoders.adaptation import add_adapters
from encoder_ablations.encoders.base import Body, Encoder, Normalization
from encoder_ablations.encoders.batch_norm import statistics_of
from encoder_ablations.encoders.bodies.darknet import IMAGENET, DarkNetBody
from encoder_ablations.encoders.bodies.hierarchical import HierarchicalBody
from encoder_ablations.encoders.bodies.stages import prune, stage_maps
from encoder_ablations.encoders.bodies.taps import DEFAULT_TAPS
from encoder_ablations.encoders.bodies.unet import UNetBody
from encoder_ablations.encoders.bodies.vit import ViTBody
from encoder_ablations.encoders.custom_encoder import fit_to_neck, make_custom_body, necks_of
from encoder_ablations.encoders.freezing import freeze, has_running_statistics
from encoder_ablations.encoders.pyramids.fpn import AdditiveFPN, ConcatFPN
from encoder_ablations.encoders.pyramids.necks import BareTaps, SimpleFeaturePyramid, TapPyramid
from encoder_ablations.encoders.spec import EncoderSpec
from encoder_ablations.encoders.table.lookup import find_row
from encoder_ablations.encoders.table.rows import (
    CustomRow,
    DarkNetRow,
    EncoderRow,
    HierarchicalRow,
    UNetRow,
    ViTRow,
    source_of,
)
from encoder_ablations.encoders.table.text_space import no_text_space
from encoder_ablations.encoders.vit_encoder import make_vit_body
from encoder_ablations.encoders.weights.loading import load_weights
from encoder_ablations.encoders.weights.sources import find_weights
from encoder_ablations.utils.errors import InputError
from encoder_ablations.utils.seeding import torch_stream

NECKS = {
    ViTRow: ("tap_pyramid", "simple_feature_pyramid", "none"),
    DarkNetRow: ("fpn_additive", "fpn_concat", "none"),
    UNetRow: ("none",),
    HierarchicalRow: ("fpn_additive", "fpn_concat", "none"),
}
"""Necks of each kind of encoder; the first one is the default."""
VIT_SETTINGS = ("taps", "final_norm", "grid")
"""Settings that vision transformers alone have."""


def build_encoder(spec: EncoderSpec, seed: int = 0, text: bool = False) -> Encoder:
    """Build an encoder and load its weights.

    Body, neck and adapters draw their random weights from three streams of ``seed``.

    Args:
        spec: the settings.
        seed: of all random weights.
        text: whether a head compares the body's features with texts. The body then holds what leads
            into their space, see :meth:`.blocks.Blocks.in_text_space`. Its weights are in the same
            checkpoint. Otherwise the body is built without it.

    Raises:
        InputError: an unknown name, a setting that this encoder does not have, weights that do not
            fit or cannot be downloaded, a stated fact (patch size, mean, …) that is not the
            model's, or ``text`` for an encoder that was not trained with texts.
    """
    row = find_row(spec.name)
    with torch_stream(seed, "encoder", "body"):
        body, neck_name = _body_and_neck(spec, row, text)
    check_stated_facts(spec, body)
    with torch_stream(seed, "encoder", "neck"):
        neck = _build_neck(spec, neck_name, body)
    encoder = Encoder(body, neck, None if neck_name == "none" else spec.channels)
    freeze(encoder, spec.freeze)
    add_adapters(encoder, spec, seed)
    encoder.batch_norm = statistics_of(spec, has_running_statistics(body))
    return encoder


def _body_and_neck(spec: EncoderSpec, row: EncoderRow, text: bool) -> tuple[Body, str]:
    """Return the body with its weights, and the name of its neck."""
    if text and not isinstance(row, ViTRow | CustomRow):
        raise no_text_space(spec.name)
    if isinstance(row, CustomRow):
        # its maps decide which necks fit
        body = make_custom_body(spec)
        if text and body.as_blocks().text_width is None:
            raise no_text_space(spec.name)
        neck = _neck_name(spec, necks_of(body))
        _check_settings(spec, row, neck)
        fit_to_neck(body, neck)
        return body, neck
    neck = _neck_name(spec, NECKS[type(row)])
    _check_settings(spec, row, neck)
    return _build_body(spec, row, neck, text), neck


def _neck_name(spec: EncoderSpec, allowed: tuple[str, ...]) -> str:
    """Return the neck, by default the first one that is allowed."""
    neck = spec.neck or allowed[0]
    if neck not in allowed:
        raise InputError(
            f"encoder {spec.name}: neck '{neck}' does not fit. Allowed: {', '.join(allowed)}."
        )
    return neck


def _check_settings(spec: EncoderSpec, row: EncoderRow, neck: str) -> None:
    """Check that every setting has a meaning for this kind of encoder.

    Raises:
        InputError: the first one without a meaning.
    """
    changed = _changed_settings(spec)
    where = f"encoder {spec.name}:"
    if "top_down" in changed and neck != "tap_pyramid":
        raise InputError(
            f"{where} top_down belongs to the neck tap_pyramid, not to {neck}. Remove it."
        )
    if "channels" in changed and neck == "none":
        raise InputError(f"{where} channels belongs to a neck, and neck is none. Remove it.")
    taps = len(spec.taps or DEFAULT_TAPS)
    if neck != "none" and taps != len(DEFAULT_TAPS):
        raise InputError(f"{where} {neck} needs {len(DEFAULT_TAPS)} taps, {taps} are given.")
    _check_kind(changed, row, where)


def _check_kind(changed: set[str], row: EncoderRow, where: str) -> None:
    """Check that no changed setting belongs to another kind of encoder.

    Raises:
        InputError: the first that does.
    """
    unusable = [key for key in VIT_SETTINGS if key in changed]
    if not isinstance(row, ViTRow) and unusable:
        raise InputError(
            f"{where} {unusable[0]} applies to timm's vision transformers only. Remove it."
        )
    if not isinstance(row, CustomRow) and "settings" in changed:
        raise InputError(
            f"{where} settings are those of an encoder of your own (package.module:function). "
            "Remove them."
        )


def _changed_settings(spec: EncoderSpec) -> set[str]:
    """Return the settings that differ from their defaults."""
    fields = EncoderSpec.model_fields
    return {key for key, field in fields.items() if getattr(spec, key) != field.default}


def _build_body(
    spec: EncoderSpec,
    row: ViTRow | DarkNetRow | UNetRow | HierarchicalRow,
    neck: str,
    text: bool,
) -> Body:
    if isinstance(row, DarkNetRow | UNetRow):
        return _native_body(spec, row)
    if isinstance(row, HierarchicalRow):
        return _hierarchical_body(spec, row)
    vit = make_vit_body(spec, row, neck, normalization_of(row), text)
    vit.loaded = _load(vit.model, spec.weights, row.model, readout=text)
    return vit


def normalization_of(row: EncoderRow) -> Normalization:
    """Return the normalisation that the weights of a row expect, without building it."""
    if isinstance(row, DarkNetRow | UNetRow):
        return IMAGENET
    if isinstance(row, CustomRow):
        raise InputError(
            f"encoder '{row.name}' is code of your own, which Detectron2's configuration cannot "
            "name. Use ablate run or ablate train."
        )
    source = source_of(row)
    (red, green, blue), (red_std, green_std, blue_std) = source.mean, source.std
    return Normalization((red, green, blue), (red_std, green_std, blue_std))


def _load(
    model: nn.Module, weights: str, name: str, readout: bool = False
) -> dict[str, str] | None:
    """Load the weights that a specification asks for; "random" ones are there already.

    Args:
        model: what they are loaded into.
        weights: "pretrained", "random", or a path.
        name: timm's name of the pretrained ones.
        readout: whether the model has what leads into the space of texts.

    Returns:
        ``Body.loaded``.
    """
    file = find_weights(weights, name)
    if file is None:
        return None
    load_weights(model, file.path, readout)
    return file.facts()


def _hierarchical_body(spec: EncoderSpec, row: HierarchicalRow) -> HierarchicalBody:
    normalization = normalization_of(row)
    architecture = row.model.partition(".")[0]
    maps = stage_maps(architecture)
    model: nn.Module = timm.create_model(
        architecture, pretrained=False, num_classes=0, **maps.options
    )
    loaded = _load(model, spec.weights, row.model)
    # what no map reads is removed after loading: a file holds it
    prune(model, maps.indices)
    body = HierarchicalBody(model, maps, normalization)
    body.loaded = loaded
    return body


def _native_body(spec: EncoderSpec, row: DarkNetRow | UNetRow) -> Body:
    """Return a body whose code is here, with its weights."""
    body: Body
    if isinstance(row, UNetRow):
        body = UNetBody(row.widths)
    else:
        body = DarkNetBody(row.blocks, row.stem, row.negative_slope)
    if spec.weights == "pretrained" and row.model is None:
        raise InputError(
            f"encoder {spec.name} has no pretrained weights. Use weights: random, a local file, "
            "or the encoder darknet53_in1k."
        )
    body.loaded = _load(body, spec.weights, str(row.model))
    return body


def check_stated_facts(spec: EncoderSpec, body: Body) -> None:
    """Compare the facts that a YAML states about a model with the model itself.

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
        stated, found = getattr(spec, key), facts.get(key)
        if stated not in (None, found):
            raise InputError(
                f"encoder {spec.name}: {key} is stated as {stated}, the model has {found}. "
                "Remove the line or correct it."
            )


def _build_neck(spec: EncoderSpec, name: str, body: Body) -> nn.Module:
    widths, reductions, channels = body.widths, body.reductions, spec.channels
    match name:
        case "tap_pyramid":
            return TapPyramid(widths, reductions, channels, spec.top_down)
        case "simple_feature_pyramid":
            return SimpleFeaturePyramid(widths[-1], reductions[-1], channels)
        case "fpn_additive":
            return AdditiveFPN(widths, channels)
        case "fpn_concat":
            return ConcatFPN(widths, channels)
    return BareTaps()
