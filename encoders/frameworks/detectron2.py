"""Our encoders as Detectron2 backbones, for the official Mask2Former and any other head. Importing this registers them.

In your own ``train_net.py``::

    from encoder_ablations.encoders.frameworks.detectron2 import add_encoder_config, apply_encoder

    add_encoder_config(cfg)  # beside add_maskformer2_config(cfg)
    cfg.merge_from_file(args.config_file)
    apply_encoder(cfg, "clip_b16")  # or the path of a YAML
    cfg.merge_from_list(args.opts)

Two things that the official training script decides by a parameter's name: its ``SOLVER.BACKBONE_MULTIPLIER`` holds for
the neck too, and position embeddings decay like other weights.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from encoder_ablations.encoders.base import STRIDES, Encoder, Normalization
from encoder_ablations.encoders.build import build_encoder, normalization_of
from encoder_ablations.encoders.references import load_encoder
from encoder_ablations.encoders.spec import EncoderSpec
from encoder_ablations.encoders.table import find_row
from encoder_ablations.utils.config import build
from encoder_ablations.utils.errors import InputError, nearest
from encoder_ablations.utils.optional import missing

try:
    from detectron2.config import CfgNode
    from detectron2.layers import ShapeSpec
    from detectron2.modeling.backbone import BACKBONE_REGISTRY, Backbone
except ImportError as error:
    raise missing("detectron2", error) from error

NODE = "MODEL.ENCODER_ABLATIONS"
FIRST = "first_"
ROUNDING = 0.01
"""Means and deviations on the scale 0..255 that differ by less are one number, written with fewer digits."""
MULTI_SCALE_DECODER = "MSDeformAttnPixelDecoder"
FEATURE_KEYS = ("IN_FEATURES", "DEFORMABLE_TRANSFORMER_ENCODER_IN_FEATURES", "PROJECT_FEATURES")
"""Keys of ``MODEL.SEM_SEG_HEAD`` that list levels; the last two exist only with Mask2Former's and DeepLab's configs."""


class EncoderBackbone(Backbone):
    """An :class:`Encoder` behind Detectron2's interface. Detectron2 normalises and pads before calling it."""

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self.encoder = encoder

    @property
    def size_divisibility(self) -> int:
        """Detectron2 pads height and width to multiples of this, so that every level has exactly H/stride rows."""
        return max(level.stride for level in self.encoder.levels)

    def output_shape(self) -> dict[str, ShapeSpec]:
        return {
            level.name: ShapeSpec(channels=level.channels, stride=level.stride)
            for level in self.encoder.levels
        }

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """B×3×H×W, RGB, normalised by PIXEL_MEAN and PIXEL_STD -> {"p2": B×C×H/4×W/4, …, "p5": B×C×H/32×W/32}."""
        return self.encoder(images)


def add_encoder_config(cfg: CfgNode) -> None:
    """Adds ``MODEL.ENCODER_ABLATIONS``: the fields of :class:`EncoderSpec` in capitals, with its defaults.

    FREEZE is the exception: three blocks are ``first_3``, because such a key cannot hold text and numbers in turn.
    """
    if "ENCODER_ABLATIONS" in cfg.MODEL:
        return
    _write_spec(
        cfg,
        {name: field.get_default() for name, field in EncoderSpec.model_fields.items()}
        | {"name": ""},
    )


def apply_encoder(
    cfg: CfgNode, encoder: str | Mapping[str, Any] | EncoderSpec, keep: Sequence[str] = ()
) -> None:
    """Makes an encoder the backbone of a configuration, in place.

    Sets the encoder's node, ``MODEL.BACKBONE.NAME``, ``MODEL.PIXEL_MEAN``, ``MODEL.PIXEL_STD`` and ``INPUT.FORMAT``,
    renames levels in ``MODEL.SEM_SEG_HEAD`` (res2 → p2, …), and empties ``MODEL.WEIGHTS``, which belong to the backbone
    that was there.
    Call it before ``cfg.merge_from_list(options)``; where that has happened already, pass the options as ``keep``.

    Args:
        encoder: a name of the table, the path of a YAML, a timm model, a mapping, or a spec.
        keep: Detectron2's options ``[key, value, key, value, …]`` that go before the encoder's settings.

    Raises:
        InputError: there is no such encoder.
    """
    add_encoder_config(cfg)
    spec = encoder if isinstance(encoder, EncoderSpec) else load_encoder(encoder)
    _write_spec(cfg, spec.model_dump())
    options = list(keep)
    for index in range(1, len(options), 2):
        if options[index - 1] == f"{NODE}.FREEZE":
            options[index] = _freeze_as_text(options[index])
    cfg.merge_from_list(options)
    mean, std = _on_pixel_scale(normalization_of(find_row(spec_from_config(cfg).name)))
    cfg.MODEL.BACKBONE.NAME = build_encoder_ablations_backbone.__name__
    cfg.MODEL.WEIGHTS = ""
    cfg.MODEL.PIXEL_MEAN, cfg.MODEL.PIXEL_STD = mean, std
    cfg.INPUT.FORMAT = "RGB"
    renamed = {f"res{level.removeprefix('p')}": level for level in STRIDES}
    for key in FEATURE_KEYS:
        if key in cfg.MODEL.SEM_SEG_HEAD:
            cfg.MODEL.SEM_SEG_HEAD[key] = [
                renamed.get(name, name) for name in cfg.MODEL.SEM_SEG_HEAD[key]
            ]
    cfg.merge_from_list(options)


