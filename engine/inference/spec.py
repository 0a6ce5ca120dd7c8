"""Settings of a prediction: windows, test-time views, and how several predictions are combined."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from encoder_ablations.utils.config import Config, at_most

Factor = Annotated[float, Field(gt=0), at_most(8, "the resized image is held in memory")]
Level = Annotated[float, Field(gt=0), at_most(4, "brighter images are all white")]
Side = Annotated[int, Field(ge=32), at_most(16384, "a window's scores are held in memory")]
Combination = Literal["mean", "max", "vote"]
Radius = Annotated[int, Field(ge=0), at_most(100, "the disc is moved over every pixel")]
Area = Annotated[int, Field(ge=0)]
ALL = "all"
"""Stands for every class that is not named itself."""


class ViewsSpec(Config):
    """Test-time augmentation: other views of an image that are predicted, too.

    The image as it is always counts as one view. Each setting adds views to it; they are not
    multiplied with each other.
    """

    flips: tuple[Literal["horizontal", "vertical"], ...] = ()
    """Mirrored views: left-right ("horizontal"), upside-down ("vertical")."""
    turns: bool = False
    """Whether the image is also predicted turned by 90°, 180° and 270°."""
    scales: tuple[Factor, ...] = ()
    """Factors by which the image is also resized, e.g. 0.75 and 1.25."""
    brightness: tuple[Level, ...] = ()
    """Factors on all values, e.g. 0.9 and 1.1."""
    contrast: tuple[Level, ...] = ()
    """Factors on the distance of all values from the image's mean grey level."""


class PostprocessSpec(Config):
    """Clean-up of the predicted mask, in this order. Each part is off by default.

    Every mapping is from the name of a class, or "all", to a number of pixels.
    """

    opening: dict[str, Radius] = Field(default={})
    """Radius of a disc: thinner parts of the class are removed (morphological opening)."""
    closing: dict[str, Radius] = Field(default={})
    """Radius of a disc: narrower gaps in the class are filled (morphological closing)."""
    smallest_area: dict[str, Area] = Field(default={})
    """Connected areas of the class with fewer pixels are removed."""
    largest_hole: dict[str, Area] = Field(default={})
    """Holes in the class with at most so many pixels are filled."""
    largest_only: tuple[str, ...] = ()
    """Classes of which only the largest connected area is kept."""


class RefineSpec(Config):
    """A guided filter on the probabilities (He et al., ECCV 2010): edges move onto the image's.

    It looks at grey levels, and works on each window by itself.
    """

    radius: Annotated[int, Field(ge=1), at_most(200, "windows overlap by less")] = 8
    """Half the side in pixels of the square that each pixel's filter looks at, less one half."""
    epsilon: float = Field(default=1e-3, gt=0)
    """Variance of grey levels (0..1) below which a square counts as flat and is smoothed."""


class InferenceSpec(Config):
    """How an image is predicted. The defaults are those of a run's own evaluation."""

    window: Side | None = None
    """Side in pixels of square windows, of an image that is larger; None = the whole image at once.
    Each window is resized as the images of the evaluation are.
    """
    overlap: float = Field(default=0.5, ge=0, lt=1)
    """Share of a window that the next one covers, too."""
    batch: Annotated[int, Field(ge=1), at_most(1024, "all its windows lie in memory")] = 1
    """Windows, or images of one size, per forward pass."""
    views: ViewsSpec = ViewsSpec()
    """Test-time augmentation."""
    combine: Combination = "mean"
    """What several views and models are made one by: the "mean" of their probabilities, the "max"
    for every class, divided by its sum over classes, or the share of the "vote".
    """
    refine: RefineSpec | None = None
    """Edge-aware filter of the combined probabilities; None = none."""
    postprocess: PostprocessSpec = PostprocessSpec()
    """Clean-up of the mask. The probabilities stay as they are."""

    @model_validator(mode="after")
    def _windows_move(self) -> "InferenceSpec":
        if self.window is not None and round(self.window * (1 - self.overlap)) < 1:
            raise ValueError(
                f"overlap {self.overlap:g} leaves no step between windows of {self.window} pixels"
            )
        return self
