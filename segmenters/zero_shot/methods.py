"""Published methods of segmenting by texts, as switches of one last block.

All of them read the patches of a vision transformer that was trained with texts. They differ in the
attention of its last block, in what tokens attend to in other blocks, in whether the last block's
residual connection and MLP are kept, and in what is done with the class token.

- ``clip``: the last block as it was trained. CLIP (Radford et al., ICML 2021), openai/CLIP.
- ``maskclip``: each patch takes its own value. MaskCLIP (Zhou, Loy, Dai, ECCV 2022: "Extract Free
  Dense Labels from CLIP"), chongzhou96/MaskCLIP, whose code keeps residual and MLP.
- ``sclip``: softmax(q·q) + softmax(k·k). SCLIP (Wang, Mei, Yuille, ECCV 2024), wangf3014/SCLIP.
- ``clearclip``: softmax(q·q), without residual and MLP. ClearCLIP (Lan et al., ECCV 2024),
  mc-lan/ClearCLIP.
- ``naclip``: softmax(k·k + a Gaussian of the distance), without residual and MLP. NACLIP (Hajimiri,
  Ben Ayed, Dolz, WACV 2025), sinahmr/NACLIP.
- ``proxyclip``: similarity of a second model's features, of which those below a shifted mean are
  left out. ProxyCLIP (Lan et al., ECCV 2024), mc-lan/ProxyCLIP.
- ``corrclip``: similarity of a second model's features inside regions. CorrCLIP (Zhang et al., ICCV
  2025), zdk258/CorrCLIP. Its merging of regions, its spatial and semantic branches and its
  correction of the result by regions are not part of this.
- ``segearth``: softmax(q·q) + softmax(k·k) + softmax(v·v), without residual and MLP; 0.3 of the
  class token's scores are subtracted. SegEarth-OV (Li et al., CVPR 2025), likyoo/SegEarth-OV, whose
  trained upsampler of features (SimFeatUp) is not part of this.
- ``reseg``: attention within regions of SAM in four blocks, from fine to coarse, and of each patch
  to itself in the last two. ReSeg-CLIP, aemrhb/ReSeg-CLIP.
"""

from dataclasses import dataclass, replace
from typing import Annotated, Literal

from pydantic import Field

from encoder_ablations.utils.config import Config, at_most

Affinity = Literal[
    "vanilla", "identity", "qq", "kk", "qq_kk", "qq_kk_vv", "kk_gaussian", "vfm", "vfm_in_regions"
]
"""What the attention of the last block is computed from."""
OF_SECOND_MODEL = ("vfm", "vfm_in_regions")
"""Affinities that read the features of a second vision model."""

Side = Annotated[int, at_most(256, "every point is a mask in memory"), Field(ge=1)]
Layers = Annotated[int, at_most(4, "every layer has four times the crops of the last"), Field(ge=0)]
Count = Annotated[int, at_most(2**20, "every region has a number of its own"), Field(ge=1)]


class SamSpec(Config):
    """Masks of SAM (Kirillov et al., ICCV 2023) or SAM 2, by transformers' ``mask-generation``.

    They are painted in the order of the generator: a later mask covers an earlier one. Pixels of no
    mask are one region.
    """

    source: Literal["sam"] = "sam"
    """How regions are found."""
    model: str = "facebook/sam-vit-huge"
    """A name on the hub, or a folder with the model and its image processor."""
    points_per_side: Side = 32
    """The image has a grid of so many points a side, each of which asks for masks."""
    predicted_iou: float = Field(default=0.88, ge=0, le=1)
    """Masks with a lower predicted IoU are left out."""
    stability: float = Field(default=0.95, ge=0, le=1)
    """Masks with a lower stability score are left out."""
    minimal_area: int = Field(default=0, ge=0)
    """Parts and holes of a mask with fewer pixels are removed; 0 = none."""
    crop_layers: Layers = 0
    """Layers of crops on which SAM runs again; layer i has 4^i crops."""
    crop_point_divisor: int = Field(default=1, ge=1)
    """In crop layer i the points a side are divided by this number to the power of i."""


class FolderSpec(Config):
    """Regions that lie on disk: PNGs whose values are region ids, 0 = in no region."""

    source: Literal["folder"]
    """How regions are found."""
    masks: str
    """Folder of the masks. A mask has the name of its image, with the ending ``.png``."""
    images: str
    """Folder of the images. An image that is segmented is known by its content."""


