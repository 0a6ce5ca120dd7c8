"""Our encoders as Detectron2 backbones, for the official Mask2Former and any other head.

Importing this module registers them.

In your own ``train_net.py``::

    from encoder_ablations.encoders.frameworks.detectron2 import add_encoder_config, apply_encoder

    add_encoder_config(cfg)  # beside add_maskformer2_config(cfg)
    cfg.merge_from_file(args.config_file)
    apply_encoder(cfg, "clip_b16")  # or the path of a YAML
    cfg.merge_from_list(args.opts)

The official training script goes by names of parameters: its ``SOLVER.BACKBONE_MULTIPLIER`` holds
for the neck, too, and position embeddings decay like other weights.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from encoder_ablations.encoders.adaptation import refuse_adapters
from encoder_ablations.encoders.base import STRIDES, Encoder, Level, Normalization
from encoder_ablations.encoders.build import build_encoder, normalization_of
from encoder_ablations.encoders.freezing import freeze_unread
from encoder_ablations.encoders.references import load_encoder
from encoder_ablations.encoders.spec import EncoderSpec
from encoder_ablations.encoders.table.lookup import find_row
from encoder_ablations.utils.config import build
from encoder_ablations.utils.errors import InputError, nearest
from encoder_ablations.utils.optional import missing
from encoder_ablations.utils.seeding import torch_stream

try:
    from detectron2.config import CfgNode
    from detectron2.layers import ShapeSpec
    from detectron2.modeling.backbone import BACKBONE_REGISTRY, Backbone

    from encoder_ablations.encoders.frameworks.detectron2_levels import (
        EXTRA_STRIDES,
        NODE,
        levels_allowed,
        levels_read,
        readers,
        top_block,
    )
except ImportError as error:
    raise missing("detectron2", error) from error

FIRST = "first_"
ROUNDING = 0.01
"""Means and deviations on the scale 0..255 may differ by this much: files round them."""
MULTI_SCALE_DECODER = "MSDeformAttnPixelDecoder"
FEATURE_KEYS = ("IN_FEATURES", "DEFORMABLE_TRANSFORMER_ENCODER_IN_FEATURES", "PROJECT_FEATURES")
"""Keys of ``MODEL.SEM_SEG_HEAD`` that list levels.

The last two exist only with Mask2Former's and DeepLab's configurations.
"""


class EncoderBackbone(Backbone):
    """An :class:`Encoder` behind Detectron2's interface.

    Detectron2 normalises and pads the images before it calls it.
    """

    def __init__(
        self, encoder: Encoder, levels: Sequence[str] | None = None, seed: int = 0
    ) -> None:
        """Put an encoder behind the interface.

        Args:
            encoder: gives p2..p5. What the levels do not depend on learns no more.
            levels: which of p2..p7 are given out; None = the encoder's.
            seed: of the weights of p6 and p7.
        """
        super().__init__()
        self.encoder = encoder
        given = {level.name: level for level in encoder.levels}
        self.levels = list(given if levels is None else levels)
        self.top_block: nn.Module | None = None
        if levels is None:
            return
        channels = encoder.levels[-1].channels
        with torch_stream(seed, "encoder", "top"):
            self.top_block = top_block(levels, channels)
        read = set(levels) & set(given)
        if self.top_block is not None:
            read.add("p5")
        freeze_unread(encoder, read)

    @property
    def size_divisibility(self) -> int:
        """The number to whose multiples Detectron2 pads height and width.

        Every level then has exactly H/stride rows.
        """
        return self.encoder.divisibility

    def output_shape(self) -> dict[str, ShapeSpec]:
        """Return channels and stride of every level."""
        known = {level.name: level for level in self.encoder.levels}
        channels = self.encoder.levels[-1].channels
        known |= {name: Level(name, channels, stride) for name, stride in EXTRA_STRIDES.items()}
        return {
            name: ShapeSpec(channels=known[name].channels, stride=known[name].stride)
            for name in self.levels
        }

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Return {"p2": B×C×H/4×W/4, …, "p5": B×C×H/32×W/32}, and p6, p7 if they are asked for.

        Args:
            images: B×3×H×W, RGB, normalised by PIXEL_MEAN and PIXEL_STD.
        """
        found: dict[str, Tensor] = self.encoder(images)
        if self.top_block is not None:
            found |= dict(zip(EXTRA_STRIDES, self.top_block(found["p5"]), strict=False))
        return {name: found[name] for name in self.levels}


