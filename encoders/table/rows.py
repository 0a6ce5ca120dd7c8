"""The kinds of rows in the table of encoders, and what a row's model says about itself.

timm is imported by the functions that ask it something: listings and checks of options do not.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from encoder_ablations.utils.errors import InputError

if TYPE_CHECKING:
    from timm.models import PretrainedCfg

TIMM = "timm"
"""The rule for position embeddings that timm applies by itself: bicubic with antialiasing."""

POSITION_RULES = {
    "deit": "mae",
    "beit3_": "mae",
    "eva02_": "mae",
    "beit": "beit",
    "vit_pe_": "pe",
    "_tipsv2": "tips",
}
"""Rules of families by a part of timm's names, the special before the general."""


@dataclass(frozen=True)
class ViTRow:
    """A vision transformer of timm.

    Attributes:
        model: timm's model name with its weights' tag.
        family: how people call it.
        activation: timm's name of the activation, where the weights were trained with another one
            than timm builds.
        grid: default of an encoder's ``grid``: patch-14 models get the token grid of patch 16.
        text: the hub's repository of the text tower that was trained with the weights; None =
            there is none, or transformers does not have it.
    """

    name: str
    model: str
    family: str
    activation: str | None = None
    grid: str = "native"
    text: str | None = None

    @property
    def position_rule(self) -> str:
        """How position embeddings are resized, see :func:`position_rule_of`."""
        return position_rule_of(self.model)


@dataclass(frozen=True)
class DarkNetRow:
    """A DarkNet (Redmon & Farhadi, YOLOv3, 2018), native.

    Attributes:
        blocks: residual blocks of each of the five stages.
        stem: channels of the first convolution; every stage doubles them.
        negative_slope: of LeakyReLU: 0.1 in the original, 0.01 with timm's ImageNet weights.
        model: timm's model name with the tag of its ImageNet weights; None where there are none.
    """

    name: str
    blocks: tuple[int, int, int, int, int]
    stem: int = 32
    negative_slope: float = 0.1
    model: str | None = None
    family: str = "DarkNet"


@dataclass(frozen=True)
class UNetRow:
    """The contracting path of a U-Net (Ronneberger et al., 2015), native.

    Attributes:
        widths: channels of each stage, at strides 1, 2, 4, ….
    """

    name: str
    widths: tuple[int, ...]
    model: None = None
    family: str = "U-Net"


@dataclass(frozen=True)
class CustomRow:
    """An encoder that a user's own function makes.

    Attributes:
        name: the reference ``package.module:function``.
    """

    name: str
    model: None = None
    family: str = "custom"


@dataclass(frozen=True)
class HierarchicalRow:
    """A convolutional or hierarchical model of timm with maps at strides 4, 8, 16 and 32.

    Attributes:
        model: timm's model name with its weights' tag.
        family: how people call it.
    """

    name: str
    model: str
    family: str


EncoderRow = ViTRow | DarkNetRow | UNetRow | HierarchicalRow | CustomRow


def source_of(row: EncoderRow) -> "PretrainedCfg":
    """Return timm's facts about the weights of a row: normalisation, input size, licence.

    Raises:
        InputError: the row has no weights, or not those that its model's tag names.
    """
    import timm

    try:
        source = timm.get_pretrained_cfg(row.model) if row.model else None
    except RuntimeError as error:  # timm's error for an unknown tag
        known = timm.list_pretrained(f"{str(row.model).partition('.')[0]}.*")
        raise InputError(
            f"encoder {row.name}: timm has no weights of this tag. "
            f"Allowed: {', '.join(known) or 'none'}."
        ) from error
    if source is None:
        raise InputError(f"encoder {row.name}: timm knows no weights for it.")
    return source


def position_rule_of(model: str) -> str:
    """Return the rule by which the authors of a timm model's weights resize position embeddings.

    The code of DINOv2 with registers and of OpenCLIP resizes as timm does. OpenAI's CLIP has no
    rule, and DINOv3 no learned positions. SigLIP's authors resized once, before further training at
    another size; users of these weights resize as timm or transformers do. SAM's code takes images
    of 1024 pixels and AIMv2's those of the native size: neither resizes. NaFlex models, among them
    C-RADIO and SigLIP 2 NaFlex, hold their authors' rules themselves. timm's rule is taken for all
    other models.
    """
    architecture, _, tag = model.partition(".")
    if not tag:
        import timm

        default = timm.get_pretrained_cfg(architecture)
        tag = (default.tag if default else None) or ""
    if "patch14_dinov2" in architecture:
        return "dinov2"
    if tag == "mae":
        return "mae"
    found = (rule for family, rule in POSITION_RULES.items() if family in architecture)
    return next(found, TIMM)


def settings_of(row: EncoderRow) -> dict[str, Any]:
    """Return the settings of an encoder of which only the row's name is given."""
    settings: dict[str, Any] = {"name": row.name}
    if row.model is None and not isinstance(row, CustomRow):
        settings["weights"] = "random"
    if isinstance(row, ViTRow) and row.grid != "native":
        settings["grid"] = row.grid
    return settings
