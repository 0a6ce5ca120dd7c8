"""The settings of an encoder: a name of the table, and what differs from its row."""

from typing import Annotated, Literal

from pydantic import Field, JsonValue, StringConstraints, model_validator

from encoder_ablations.utils.config import Config, at_most
from encoder_ablations.utils.errors import InputError
from encoder_ablations.utils.texts import Label

Fraction = Annotated[float, Field(gt=0, le=1)]
Channels = Annotated[int, at_most(8192, "every level has a map of each channel in memory")]
Triple = tuple[float, float, float]
Deviation = Annotated[float, Field(gt=0)]
Statistics = Literal["estimate", "learn", "keep"]
Rank = Annotated[int, at_most(1024, "LoRA of a higher rank has as many parameters as the body")]
Pattern = Annotated[str, StringConstraints(min_length=1, max_length=200)]


class LoraSpec(Config):
    """LoRA (Hu et al., ICLR 2022): matrices of low rank that learn beside layers of a fixed body.

    A layer with the weights W computes ``W x + alpha / rank · B A x``. A and B learn, and W does
    not. B starts at 0, so that the encoder starts as it is without adapters. A and B learn at
    ``recipe.optimizer.lr``, as neck and head do. ``encoder_lr_multiplier`` and ``layer_decay`` are
    for the body's own weights. Weight decay applies to A and B.
    """

    rank: Rank = Field(default=8, ge=1)
    """Rows of A and columns of B."""
    alpha: float = Field(default=16.0, gt=0)
    """Scale of the adapters; they are multiplied by alpha / rank."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Share of a layer's inputs that its adapter does not see in a training step."""
    targets: tuple[Pattern, ...] | None = Field(default=None, min_length=1)
    """Names of layers, or ends of names, such as ``qkv`` or ``blocks.1?.mlp.fc1``; ``*`` stands for
    anything. Default: the layers of the attention, or, in a body without attention, all linear
    layers and convolutions behind the stem. Convolutions with groups or dilation have no adapters.
    """
    merge: bool = False
    """Whether FLOPs and latency are those of the encoder with its adapters merged into the body's
    weights, as it would be used after training. Otherwise they are those of the trained form.
    """


class AdaptSpec(Config):
    """What is added to a body whose own weights stay fixed."""

    lora: LoraSpec
    """Adapters of low rank, which need the package peft (``encoder-ablations[lora]``)."""


