"""Which encoder, with which weights, read out how: one YAML in ``configs/encoders``."""

from typing import Annotated, Literal

from pydantic import Field

from encoder_ablations.utils.config import Config

Fraction = Annotated[float, Field(gt=0, le=1)]
Triple = tuple[float, float, float]


class EncoderSpec(Config):
    """A row of the encoder table (or any timm ViT by its model name) and how it is used.

    Attributes:
        name: a name listed by ``ablate encoders``, or a timm model name.
        weights: "pretrained" (downloaded by timm), "random" (the control), or a ``.safetensors``/``.pth`` file.
        neck: how the body's maps become the pyramid; default ``tap_pyramid`` (ViTs) or ``fpn_additive`` (DarkNets).
            ``none`` gives the maps themselves, for the linear head: nothing but the head is then trained from scratch.
        channels: channels of every pyramid level.
        taps: depth fractions of the four blocks that are read out (ViTs; default 1/4, 1/2, 3/4, 1); one to four blocks
            with ``neck: none``.
        final_norm: whether the ViT's final norm is applied to every tap (default) or to none.
        grid: patch-14 models only: "native", "resampled_patch" (patch kernel resampled to 16) or "rescaled_input"
            (image rescaled by 14/16); the last two give the token grid of a patch-16 model.
        top_down: ``tap_pyramid`` only: add every level's coarser neighbour before smoothing.
        freeze: "none", "body", "all_but_norms", or the number of first blocks that stay fixed. Never freezes the neck.
        label: name in reports; made from the rest when left out.
        patch_size, width, depth, prefix_tokens, mean, std: known from the model; may be stated, and are then checked.
    """

    name: str
    weights: str = "pretrained"
    neck: Literal["tap_pyramid", "simple_feature_pyramid", "fpn_additive", "fpn_concat", "none"] | None = None
    channels: int = Field(default=256, ge=32, multiple_of=32)
    taps: tuple[Fraction, ...] | None = Field(default=None, min_length=1, max_length=4)
    final_norm: bool | None = None
    grid: Literal["native", "resampled_patch", "rescaled_input"] = "native"
    top_down: bool = False
    freeze: Literal["none", "body", "all_but_norms"] | Annotated[int, Field(ge=1)] = "none"
    label: str | None = None
    patch_size: int | None = None
    width: int | None = None
    depth: int | None = None
    prefix_tokens: int | None = None
    mean: Triple | None = None
    std: Triple | None = None

    @property
    def title(self) -> str:
        """Name in reports and run ids: ``label``, or the name and what differs from pretrained, trainable, native."""
        if self.label:
            return self.label
        marks = [self.name]
        if self.weights == "random":
            marks.append("random")
        if self.freeze != "none":
            marks.append("frozen" if self.freeze == "body" else f"freeze-{self.freeze}")
        if self.grid == "rescaled_input":
            marks.append("rescaled")
        if self.neck == "simple_feature_pyramid":
            marks.append("sfp")
        if self.neck == "none":
            marks.append("bare")
        return "-".join(marks)
