"""Settings of the head that segments by texts; reading them imports no PyTorch."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, field_validator, model_validator

from encoder_ablations.encoders.spec import EncoderSpec
from encoder_ablations.encoders.text.spec import TextSpec
from encoder_ablations.segmenters.spec import ClassId, QueriesSpec
from encoder_ablations.segmenters.zero_shot.methods import (
    METHODS,
    OF_SECOND_MODEL,
    Affinity,
    BlockRule,
    Method,
    RegionSpec,
    find_method,
)
from encoder_ablations.utils.config import Config, at_most
from encoder_ablations.utils.errors import unknown
from encoder_ablations.utils.references import resolve

Pixels = Annotated[int, Field(ge=1), at_most(16384, "scores of every pixel are held in memory")]
Dilation = Annotated[int, Field(ge=1), at_most(1024, "images are padded by it on every side")]


class PamrSpec(Config):
    """Pixel-adaptive mask refinement (Araslanov and Roth, CVPR 2020) of the scores."""

    steps: int = Field(default=10, ge=1)
    """How often each pixel takes the weighted mean of its neighbours."""
    dilations: tuple[Dilation, ...] = Field(default=(8, 16), min_length=1)
    """Distances of the eight neighbours in pixels."""


class ZeroShotSpec(QueriesSpec):
    """Segmentation by texts, without training, on a ViT that was trained with texts."""

    in_text_space: ClassVar[bool] = True
    text: TextSpec = TextSpec()
    """How texts become features."""
    method: str = "naclip"
    """A published method, which sets the next six keys: "clip", "maskclip", "sclip", "clearclip",
    "naclip", "proxyclip", "corrclip", "segearth" or "reseg". A key that is null is the method's.
    """
    affinity: Affinity | None = None
    """What the attention of the last block is computed from: "vanilla" (queries and keys),
    "identity" (each patch takes its own value), "qq" (queries), "kk" (keys), "qq_kk" and "qq_kk_vv"
    (sums of two and of three), "kk_gaussian" (keys and distance), "vfm" (features of a second
    model), "vfm_in_regions" (these inside regions).
    """
    residual: bool | None = None
    """Whether the last block's input is added to what its attention gives."""
    feedforward: bool | None = None
    """Whether the last block's MLP follows."""
    class_token: float | None = None
    """What the class token's scores are multiplied by before they are added to each patch's."""
    plan: tuple[BlockRule, ...] | None = None
    """What patches attend to in single blocks: ``{blocks: [18, 21], attend: regions, regions: 0}``
    or ``{blocks: [-2, -1], attend: neighbours, radius: 1}``. Other blocks are free.
    """
    regions: tuple[RegionSpec, ...] | None = None
    """How regions are found: ``{source: sam, points_per_side: 8}``, ``{source: folder, masks: …,
    images: …}`` or ``{source: superpixels, count: 100}``; or a list of these, one for each entry
    that ``plan`` names. A single one is read wherever regions are. They are those of the whole
    image.
    """
    masked_class_token: Literal["alone", "free"] = "alone"
    """Prefix tokens (class, registers) in blocks with a rule: each attends only to itself and no
    patch to them ("alone"), or all attend to them and they to all ("free").
    """
    sigma: float = Field(default=5.0, gt=0)
    """Standard deviation of "kk_gaussian" in patches."""
    vfm: EncoderSpec | None = None
    """The second vision model: a name of ``ablate encoders``, the path of an encoder's YAML, or a
    mapping of its settings, which may have a ``base``.
    """
    vfm_shift: float = Field(default=1.2, ge=0)
    """Affinity "vfm": similarities below the mean times this are left out (β of ProxyCLIP)."""
    vfm_scale: float = Field(default=3.0, gt=0)
    """Affinity "vfm": what similarities are multiplied by before the softmax (γ of ProxyCLIP)."""
    region_scale: float = Field(default=4.0, gt=0)
    """The same for "vfm_in_regions" (τ of CorrCLIP)."""
    short_side: Pixels | None = 336
    """Images are resized so that their short side has at most so many pixels; null = no limit."""
    long_side: Pixels | None = 2048
    """The same of the long side. Without both limits images are not resized."""
    window: Pixels | None = 224
    """Side of the windows that the body sees, in pixels of the resized image; null = one window."""
    stride: Pixels = 112
    """Distance of neighbouring windows. The last one ends at the image's border."""
    enlarged: Literal["scores", "features"] = "scores"
    """What is resized from patches to pixels: "scores" of the texts, or the patches' "features"."""
    averaged: Literal["scores", "probabilities"] = "scores"
    """What is averaged over windows: cosines ("scores"), or their softmax over the texts."""
    scale: float | None = Field(default=40.0, gt=0)
    """What cosines are multiplied by before the softmax over the texts; null = no softmax."""
    synonyms: Literal["max", "mean", "sum"] = "max"
    """How the texts of one class become its score."""
    background: ClassId | None = None
    """Id of a class that is predicted where every class scores less than ``threshold``. It may have
    no text.
    """
    threshold: float = Field(default=0.0, ge=0, le=1)
    """The score that a class must reach beside ``background``."""
    refine: PamrSpec | None = None
    """Refinement of the scores by the image's colours; null = none."""

    @property
    def switches(self) -> Method:
        """The method with the keys that are given."""
        return find_method(
            self.method,
            affinity=self.affinity,
            residual=self.residual,
            feedforward=self.feedforward,
            class_token=self.class_token,
            plan=self.plan,
            regions=self.regions,
        )

    @field_validator("method")
    @classmethod
    def _known(cls, name: str) -> str:
        if name not in METHODS:
            raise ValueError(str(unknown("method", name, METHODS)).removesuffix("."))
        return name

    @field_validator("regions", mode="before")
    @classmethod
    def _with_sources(cls, given: Any) -> Any:
        if isinstance(given, Mapping):
            given = (given,)
        for entry in given or ():
            if isinstance(entry, dict) and "source" not in entry:
                raise ValueError(
                    "an entry says how regions are found: source: sam, folder or superpixels"
                )
        return given

    @field_validator("vfm", mode="before")
    @classmethod
    def _by_reference(cls, given: Any) -> Any:
        if not isinstance(given, str | Mapping):
            return given
        # without the settings of the table's row: a second model has its own grid
        return resolve("encoders", given, lambda name: {"name": name})[0]

    @model_validator(mode="after")
    def _fit_together(self) -> Self:
        """Check that nothing is missing, and that nothing is given that is not read."""
        method = self.switches
        needed = method.affinity in OF_SECOND_MODEL
        if needed and self.vfm is None:
            raise ValueError(
                f"the affinity {method.affinity} of method {self.method} reads a second vision "
                "model. Name one, such as vfm: dinov2_b14"
            )
        if self.vfm is not None and not needed:
            raise ValueError(f"the affinity {method.affinity} reads no vfm. Remove it")
        if method.region_sets > len(method.regions):
            raise ValueError(
                f"regions has {len(method.regions)} entries, but {method.region_sets} are read. "
                "Give one for all, such as {source: superpixels}, or as many as are read"
            )
        if self.regions and not method.region_sets:
            raise ValueError(f"method {self.method} reads no regions. Remove them, or add a plan")
        return self

    @model_validator(mode="after")
    def _scores_fit_together(self) -> Self:
        """Check the settings of windows and scores."""
        if self.window is not None and self.stride > self.window:
            raise ValueError(
                f"stride {self.stride} is more than window {self.window}, so that pixels would lie "
                f"in no window. Give stride={self.window} or less, too"
            )
        if self.averaged == "probabilities" and self.scale is None:
            raise ValueError("averaged: probabilities needs a scale, such as 1")
        if self.threshold > 0 and self.background is None:
            raise ValueError("threshold is read with a background only. Name the class's id")
        return self
