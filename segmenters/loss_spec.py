"""Settings of the losses of dense heads.

They lie apart from the losses, so that reading a configuration does not import PyTorch.
"""

import math
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from encoder_ablations.utils.config import Config

Weight = Annotated[float, Field(ge=0)]
ClassWeights = Literal["balanced"] | list[Weight] | dict[str | int, Weight]


class LossSpec(Config):
    """Base of every loss's own settings. A key that the loss does not have is an error."""

    weight: Weight = 1.0
    """Factor of this loss in the sum that is minimised; 0 leaves it out."""


class ClassWeightedSpec(LossSpec):
    """Base of the settings of losses in which classes may weigh differently."""

    class_weights: ClassWeights | None = None
    """Weight of every class: a list in the order of the classes; a mapping of names or ids, where
    classes that are not named weigh 1; or "balanced": mean pixels of a class / pixels of this one,
    in the run's training images. A class without a pixel there is left out and weighs 0.
    """

    @field_validator("class_weights", mode="before")
    @classmethod
    def _one_kind(cls, given: Any) -> Any:
        """Check what pydantic would report for every kind that it is not."""
        if given is None or given == "balanced":
            return given
        if isinstance(given, dict):
            numbers = list(given.values())
        elif isinstance(given, list):
            numbers = given
        else:
            raise ValueError('write "balanced", a list of numbers, or a mapping: class -> number')
        for number in numbers:
            if not isinstance(number, int | float) or not 0 <= number < math.inf:
                raise ValueError(f"a weight is {number!r}; numbers of at least 0 are allowed")
        return given


class CrossEntropySpec(ClassWeightedSpec):
    """Cross-entropy of the softmax, the mean over labelled pixels.

    With class weights it is the weighted mean, as in PyTorch.
    """

    label_smoothing: float = Field(default=0.0, ge=0, lt=1)
    """Share of the target that is spread evenly over all classes."""


class FocalSpec(LossSpec):
    """Focal loss (Lin et al., ICCV 2017), one class against all others.

    Every class has a sigmoid of its own. The losses of all classes are summed, and divided by the
    number of labelled pixels.
    """

    alpha: float = Field(default=0.25, ge=0, le=1)
    """Weight of the pixels of a class; those of other classes weigh 1 - alpha."""
    gamma: float = Field(default=2.0, ge=0)
    """Exponent that lowers the weight of pixels that are predicted well; 0 = none."""


class BceSpec(LossSpec):
    """Binary cross-entropy of one class against all others, the mean over pixels and classes."""


class OverlapSpec(LossSpec):
    """Base of the settings of losses that compare areas."""

    smooth: float = Field(default=1.0, ge=0)
    """Added to numerator and denominator, in pixels."""


class DiceSpec(OverlapSpec):
    """Dice loss of the softmax, the mean over images and classes.

    1 - (2·common + smooth) / (predicted + true + smooth), of all classes, also absent ones.
    """


class IouSpec(OverlapSpec):
    """IoU (Jaccard) loss of the softmax, the mean over images and classes.

    1 - (common + smooth) / (predicted + true - common + smooth), of all classes, also absent ones.
    """


class TverskySpec(OverlapSpec):
    """Tversky loss (Salehi et al., MLMI 2017) of the softmax, the mean over images and classes.

    1 - (common + smooth) / (common + alpha·wrong + beta·missed + smooth), of all classes.
    """

    alpha: float = Field(default=0.3, ge=0)
    """Weight of pixels that are wrongly predicted as the class."""
    beta: float = Field(default=0.7, ge=0)
    """Weight of pixels of the class that are missed."""


class DiceBceSpec(OverlapSpec):
    """A weighted sum of Dice loss and binary cross-entropy, both per image.

    The cross-entropy is the mean over an image's labelled pixels, then over images.
    """

    dice: Weight = 0.7
    """Weight of the Dice loss."""
    bce: Weight = 0.3
    """Weight of the binary cross-entropy."""


class LovaszSpec(LossSpec):
    """Lovász-softmax loss (Berman et al., CVPR 2018), per image.

    It is the mean over the classes that an image shows, then over images.
    """


BUILT_IN_LOSSES: dict[str, type[LossSpec]] = {
    "bce": BceSpec,
    "cross_entropy": CrossEntropySpec,
    "dice": DiceSpec,
    "dice_bce": DiceBceSpec,
    "focal": FocalSpec,
    "iou": IouSpec,
    "lovasz": LovaszSpec,
    "tversky": TverskySpec,
}
"""The settings of every built-in loss, by the name of the loss and of its file."""