class EncoderSpec(Config):
    """A row of the encoder table (or another timm model by its name) and how it is used."""

    name: str
    """A name listed by ``ablate encoders``, a timm model name, or ``package.module:function`` for
    an encoder of one's own.
    """
    settings: dict[str, JsonValue] = Field(default={})
    """Keyword arguments of the function that makes an encoder of one's own."""
    weights: str = "pretrained"
    """One of "pretrained" (from the Hugging Face hub, or from an installed package; an encoder of
    one's own loads its own), "random" (the control), a ``.safetensors``/``.pth`` file, or a folder
    in transformers' format.
    """
    neck: (
        Literal["tap_pyramid", "simple_feature_pyramid", "fpn_additive", "fpn_concat", "none"]
        | None
    ) = None
    """How the body's maps become the pyramid; default ``tap_pyramid`` (ViTs), ``none`` (U-Net) or
    ``fpn_additive`` (all others). ``none`` gives the maps themselves: nothing but the head is then
    trained from scratch. Heads that read a pyramid then need a model with maps at strides 4, 8, 16,
    32.
    """
    channels: Channels = Field(default=256, ge=32, multiple_of=32)
    """Channels of every pyramid level."""
    taps: tuple[Fraction, ...] | None = Field(default=None, min_length=1, max_length=4)
    """Depth fractions of the four blocks that are read out (ViTs; default 1/4, 1/2, 3/4, 1); one to
    four blocks with ``neck: none``.
    """
    final_norm: bool | None = None
    """Whether the ViT's final norm is applied to every tap (default) or to none."""
    grid: Literal["native", "resampled_patch", "rescaled_input"] = "native"
    """For patch-14 models only: "native", "resampled_patch" (patch kernel resampled to 16) or
    "rescaled_input" (image rescaled by 14/16); the last two give the token grid of a patch-16
    model.
    """
    top_down: bool = False
    """For ``tap_pyramid`` only: add every level's coarser neighbour before smoothing."""
    freeze: Literal["none", "body", "all_but_norms"] | Annotated[int, Field(ge=1)] = "none"
    """One of "none", "body", "all_but_norms", or the number of first blocks that stay fixed. Never
    freezes the neck. Blocks are a ViT's, the stages of a DarkNet or U-Net, or those that timm
    counts.
    """
    adapt: AdaptSpec | None = Field(default=None, exclude_if=lambda adapt: adapt is None)
    """Adapters, between frozen and fine-tuned: ``{lora: {rank: 8}}``. The body's own weights then
    stay fixed as with ``freeze: body``. None = no adapters.
    """
    batch_norm: Statistics | None = None
    """BatchNorm statistics of the frozen part: "estimate" (on training images, before training; the
    default for random weights) or "keep" (those of the weights; the default for others). "learn" in
    training is the default, and all that is allowed, if nothing or all but norms is frozen.
    """
    label: Label | None = None
    """Name in reports; made from the rest when left out."""
    patch_size: int | None = None
    """Known from the model; may be stated, and is then checked."""
    width: int | None = None
    """Known from the model; may be stated, and is then checked."""
    depth: int | None = None
    """Known from the model; may be stated, and is then checked."""
    prefix_tokens: int | None = None
    """Known from the model; may be stated, and is then checked."""
    mean: Triple | None = None
    """Known from the model; may be stated, and is then checked."""
    std: tuple[Deviation, Deviation, Deviation] | None = None
    """Known from the model; may be stated, and is then checked."""

    @model_validator(mode="after")
    def _adapts_all_or_nothing(self) -> "EncoderSpec":
        if self.adapt is not None and self.freeze != "none":
            raise ValueError(
                f"adapt keeps all of the body's own weights fixed, so freeze: {self.freeze} has no "
                "meaning beside it; remove freeze or adapt"
            )
        return self

    @property
    def protocol(self) -> str:
        """What learns of the body, such as "frozen", "LoRA of rank 8" or "fine-tuned"."""
        if self.adapt is not None:
            return f"LoRA of rank {self.adapt.lora.rank}"
        known = {"none": "fine-tuned", "body": "frozen", "all_but_norms": "norms fine-tuned"}
        return known.get(str(self.freeze), f"fine-tuned after block {self.freeze}")

    @property
    def title(self) -> str:
        """Name in reports and run ids: ``label``, or the name and what differs from the default.

        Pretrained, trainable and at its native grid is the default.
        """
        adapters = None
        if self.adapt is not None:
            adapters = f"lora{self.adapt.lora.rank}"
        marks = [
            self.name,
            {"random": "random"}.get(self.weights),
            {"none": None, "body": "frozen"}.get(str(self.freeze), f"freeze-{self.freeze}"),
            adapters,
            {"rescaled_input": "rescaled"}.get(self.grid),
            {"simple_feature_pyramid": "sfp", "none": "bare"}.get(str(self.neck)),
            {"estimate": "estimated-bn", "keep": "kept-bn"}.get(str(self.batch_norm)),
        ]
        return self.label or "-".join(mark for mark in marks if mark)


def refuse_blocks(count: int, blocks: int) -> None:
    """Check that an encoder has the blocks that are to be frozen.

    Raises:
        InputError: it has fewer.
    """
    if count > blocks:
        raise InputError(
            f"freeze: {count} blocks asked for, this encoder has {blocks}. "
            f"Allowed: 1..{blocks}, or body."
        )