class SuperpixelSpec(Config):
    """Superpixels by SLIC (Achanta et al., TPAMI 2012), which need no weights.

    scikit-image computes them (``encoder-ablations[superpixels]``).
    """

    source: Literal["superpixels"]
    """How regions are found."""
    count: Count = 100
    """About how many there are in an image."""
    compactness: float = Field(default=10.0, gt=0)
    """How much distance counts beside colour; more makes squarer regions."""


RegionSpec = Annotated[SamSpec | FolderSpec | SuperpixelSpec, Field(discriminator="source")]


class BlockRule(Config):
    """What the patches attend to in some blocks of the body."""

    blocks: tuple[int, int]
    """The first and the last of these blocks, from 0; negative numbers count from the end."""
    attend: Literal["regions", "neighbours"]
    """A patch attends to the patches of its "regions", or to its "neighbours"."""
    regions: int = Field(default=0, ge=0)
    """Which entry of ``regions`` is read, from 0."""
    radius: int = Field(default=0, ge=0)
    """Greatest distance of a neighbour in rows and in columns of patches; 0 = only the patch
    itself.
    """


@dataclass(frozen=True)
class Method:
    """The switches of a method.

    Attributes:
        affinity: what the attention of the last block is computed from.
        residual: whether the last block's input is added to what its attention gives.
        feedforward: whether the last block's MLP follows.
        class_token: what the class token's scores are multiplied by, before they are added to those
            of every patch.
        plan: what patches attend to in single blocks; a block without a rule is free.
        regions: how the regions are found that rules and affinity read.
    """

    affinity: Affinity
    residual: bool = False
    feedforward: bool = False
    class_token: float = 0.0
    plan: tuple[BlockRule, ...] = ()
    regions: tuple[SamSpec | FolderSpec | SuperpixelSpec, ...] = ()

    @property
    def region_sets(self) -> int:
        """How many entries of ``regions`` are read: up to the last one that a rule names."""
        read = [rule.regions + 1 for rule in self.plan if rule.attend == "regions"]
        if self.affinity == "vfm_in_regions":
            read.append(1)
        return max(read, default=0)


def _reseg_regions(points: int, threshold: float, area: int) -> SamSpec:
    """Return SAM's settings in the configuration of ReSeg-CLIP."""
    return SamSpec(
        points_per_side=points,
        predicted_iou=threshold,
        stability=threshold,
        minimal_area=area,
        crop_layers=1,
        crop_point_divisor=2,
    )


RESEG_PLAN = (
    *(BlockRule(blocks=(n - 6, n - 6), attend="regions", regions=n) for n in range(4)),
    BlockRule(blocks=(-2, -1), attend="neighbours", radius=0),
)
RESEG_REGIONS = (
    _reseg_regions(4, 0.5, 500),
    _reseg_regions(2, 0.6, 500),
    _reseg_regions(2, 0.5, 1000),
    _reseg_regions(2, 0.5, 2000),
)
CORRCLIP_REGIONS = (
    SamSpec(model="facebook/sam2-hiera-large", points_per_side=8, predicted_iou=0.4, stability=0.4),
)
METHODS = {
    "clip": Method("vanilla", residual=True, feedforward=True),
    "maskclip": Method("identity", residual=True, feedforward=True),
    "sclip": Method("qq_kk", residual=True, feedforward=True),
    "clearclip": Method("qq"),
    "naclip": Method("kk_gaussian"),
    "proxyclip": Method("vfm"),
    "corrclip": Method("vfm_in_regions", regions=CORRCLIP_REGIONS),
    "segearth": Method("qq_kk_vv", class_token=-0.3),
    "reseg": Method(
        "vanilla", residual=True, feedforward=True, plan=RESEG_PLAN, regions=RESEG_REGIONS
    ),
}
"""The switches of every method, by its name."""


def find_method(name: str, **changed: object) -> Method:
    """Return the switches of a method, some of them replaced.

    A single entry of ``regions`` stands for all that are read.

    Args:
        name: a key of :data:`METHODS`.
        changed: fields of :class:`Method`; None = the method's own.
    """
    given: dict[str, object] = {key: value for key, value in changed.items() if value is not None}
    found = replace(METHODS[name], **given)  # type: ignore[arg-type]
    if len(found.regions) == 1:
        found = replace(found, regions=found.regions * max(1, found.region_sets))
    return found
