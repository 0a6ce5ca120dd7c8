"""Settings of the built-in segmentation heads, and what all settings of heads have in common.

They lie apart from the heads, so that reading a configuration does not import PyTorch.
"""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import ConfigDict, Field, field_validator, model_validator

from encoder_ablations.data.datasets.sample import Task
from encoder_ablations.segmenters.facts import Learning, read_facts
from encoder_ablations.utils.config import Config, at_most
from encoder_ablations.utils.texts import Label

Positive = Annotated[int, Field(ge=1)]
Layers = Annotated[Positive, at_most(256, "every layer has weights of its own in memory")]
Width = Annotated[Positive, at_most(65536, "a layer's weights grow with its width")]
Hidden = Annotated[int, at_most(8192, "every map of both decoders has so many channels")]
Heads = Annotated[Positive, at_most(1024, "every head has an attention map in memory")]
Queries = Annotated[Positive, at_most(10000, "every query has a mask in memory")]
Points = Annotated[Positive, at_most(2**20, "every mask of every query is sampled at each point")]
Rate = Annotated[Positive, at_most(1024, "maps are padded by it on every side")]
ClassId = Annotated[int, Field(ge=0)]
Norm = Literal["batch", "group"]
Grid = Annotated[Positive, at_most(256, "every place of the grid has a position in memory")]
Ratio = Annotated[float, at_most(100, "all candidates are held in memory")]


class ImageHeadSpec(Config):
    """The mean of the body's last map and a linear layer, beside the head that makes masks."""

    weight: float = Field(default=1.0, gt=0)
    """Weight of its cross-entropy in the loss."""


class HeadSpec(Config):
    """Base of every head's own settings. A key that the head does not have is an error."""

    task: ClassVar[Task] = "segmentation"
    in_text_space: ClassVar[bool] = False
    """Whether the head compares patches with texts: the encoder then keeps its way into their
    space, and the head is given features of its ``queries`` by ``take_texts``.
    """
    name: str
    label: Label | None = Field(default=None, exclude_if=lambda label: label is None)
    """Name in reports; needed where a study has two heads of one name (and method)."""
    image_head: ImageHeadSpec | None = Field(default=None, exclude_if=lambda spec: spec is None)
    """A second head, for the class of the whole image (``dataset.image_classes``); null = none."""


class SegmenterSpec(Config):
    """A head and all its settings, as a run keeps them.

    They can be read also where the head is not installed. The name is one that
    :func:`encoder_ablations.segmenters.registry.head_entry` finds. The other keys are those of the
    head's own :class:`HeadSpec`, by which :func:`~.references.load_segmenter` checks them.
    """

    model_config = ConfigDict(extra="allow")

    name: str
    learns: Learning = Field(default="steps", exclude_if=lambda learns: learns == "steps")
    """How a head of one's own learns. It is noted so that it is known where the head is not
    installed; a built-in head is looked up.
    """

    def settings(self) -> dict[str, Any]:
        """Return the head's own settings, by which it is built."""
        return self.model_dump(exclude={"learns"})

    @property
    def learning(self) -> Learning:
        """How the head learns; it is not imported."""
        facts = read_facts().get(self.name)
        if facts is None:
            return self.learns
        return facts.learns

    @property
    def title(self) -> str:
        """Name in reports and run ids: ``label``, or the name and the method, if there is one."""
        extra = self.__pydantic_extra__ or {}
        words = [self.name, extra.get("method")]
        return str(extra.get("label") or " ".join(word for word in words if word))

    @model_validator(mode="before")
    @classmethod
    def _from_own_settings(cls, content: Any) -> Any:
        return content.model_dump(mode="json") if isinstance(content, HeadSpec) else content


class QueriesSpec(HeadSpec):
    """Base of the settings of heads that find classes by texts."""

    vocabulary: str | dict[str, list[str]] | None = None
    """A YAML of lines ``class: [text, text]``, or its content: the texts that stand for each class
    of the dataset. null: the text of a class is its name, with blanks for underscores.
    """
    queries: dict[str, ClassId] | None = Field(default=None, min_length=1)
    """Text → class id. A run fills it in from ``vocabulary`` and the dataset's classes."""


class DenseSpec(HeadSpec):
    """Base of the settings of heads that give logits for every class at every place."""

    loss: dict[str, Any] = Field(default={"cross_entropy": 1.0})
    """Losses whose weighted sum is minimised: name -> weight, or -> a mapping of its settings, see
    the sections "loss NAME". A loss of your own is named by ``package.module:Class``.
    """

    @field_validator("loss", mode="before")
    @classmethod
    def _with_weights(cls, given: Any) -> Any:
        if isinstance(given, str):
            raise ValueError(f"a loss is written with its weight, {{{given}: 1}}")
        return given


class LinearSpec(DenseSpec):
    """A norm and a 1×1 convolution on the concatenated levels, at the size of the first."""

    norm: Norm = Field(default="batch", exclude_if=lambda norm: norm == "batch")
    """The norm: "batch" (over the images of a micro-batch) or "group" (each image by itself)."""


class ClassifierSpec(DenseSpec):
    """Global average pooling, BatchNorm without weights and a linear layer, for whole images.

    With a frozen body this is linear probing as in MAE (He et al., CVPR 2022).
    """

    task: ClassVar[Task] = "classification"
    pooled: Literal["last", "all"] = "last"
    """Maps whose means are read: the "last" one, or "all", concatenated."""
    normalize: bool = True
    """BatchNorm without weights before the linear layer, as in MAE; it needs two images or more."""


