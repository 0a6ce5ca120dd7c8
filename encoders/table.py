"""The encoders, one row each. Everything else about them is read from the model itself.

timm is imported by the functions that ask it something: listings and checks of options do not.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from encoder_ablations.encoders.facts import timm_models
from encoder_ablations.utils.errors import InputError, nearest

if TYPE_CHECKING:
    from timm.models import PretrainedCfg

MODULES = ("vision_transformer", "eva")
"""timm's modules of plain vision transformers."""
TIMM = "timm"
"""The rule for position embeddings that timm applies by itself: bicubic with antialiasing."""


@dataclass(frozen=True)
class ViTRow:
    """A vision transformer of timm.

    Attributes:
        model: timm's model name with its weights' tag.
        family: how people call it.
        activation: timm's name of the activation, where the weights were trained with another one
            than timm builds.
        grid: default of an encoder's ``grid``: patch-14 models get the token grid of patch 16.
    """

    name: str
    model: str
    family: str
    activation: str | None = None
    grid: str = "native"

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


EncoderRow = ViTRow | DarkNetRow


def source_of(row: EncoderRow) -> "PretrainedCfg":
    """Return timm's facts about the weights of a row: normalisation, input size, licence.

    Raises:
        InputError: the row has no weights.
    """
    import timm

    source = timm.get_pretrained_cfg(row.model) if row.model else None
    if source is None:
        raise InputError(f"encoder {row.name}: timm knows no weights for it.")
    return source


def position_rule_of(model: str) -> str:
    """Return the rule by which the authors of a timm model's weights resize position embeddings.

    The code of DINOv2 with registers and of OpenCLIP resizes as timm does. OpenAI's CLIP has no
    rule, and DINOv3 no learned positions. SigLIP's authors resized once, before further training at
    another size; users of these weights resize as timm or transformers do. timm's rule is taken for
    all other models.
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
    return TIMM


def settings_of(row: EncoderRow) -> dict[str, Any]:
    """Return the settings of an encoder of which only the row's name is given."""
    settings: dict[str, Any] = {"name": row.name}
    if row.model is None:
        settings["weights"] = "random"
    if isinstance(row, ViTRow) and row.grid != "native":
        settings["grid"] = row.grid
    return settings


ROWS: tuple[EncoderRow, ...] = (
    # CLIP: Radford et al., ICML 2021
    ViTRow("clip_b32", "vit_base_patch32_clip_quickgelu_224.openai", "CLIP"),
    ViTRow("clip_b16", "vit_base_patch16_clip_quickgelu_224.openai", "CLIP"),
    ViTRow(
        "clip_l14", "vit_large_patch14_clip_quickgelu_224.openai", "CLIP", grid="resampled_patch"
    ),
    ViTRow(
        "clip_l14_336",
        "vit_large_patch14_clip_quickgelu_336.openai",
        "CLIP",
        grid="resampled_patch",
    ),
    # SigLIP: Zhai et al., ICCV 2023
    ViTRow("siglip_b16", "vit_base_patch16_siglip_224.webli", "SigLIP", activation="gelu_tanh"),
    ViTRow("siglip_l16", "vit_large_patch16_siglip_256.webli", "SigLIP", activation="gelu_tanh"),
    # SigLIP 2: Tschannen et al., 2025
    ViTRow(
        "siglip2_b16", "vit_base_patch16_siglip_224.v2_webli", "SigLIP 2", activation="gelu_tanh"
    ),
    ViTRow(
        "siglip2_l16", "vit_large_patch16_siglip_256.v2_webli", "SigLIP 2", activation="gelu_tanh"
    ),
    # DINOv2: Oquab et al., TMLR 2024
    ViTRow("dinov2_s14", "vit_small_patch14_dinov2.lvd142m", "DINOv2", grid="resampled_patch"),
    ViTRow("dinov2_b14", "vit_base_patch14_dinov2.lvd142m", "DINOv2", grid="resampled_patch"),
    ViTRow("dinov2_l14", "vit_large_patch14_dinov2.lvd142m", "DINOv2", grid="resampled_patch"),
    # DINOv2 + registers: Darcet et al., ICLR 2024
    ViTRow(
        "dinov2_reg_s14",
        "vit_small_patch14_reg4_dinov2.lvd142m",
        "DINOv2 + registers",
        grid="resampled_patch",
    ),
    ViTRow(
        "dinov2_reg_b14",
        "vit_base_patch14_reg4_dinov2.lvd142m",
        "DINOv2 + registers",
        grid="resampled_patch",
    ),
    ViTRow(
        "dinov2_reg_l14",
        "vit_large_patch14_reg4_dinov2.lvd142m",
        "DINOv2 + registers",
        grid="resampled_patch",
    ),
    # DINOv3: Siméoni et al., 2025
    ViTRow("dinov3_s16", "vit_small_patch16_dinov3.lvd1689m", "DINOv3"),
    ViTRow("dinov3_b16", "vit_base_patch16_dinov3.lvd1689m", "DINOv3"),
    ViTRow("dinov3_l16", "vit_large_patch16_dinov3.lvd1689m", "DINOv3"),
    # MAE: He et al., CVPR 2022
    ViTRow("mae_b16", "vit_base_patch16_224.mae", "MAE"),
    ViTRow("mae_l16", "vit_large_patch16_224.mae", "MAE"),
    # ViT, supervised: Steiner et al., TMLR 2022
    ViTRow("vit_ti16", "vit_tiny_patch16_224.augreg_in21k", "ViT, supervised"),
    DarkNetRow("darknet53", (1, 2, 8, 8, 4)),
    DarkNetRow("darknet53_in1k", (1, 2, 8, 8, 4), negative_slope=0.01, model="darknet53.c2ns_in1k"),
    DarkNetRow("darknet21", (1, 1, 1, 2, 1)),
    DarkNetRow("darknet17", (1, 1, 1, 1, 1)),
    DarkNetRow("darknet_tiny", (1, 1, 1, 1, 1), stem=16),
)

ALIASES = {
    "clip-vit-base-patch32": "clip_b32",
    "clip-vit-base-patch16": "clip_b16",
    "clip-vit-large-patch14": "clip_l14",
    "siglip-base-patch16-224": "siglip_b16",
    "siglip-large-patch16-256": "siglip_l16",
}
"""Names under which the same models are known elsewhere."""

TABLE = {row.name: row for row in ROWS}


def find_row(name: str) -> EncoderRow:
    """Return the row called ``name``, or a new row for any other vision transformer of timm.

    Raises:
        InputError: it is neither a row nor a vision transformer of timm.
    """
    row = TABLE.get(ALIASES.get(name, name))
    if row is not None:
        return row
    architecture = name.partition(".")[0]
    if architecture not in timm_models():
        _require_vision_transformer(name, architecture)
    activation = "gelu_tanh" if "siglip" in architecture else None
    return ViTRow(name, name, "timm", activation)


def _require_vision_transformer(name: str, architecture: str) -> None:
    """Ask timm itself about a model that was not known when the list of models was written.

    Raises:
        InputError: it is no vision transformer of timm.
    """
    import timm
    from timm.models import is_model_in_modules

    if not timm.is_model(architecture):
        raise InputError(
            f"unknown encoder '{name}'.{nearest(name, [*TABLE, *ALIASES])} "
            f"Allowed: {', '.join(TABLE)}, or the name of a timm vision transformer."
        )
    if not is_model_in_modules(architecture, MODULES):
        raise InputError(
            f"the timm model '{name}' is not a plain vision transformer. Allowed: models of timm's "
            f"modules {' and '.join(MODULES)}, or {', '.join(TABLE)}."
        )
