"""Settings of the joint image-mask transforms."""

from typing import Annotated, Literal, TypeVar

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from encoder_ablations.utils.config import Config, at_most
from encoder_ablations.utils.custom_code.names import is_reference

Number = TypeVar("Number", int, float)
Probability = Annotated[float, Field(ge=0, le=1)]
HELD = "the resized image is held in memory"
Side = Annotated[int, Field(ge=32), at_most(16384, HELD)]
Factor = Annotated[float, Field(gt=0), at_most(64, HELD)]
Pixels = Annotated[float, Field(gt=0), at_most(1000, "a crop bent further shows nothing of itself")]


def _as_list(value: object) -> object:
    if isinstance(value, str):
        return [value]
    return value


References = Annotated[tuple[str, ...], BeforeValidator(_as_list)]


def _in_order(limits: tuple[Number, Number]) -> tuple[Number, Number]:
    """Check that the lower limit of a range comes first."""
    low, high = limits
    if low > high:
        raise ValueError(f"a range is (low, high) with low <= high, not ({low}, {high})")
    return limits


ColorFactor = Annotated[float, Field(ge=0), at_most(10, "nothing but black and white is left")]
ColorFactors = Annotated[tuple[ColorFactor, ColorFactor], AfterValidator(_in_order)]
Exponent = Annotated[float, Field(ge=0.05, le=20)]
Exponents = Annotated[tuple[Exponent, Exponent], AfterValidator(_in_order)]
BlurSigma = Annotated[float, Field(gt=0), at_most(50, "no edge of the image is left")]
BlurSigmas = Annotated[tuple[BlurSigma, BlurSigma], AfterValidator(_in_order)]
NoiseSigma = Annotated[float, Field(ge=0, le=255)]
NoiseSigmas = Annotated[tuple[NoiseSigma, NoiseSigma], AfterValidator(_in_order)]
Quality = Annotated[int, Field(ge=1, le=100)]
Qualities = Annotated[tuple[Quality, Quality], AfterValidator(_in_order)]


class ColorSpec(Config):
    """Ranges of the random colours of SSD (Liu et al., ECCV 2016).

    Each of the four is applied with probability 1/2.
    """

    brightness: float = Field(default=32, ge=0, le=255)
    """Largest shift of R, G and B up or down, of 255."""
    contrast: ColorFactors = (0.5, 1.5)
    """Range of the factor on R, G and B."""
    saturation: ColorFactors = (0.5, 1.5)
    """Range of the factor on the saturation."""
    hue: int = Field(default=36, ge=0, le=180, multiple_of=2)
    """Largest turn of the hue either way, in degrees; OpenCV's hues are in steps of 2 degrees."""


class GammaSpec(Config):
    """A random power of all levels, between 0 (black) and 1 (white)."""

    probability: Probability = 0.5
    """How often a crop is changed."""
    exponent: Exponents = (0.7, 1.5)
    """Range of the power, drawn log-uniformly; above 1 darkens."""


class BlurSpec(Config):
    """Gaussian blur."""

    probability: Probability = 0.5
    """How often a crop is blurred."""
    sigma: BlurSigmas = (0.1, 2.0)
    """Range of the Gaussian's standard deviation in pixels of the crop."""


class NoiseSpec(Config):
    """Independent Gaussian noise on every value of R, G and B."""

    probability: Probability = 0.5
    """How often a crop gets noise."""
    sigma: NoiseSigmas = (0.0, 10.0)
    """Range of the noise's standard deviation, of 255."""


class JpegSpec(Config):
    """JPEG compression with chroma at half the resolution."""

    probability: Probability = 0.5
    """How often a crop is compressed."""
    quality: Qualities = (30, 95)
    """Range of the quality, 1..100."""


def _as_colors(value: object) -> object:
    """Return what ``true`` and ``false`` mean: the usual ranges, and none."""
    if value is True:
        return ColorSpec()
    if value is False:
        return None
    return value


Colors = Annotated[ColorSpec | None, BeforeValidator(_as_colors)]