class SetLossSettings(HeadSpec):
    """Settings of heads whose queries are matched with segments, by default Mask2Former's."""

    queries: Queries = 100
    """Number of object queries."""
    points: Points = 12544
    """Points sampled for each mask's loss."""
    oversample_ratio: Ratio = Field(default=3.0, ge=1)
    """Candidates drawn per point; the most uncertain candidates are kept."""
    importance_ratio: float = Field(default=0.75, ge=0, le=1)
    """Share of the points that are the most uncertain candidates; the others are uniform."""
    class_weight: float = Field(default=2.0, ge=0)
    """Weight of the classification in the loss."""
    mask_weight: float = Field(default=5.0, ge=0)
    """Weight of the masks' cross-entropy in the loss."""
    dice_weight: float = Field(default=5.0, ge=0)
    """Weight of the masks' dice loss in the loss."""
    no_object_weight: float = Field(default=0.1, ge=0, le=1)
    """Weight of the class "no object" within the classification."""


class Mask2FormerSettings(SetLossSettings):
    """Settings of both implementations of Mask2Former, by default the official ADE20K-150 ones."""

    hidden: Hidden = Field(default=256, ge=32, multiple_of=32)
    """Width of the pixel and transformer decoders."""
    heads: Heads = 8
    """Attention heads of both decoders."""
    encoder_layers: Layers = 6
    """The pixel decoder's deformable-attention layers."""
    decoder_layers: Layers = 9
    """Masked-attention layers. The official configuration's DEC_LAYERS is one more: it counts the
    prediction before the first layer.
    """
    decoder_feedforward: Width = 2048
    """Inner width of the masked-attention layers."""


class Mask2FormerSpec(Mask2FormerSettings):
    """Mask2Former (Cheng et al., CVPR 2022) as shipped in transformers."""

    encoder_feedforward: Width = 1024
    """Inner width of the pixel decoder's layers (officially always 1024)."""
    ignored_pixels: Literal["excluded", "negative"] = "excluded"
    """Pixels without a label are "excluded" from the mask loss (exact), or "negative": part of no
    mask, as officially.
    """


class OfficialMask2FormerSpec(Mask2FormerSettings):
    """Mask2Former from its official repository, unmodified.

    It needs Detectron2 and a clone on PYTHONPATH. Ignored pixels are part of no mask in its loss,
    and the pixel decoder's inner width is 1024.
    """


class EomtSpec(SetLossSettings):
    """EoMT (Kerssies et al., CVPR 2025): queries among the patches of a ViT's last blocks.

    It reads the body itself, a plain vision transformer; no neck is built.
    """

    blocks: Layers | None = None
    """Last blocks that the queries pass through. null: 3 of 12 blocks, 4 of 24 and 5 of 40, as in
    the paper.
    """
    masked_attention: Literal["annealed", "always", "never"] = "annealed"
    """Whether a query reads only the patches of the mask that it predicts before each of these
    blocks. "annealed": with a probability that falls to 0 during training, block after block, and
    not in prediction, which then needs no masks. "never" learns from the last prediction alone.
    """


class DecoderSpec(DenseSpec):
    """Settings that all convolutional decoders have."""

    norm: Norm = "batch"
    """The norm behind every convolution: "batch" (over the images of a micro-batch) or "group" (32
    groups, or as many as divide both 32 and the channels; each image by itself).
    """
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Share of channels that are dropped before the classifier. With more than 0, accumulation
    drops others than one large batch would.
    """


class UNetSpec(DecoderSpec):
    """The expanding path of U-Net (Ronneberger et al., MICCAI 2015) on p5 to p2."""

    widths: tuple[Width, ...] = Field(default=(256, 128, 64, 32, 16), min_length=3, max_length=5)
    """Channels after each doubling of the size. Three end at stride 4, four at 2, five at 1."""


class UPerNetSpec(DecoderSpec):
    """UPerNet (Xiao et al., ECCV 2018): pyramid pooling, an FPN, all levels fused."""

    hidden: Width = 256
    """Width of the decoder; 512 in mmsegmentation's configurations."""


class DeepLabV3PlusSpec(DecoderSpec):
    """The decoder of DeepLabV3+ (Chen et al., ECCV 2018) on p5 and p2."""

    hidden: Width = 256
    """Width of the decoder."""
    rates: tuple[Rate, Rate, Rate] = (3, 6, 9)
    """Dilation of the atrous convolutions, in steps of p5 (32 pixels). The default reaches as far
    in the image as the paper's 6, 12, 18 at stride 16.
    """


class SegFormerSpec(DecoderSpec):
    """The all-MLP decoder of SegFormer (Xie et al., NeurIPS 2021)."""

    hidden: Width = 256
    """Width of the decoder: 256 in SegFormer-B0 and B1, 768 in the larger ones."""


class FPNSpec(DecoderSpec):
    """A feature pyramid with the semantic branch of Panoptic FPN (Kirillov et al., CVPR 2019)."""

    norm: Norm = "group"
    """The norm of the branch: "group" (as in the paper) or "batch"."""
    hidden: Width = 256
    """Channels of the feature pyramid."""
    branch_hidden: Width = 128
    """Width of the semantic branch."""


class ConvTransposeSpec(DecoderSpec):
    """Three transposed convolutions on the last map of a vision transformer."""


class UNetPlainSpec(DecoderSpec):
    """The expanding path of a plain U-Net, as wide as the encoder's maps."""

    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Share of channels that are dropped after every step."""
