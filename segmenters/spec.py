"""Which segmentation head, and its settings: one YAML in ``configs/segmenters``."""

from typing import Annotated, Literal

from pydantic import Field

from encoder_ablations.utils.config import Config

Positive = Annotated[int, Field(ge=1)]


class LinearSpec(Config):
    """BatchNorm and a 1×1 convolution on the encoder's levels, brought to the size of the first and concatenated."""

    name: Literal["linear"]


class Mask2FormerSettings(Config):
    """What both implementations of Mask2Former have in common; defaults are the official ADE20K-150 ones."""

    queries: Positive = 100
    """Number of object queries."""
    hidden: int = Field(default=256, ge=32, multiple_of=32)
    """Width of the pixel and transformer decoders."""
    heads: Positive = 8
    """Attention heads of both decoders."""
    encoder_layers: Positive = 6
    """The pixel decoder's deformable-attention layers."""
    decoder_layers: Positive = 9
    """Masked-attention layers. The official configuration's DEC_LAYERS is one more: it counts the
    prediction before the first layer.
    """
    decoder_feedforward: Positive = 2048
    """Inner width of the masked-attention layers."""
    points: Positive = 12544
    """Points sampled for each mask's loss."""
    oversample_ratio: float = Field(default=3.0, ge=1)
    """So many times more points are drawn at first, of which the most uncertain ones are kept."""
    importance_ratio: float = Field(default=0.75, ge=0, le=1)
    """Share of the points that is chosen so; the rest is drawn uniformly."""
    class_weight: float = Field(default=2.0, ge=0)
    """Weight of the classification in the set loss."""
    mask_weight: float = Field(default=5.0, ge=0)
    """Weight of the masks' cross-entropy in the set loss."""
    dice_weight: float = Field(default=5.0, ge=0)
    """Weight of the masks' dice loss in the set loss."""
    no_object_weight: float = Field(default=0.1, ge=0, le=1)
    """Weight of the class "no object" within the classification."""


class Mask2FormerSpec(Mask2FormerSettings):
    """Mask2Former (Cheng et al., CVPR 2022) as shipped in transformers."""

    name: Literal["mask2former"]
    encoder_feedforward: Positive = 1024
    """Inner width of the pixel decoder's layers (officially always 1024)."""
    ignored_pixels: Literal["excluded", "negative"] = "excluded"
    """Pixels without a label are "excluded" from the mask loss (exact), or "negative": part of no
    mask, as officially.
    """


class OfficialMask2FormerSpec(Mask2FormerSettings):
    """Mask2Former from its official repository, unmodified; needs Detectron2 and a clone on PYTHONPATH.

    Ignored pixels are part of no mask in its loss, and the pixel decoder's inner width is 1024.
    """

    name: Literal["mask2former_official"]


SegmenterSpec = Annotated[
    LinearSpec | Mask2FormerSpec | OfficialMask2FormerSpec, Field(discriminator="name")
]