def spec_from_config(cfg: CfgNode) -> EncoderSpec:
    """The encoder that a Detectron2 configuration describes.

    Raises:
        InputError: there is no node for it, no name in it, or an impossible value.
    """
    if "ENCODER_ABLATIONS" not in cfg.MODEL:
        raise InputError(
            f"the configuration has no {NODE}. Call add_encoder_config(cfg) before merging files into it."
        )
    content = {key.lower(): value for key, value in cfg.MODEL.ENCODER_ABLATIONS.items()}
    if not content.get("name"):
        raise InputError(f"{NODE}.NAME is empty. Call apply_encoder(cfg, 'clip_b16'), or set it.")
    blocks = str(content.get("freeze")).removeprefix(FIRST)
    if blocks.isdecimal():
        content["freeze"] = int(blocks)
    return build(EncoderSpec, content, NODE)


def check_config(cfg: CfgNode, encoder: Encoder) -> None:
    """Compares what the rest of a configuration says with the encoder.

    Raises:
        InputError: the first key that disagrees, with both values.
    """
    mean, std = _on_pixel_scale(encoder.normalization)
    for key, ours in {"PIXEL_MEAN": mean, "PIXEL_STD": std}.items():
        given = list(cfg.MODEL[key])
        if len(given) != 3 or any(abs(a - b) > ROUNDING for a, b in zip(given, ours, strict=True)):
            raise _disagreement(f"MODEL.{key}", given, [round(value, 3) for value in ours])
    if cfg.INPUT.FORMAT != "RGB":
        raise _disagreement("INPUT.FORMAT", cfg.INPUT.FORMAT, "RGB")
    head, levels = cfg.MODEL.SEM_SEG_HEAD, [level.name for level in encoder.levels]
    keys = FEATURE_KEYS[: 2 if head.get("PIXEL_DECODER_NAME") == MULTI_SCALE_DECODER else 1]
    for key in keys:
        unknown_levels = [name for name in head[key] if name not in levels]
        if unknown_levels or not head[key]:
            hint = nearest(unknown_levels[0], levels) if unknown_levels else ""
            raise _disagreement(f"MODEL.SEM_SEG_HEAD.{key}", head[key], levels, hint)


@BACKBONE_REGISTRY.register()
def build_encoder_ablations_backbone(cfg: CfgNode, input_shape: ShapeSpec) -> EncoderBackbone:
    """The backbone that a configuration describes, checked against the rest of it. What ``MODEL.BACKBONE.NAME`` names.

    Random weights depend on SEED or, where that is -1, on the seed that Detectron2 has drawn. Building leaves PyTorch's
    generator as it was, so the head's weights are the same with every encoder.
    """
    encoder = build_encoder(
        spec_from_config(cfg), cfg.SEED if cfg.SEED >= 0 else torch.initial_seed()
    )
    check_config(cfg, encoder)
    return EncoderBackbone(encoder)


def _write_spec(cfg: CfgNode, fields: Mapping[str, Any]) -> None:
    node = {
        name.upper(): list(value) if isinstance(value, tuple) else value
        for name, value in fields.items()
    }
    cfg.MODEL.ENCODER_ABLATIONS = CfgNode(node | {"FREEZE": _freeze_as_text(fields["freeze"])})


def _freeze_as_text(freeze: str | int) -> str:
    return f"{FIRST}{freeze}" if str(freeze).isdecimal() else str(freeze)


def _on_pixel_scale(normalization: Normalization) -> tuple[list[float], list[float]]:
    """Mean and deviation for RGB 0..255."""
    return [255 * value for value in normalization.mean], [
        255 * value for value in normalization.std
    ]


def _disagreement(key: str, given: object, ours: object, hint: str = "") -> InputError:
    return InputError(
        f"{key} is {given}, the encoder needs {ours}.{hint} "
        "Leave the key out, and call apply_encoder(cfg, …) after merging files."
    )