def add_encoder_config(cfg: CfgNode) -> None:
    """Add ``MODEL.ENCODER_ABLATIONS``: the fields of :class:`EncoderSpec` in capitals.

    They have its defaults. FREEZE is written differently: three blocks are ``first_3``, because
    such a key cannot hold text at one time and a number at another. OUT_FEATURES lists the levels
    that are given out (p2..p7); empty = those that the heads read.
    """
    if "ENCODER_ABLATIONS" not in cfg.MODEL:
        fields = EncoderSpec.model_fields
        defaults = {name: field.get_default() for name, field in fields.items()}
        defaults.pop("adapt")  # its encoders are refused here
        _write_spec(cfg, defaults | {"name": ""})


def apply_encoder(
    cfg: CfgNode, encoder: str | Mapping[str, Any] | EncoderSpec, keep: Sequence[str] = ()
) -> None:
    """Make an encoder the backbone of a configuration, in place.

    It sets the encoder's node, ``MODEL.BACKBONE.NAME``, ``MODEL.PIXEL_MEAN``, ``MODEL.PIXEL_STD``
    and ``INPUT.FORMAT``, and renames levels in the nodes of the heads (res2 → p2, …). It empties
    ``MODEL.WEIGHTS``, which belong to the former backbone. Call it before
    ``cfg.merge_from_list(options)``; where that has happened already, pass the options as ``keep``.

    Args:
        cfg: the configuration.
        encoder: a name of the table, the path of a YAML, a timm model, a mapping, or a spec.
        keep: Detectron2's options ``[key, value, key, value, …]``, which win over the encoder's
            settings.

    Raises:
        InputError: there is no such encoder, or it has adapters.
    """
    add_encoder_config(cfg)
    spec = encoder if isinstance(encoder, EncoderSpec) else load_encoder(encoder)
    refuse_adapters(spec, "Detectron2")
    _write_spec(cfg, spec.model_dump())
    options = _with_freeze_as_text(keep)
    # merged twice: the node's options decide which encoder it is, and the others win in the end
    cfg.merge_from_list(options)
    mean, std = _on_pixel_scale(normalization_of(find_row(spec_from_config(cfg).name)))
    cfg.MODEL.BACKBONE.NAME = build_encoder_ablations_backbone.__name__
    cfg.MODEL.WEIGHTS = ""
    cfg.MODEL.PIXEL_MEAN, cfg.MODEL.PIXEL_STD = mean, std
    cfg.INPUT.FORMAT = "RGB"
    renamed = {f"res{level.removeprefix('p')}": level for level in STRIDES}
    for node in ("SEM_SEG_HEAD", "RPN", "ROI_HEADS", "RETINANET"):
        head = cfg.MODEL[node]
        for key in head.keys() & set(FEATURE_KEYS):
            head[key] = [renamed.get(name, name) for name in head[key]]
    cfg.merge_from_list(options)


def _with_freeze_as_text(options: Sequence[Any]) -> list[Any]:
    """Return options ``[key, value, …]`` in which a number of frozen blocks is ``first_N``."""
    keys = options[::2]
    result = list(options)
    for position, key in enumerate(keys):
        if key == f"{NODE}.FREEZE":
            result[2 * position + 1] = _freeze_as_text(result[2 * position + 1])
    return result


def spec_from_config(cfg: CfgNode) -> EncoderSpec:
    """Return the encoder that a Detectron2 configuration describes.

    Raises:
        InputError: its node is missing, has no name, or holds an impossible value.
    """
    if "ENCODER_ABLATIONS" not in cfg.MODEL:
        raise InputError(
            f"the configuration has no {NODE}. "
            "Call add_encoder_config(cfg) before merging files into it."
        )
    content = {key.lower(): value for key, value in cfg.MODEL.ENCODER_ABLATIONS.items()}
    content.pop("out_features", None)
    if not content.get("name"):
        raise InputError(f"{NODE}.NAME is empty. Call apply_encoder(cfg, 'clip_b16'), or set it.")
    blocks = str(content.get("freeze")).removeprefix(FIRST)
    if blocks.isdecimal():
        content["freeze"] = int(blocks)
    return build(EncoderSpec, content, NODE)