class MixSpec(Config):
    """Training crops that are mixed with a crop of another image of the same epoch.

    Which image that is follows from the seed and the position in the run. It is read and
    transformed as well, so a mixed crop takes twice the time to load.
    """

    kind: Literal["mixup", "cutmix", "classmix"]
    """"mixup" (Zhang et al., ICLR 2018) blends the images, λ of the own one, and adds the losses of
    both masks in the same shares. All images of a batch share λ, as in the authors' code. It needs
    a head whose losses are those of dense heads. "cutmix" (Yun et al., ICCV 2019) pastes a box with
    1 - λ of the area. "classmix" (Olsson et al., WACV 2021) pastes the pixels of half of the
    classes, rounded down, that the other crop shows.
    """
    probability: float = Field(default=0.5, gt=0, le=1)
    """How often: for "mixup" of the batches, otherwise of the crops."""
    alpha: float | None = Field(default=None, gt=0, le=100)
    """λ is drawn from Beta(alpha, alpha). None = the authors': 1 for "cutmix", 0.2 for "mixup".
    "classmix" has none.
    """

    @model_validator(mode="after")
    def _alpha_is_read(self) -> "MixSpec":
        if self.kind == "classmix" and self.alpha is not None:
            raise ValueError("alpha: classmix pastes half of the classes; leave alpha out")
        return self

    @property
    def concentration(self) -> float:
        """``alpha``, or what it is by default."""
        if self.alpha is not None:
            return self.alpha
        return {"mixup": 0.2, "cutmix": 1.0}[self.kind]


class ClassBalanceSpec(Config):
    """Which windows of an image become training crops, so that rare classes are seen more often.

    At least one of the two is set. The window's size is drawn as always. Windows are chosen before
    rotation and bending.
    """

    max_share: float | None = Field(default=None, gt=0, lt=1)
    """A window is drawn again, up to 10 times, while one class has this share of its labelled
    pixels or more (``cat_max_ratio`` of MMSegmentation, where 0.75 is usual).
    """
    temperature: float | None = Field(default=None, gt=0, le=100)
    """One class c of the image is drawn with probability ∝ exp((1 - f_c) / temperature), and the
    window contains one of its pixels. f_c is the class's share of all labelled training pixels
    of the run. As DAFormer's rare class sampling (Hoyer et al., CVPR 2022, eq. 7, 0.01 there), but
    within each image: every epoch still shows every image once.
    """
    least_pixels: int | None = Field(default=None, ge=1)
    """With ``temperature``: the window is drawn again, up to 10 times, until it holds so many
    pixels of that class, counted in the crop. None = 1.
    """

    @model_validator(mode="after")
    def _something_is_balanced(self) -> "ClassBalanceSpec":
        if self.max_share is None and self.temperature is None:
            raise ValueError("class_balance needs max_share, temperature, or both")
        if self.least_pixels is not None and self.temperature is None:
            raise ValueError("least_pixels counts the class that temperature draws; set it, too")
        return self


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
    photometric: Colors = ColorSpec()
    """Random brightness, contrast, saturation and hue (as SSD and Mask2Former do): ``true`` for the
    usual ranges, ``false`` for none, or a mapping of ranges.
    """
    gamma: GammaSpec | None = None
    """Random gamma; None = none. ``{}`` takes the usual range, here and below."""
    greyscale: Probability = 0
    """Probability that a crop loses its colours."""
    blur: BlurSpec | None = None
    """Random Gaussian blur; None = none."""
    noise: NoiseSpec | None = None
    """Random Gaussian noise; None = none."""
    jpeg: JpegSpec | None = None
    """Random JPEG compression; None = none."""
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
    class_balance: ClassBalanceSpec | None = None
    """How crops are chosen so that rare classes are seen. None = anywhere in the image."""
    mix: MixSpec | None = None
    """Whether finished crops are mixed with others: MixUp, CutMix or ClassMix. None = they are not.
    """

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

    @model_validator(mode="after")
    def _views_repeat(self) -> "AugmentationSpec":
        if self.views is None:
            return self
        if self.mix is not None:
            raise ValueError(
                "mix makes a new crop at every visit, but views repeats the same ones; leave one "
                "of them out"
            )
        if self.class_balance is not None and self.class_balance.temperature:
            raise ValueError(
                "class_balance.temperature follows from the run's own training images, but views "
                "are the same for all runs; leave one of them out"
            )
        return self
