"""The built-in heads by name, and the settings of some of them."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from encoder_ablations.segmenters.spec import (
    ClassifierSpec,
    ConvTransposeSpec,
    DeepLabV3PlusSpec,
    EomtSpec,
    FPNSpec,
    Grid,
    Heads,
    HeadSpec,
    Layers,
    LinearSpec,
    Mask2FormerSpec,
    Norm,
    OfficialMask2FormerSpec,
    Positive,
    SegFormerSpec,
    SetLossSettings,
    UNetPlainSpec,
    UNetSpec,
    UPerNetSpec,
    Width,
)
from encoder_ablations.segmenters.zero_shot.spec import ZeroShotSpec
from encoder_ablations.utils.config import at_most


class FewShotSpec(HeadSpec):
    """Compares features of the body's last map with those of the labelled images; not trained."""

    method: Literal["prototype", "knn"] = "prototype"
    """"prototype": with each class's mean feature. "knn": with the nearest features of a memory, as
    in Hummingbird (Balažević et al., NeurIPS 2023).
    """
    temperature: float = Field(default=0.02, gt=0)
    """Cosines are divided by it before the softmax."""
    neighbours: Annotated[Positive, at_most(1000, "each has a weight at every place")] = 30
    """Features of the memory that decide about a place; read with "knn"."""
    memory: Annotated[Positive, at_most(2**20, "each feature is kept in the checkpoint")] = 16384
    """Features in the memory at most, drawn from all labelled places; read with "knn"."""


class QueryDecoderSpec(SetLossSettings):
    """A transformer decoder whose queries read the patches of p3, as in hybrids with DarkNet."""

    hidden: Width = 384
    """Width of patches and queries."""
    heads: Heads = 6
    """Attention heads; they divide ``hidden``."""
    decoder_layers: Layers = 6
    """Layers of the transformer decoder."""
    decoder_feedforward: Width = 2048
    """Inner width of these layers."""
    dropout: float = Field(default=0.1, ge=0, lt=1)
    """Dropout within these layers. With more than 0, accumulation drops other values than one large
    batch would.
    """
    norm: Norm = "batch"
    """The norm of the patches: "batch" (over the images of a micro-batch) or "group"."""
    position_grid: Grid = 40
    """Rows and columns of the learned positions, which are resized to the patches of an image. 40
    fits images of 640×640.
    """
    assignment: Literal["fixed", "hungarian"] = "fixed"
    """Which query answers for a class: "fixed" (query k for class k) or "hungarian" (the one that
    fits best, by Mask2Former's matching and loss). Points are read by "hungarian" alone.
    """
    background: int | None = Field(default=None, ge=0)
    """Id of a class that no query answers for: its pixels lie in no mask. It is predicted where no
    other class scores more than one half. null: every class has masks.
    """
    class_weight: float = Field(default=1.0, ge=0)
    """Weight of the classification in the loss."""
    mask_weight: float = Field(default=1.0, ge=0)
    """Weight of the masks' cross-entropy in the loss."""
    dice_weight: float = Field(default=0.0, ge=0)
    """Weight of the masks' dice loss in the loss."""
    no_object_weight: float = Field(default=1.0, ge=0, le=1)
    """Weight of the class "no object" within the classification."""

    @model_validator(mode="after")
    def _points_are_read(self) -> Self:
        """Check that no setting of the matching is given where nothing is matched."""
        fields = type(self).model_fields
        keys = ("points", "oversample_ratio", "importance_ratio")
        changed = [key for key in keys if getattr(self, key) != fields[key].default]
        if self.assignment == "fixed" and changed:
            raise ValueError(
                f"{changed[0]} is read with assignment: hungarian only. Remove {changed[0]}, or "
                "set that assignment"
            )
        return self


BUILT_IN: dict[str, type[HeadSpec]] = {
    "classifier": ClassifierSpec,
    "conv_transpose": ConvTransposeSpec,
    "deeplabv3plus": DeepLabV3PlusSpec,
    "eomt": EomtSpec,
    "few_shot": FewShotSpec,
    "fpn": FPNSpec,
    "linear": LinearSpec,
    "mask2former": Mask2FormerSpec,
    "mask2former_official": OfficialMask2FormerSpec,
    "query_decoder": QueryDecoderSpec,
    "segformer": SegFormerSpec,
    "unet": UNetSpec,
    "unet_plain": UNetPlainSpec,
    "upernet": UPerNetSpec,
    "zero_shot": ZeroShotSpec,
}
"""The settings of every built-in head, by the name of the head and of its file."""
