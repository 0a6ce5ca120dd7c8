"""Settings of the joint image-mask transforms."""

from typing import Annotated

from pydantic import BeforeValidator, Field, model_validator

from encoder_ablations.utils.config import Config, at_most
from encoder_ablations.utils.custom_code.names import is_reference

HELD = "the resized image is held in memory"
Side = Annotated[int, Field(ge=32), at_most(16384, HELD)]
Factor = Annotated[float, Field(gt=0), at_most(64, HELD)]
Pixels = Annotated[float, Field(gt=0), at_most(1000, "a crop bent further shows nothing of itself")]


def _as_list(value: object) -> object:
    if isinstance(value, str):
        return [value]
    return value


References = Annotated[tuple[str, ...], BeforeValidator(_as_list)]


class AugmentationSpec(Config):
    """What is done to an image and its mask before they are trained or evaluated on.

    What a transform brings in from outside of an image has the value 128, and is ignored in its
    mask.
    """

    crop: tuple[Side, Side] = (512, 512)
    """Height and width of every training crop in pixels."""
    short_side: Side | None = None
    """Images are first resized so that their shorter side has this many pixels, in training and in
    evaluation; None keeps the file's size. Metrics are always computed at each mask's own size.
    """
    scale: tuple[Factor, Factor] = (0.5, 2.0)
    """The training image is resized by a factor drawn log-uniformly from this range before it is
    cropped.
    """
    flip: float = Field(default=0.5, ge=0, le=1)
    """Probability of a left-right flip."""
    photometric: bool = True
    """Random brightness, contrast, saturation and hue (as SSD and Mask2Former do)."""
    views: int | None = Field(default=None, ge=1)
    """How many different random views an image has, the same ones for all seeds and fractions;
    epoch e shows view e modulo ``views``. None = every visit is a new view. With a frozen body few
    views can be kept on disk.
    """
    resize_first: bool = False
    """Training images are resized to ``short_side`` on their own, before the random factor, instead
    of both at once. A set of that size can then be kept ("ablate cache"), however large the files
    are.
    """
    rotate: float = Field(default=0, ge=0, le=180)
    """Training crops are rotated by up to this many degrees either way, around their middle."""
    elastic: tuple[Pixels, Pixels] | None = None
    """Pixels and smoothness: training crops are bent by a random field of displacements with this
    standard deviation, smoothed by a Gaussian of this width, both in pixels. None = not bent.
    """
    vertical_flip: float = Field(default=0, ge=0, le=1)
    """Probability of an upside-down flip, for images without an up and down, such as those from
    above.
    """
    quarter_turns: float = Field(default=0, ge=0, le=1)
    """Probability of a turn by 90°, 180° or 270°, for the same; needs square crops."""

    custom: References = ()
    """Transforms of one's own, ``package.module:name``, that training crops go through last."""

    @model_validator(mode="after")
    def _scale_is_a_range(self) -> "AugmentationSpec":
        low, high = self.scale
        if not 0 < low <= high:
            raise ValueError(
                f"scale is a range (low, high) with 0 < low <= high, not ({low}, {high})"
            )
        if self.quarter_turns and self.crop[0] != self.crop[1]:
            raise ValueError(f"quarter_turns need square crops, not {self.crop[0]}×{self.crop[1]}")
        if self.resize_first and self.short_side is None:
            raise ValueError("resize_first resizes to short_side, which is not set")
        for name in self.custom:
            if not is_reference(name):
                raise ValueError(f"custom: write package.module:name, not '{name}'")
        return self