def check_config(cfg: CfgNode, encoder: Encoder) -> None:
    """Compare the rest of a configuration with the encoder.

    Raises:
        InputError: the first key that disagrees, with both values.
    """
    if encoder.batch_norm == "estimate":
        raise InputError(
            "a frozen body with random weights needs BatchNorm statistics that are estimated on "
            f"training images, which Detectron2's loop cannot do. Set {NODE}.BATCH_NORM to keep "
            "(mean 0, variance 1) or FREEZE to none, or use ablate train."
        )
    mean, std = _on_pixel_scale(encoder.normalization)
    for key, ours in {"PIXEL_MEAN": mean, "PIXEL_STD": std}.items():
        given = list(cfg.MODEL[key])
        if len(given) != 3 or not np.allclose(given, ours, rtol=0, atol=ROUNDING):
            raise _disagreement(f"MODEL.{key}", given, [round(value, 3) for value in ours])
    if cfg.INPUT.FORMAT != "RGB":
        raise _disagreement("INPUT.FORMAT", cfg.INPUT.FORMAT, "RGB")
    levels = [level.name for level in encoder.levels]
    if "p5" in levels:
        levels = levels_allowed(cfg)
    for node in readers(cfg):
        _check_levels(node, cfg.MODEL[node], levels)


def _check_levels(node: str, head: CfgNode, levels: list[str]) -> None:
    """Check that a head reads levels which the backbone gives out."""
    keys = list(FEATURE_KEYS[:1])
    if head.get("PIXEL_DECODER_NAME") == MULTI_SCALE_DECODER:
        keys = list(FEATURE_KEYS[:2])
    for key in keys:
        missing_levels = [name for name in head[key] if name not in levels]
        hint = "".join(nearest(name, levels) for name in missing_levels[:1])
        if missing_levels or not head[key]:
            raise _disagreement(f"MODEL.{node}.{key}", head[key], levels, hint)


@BACKBONE_REGISTRY.register()
def build_encoder_ablations_backbone(cfg: CfgNode, input_shape: ShapeSpec) -> EncoderBackbone:
    """Return the backbone that a configuration describes.

    ``MODEL.BACKBONE.NAME`` names this function. The rest of the configuration is checked. Random
    weights depend on SEED or, where that is -1, on the seed that Detectron2 has drawn. Building
    leaves PyTorch's generator as it was, so the head's weights are the same with every encoder.
    """
    seed = cfg.SEED
    if seed < 0:
        seed = torch.initial_seed()
    encoder = build_encoder(spec_from_config(cfg), seed)
    check_config(cfg, encoder)
    levels = None
    if [level.name for level in encoder.levels] == list(STRIDES):
        levels = levels_read(cfg)
    return EncoderBackbone(encoder, levels, seed)


def _write_spec(cfg: CfgNode, fields: Mapping[str, Any]) -> None:
    """Write the fields of a specification into the encoder's node; tuples become lists."""
    node = {name.upper(): value for name, value in fields.items()}
    node |= {name: list(value) for name, value in node.items() if isinstance(value, tuple)}
    node["FREEZE"] = _freeze_as_text(fields["freeze"])
    before = cfg.MODEL.get("ENCODER_ABLATIONS", {})
    node["OUT_FEATURES"] = list(before.get("OUT_FEATURES", []))
    cfg.MODEL.ENCODER_ABLATIONS = CfgNode(node)


def _freeze_as_text(freeze: str | int) -> str:
    text = str(freeze)
    return FIRST + text if text.isdecimal() else text


def _on_pixel_scale(normalization: Normalization) -> tuple[list[float], list[float]]:
    """Return mean and deviation for RGB 0..255."""
    mean = [255 * value for value in normalization.mean]
    std = [255 * value for value in normalization.std]
    return mean, std


def _disagreement(key: str, given: object, ours: object, hint: str = "") -> InputError:
    return InputError(
        f"{key} is {given}, the encoder needs {ours}.{hint} "
        "Leave the key out, and call apply_encoder(cfg, …) after merging files."
    )
