"""The built-in heads and their settings."""

from encoder_ablations.segmenters.spec import (
    ClassifierSpec,
    ConvTransposeSpec,
    DeepLabV3PlusSpec,
    EomtSpec,
    FPNSpec,
    HeadSpec,
    LinearSpec,
    Mask2FormerSpec,
    OfficialMask2FormerSpec,
    QueryDecoderSpec,
    SegFormerSpec,
    UNetPlainSpec,
    UNetSpec,
    UPerNetSpec,
)
from encoder_ablations.segmenters.zero_shot.spec import ZeroShotSpec

BUILT_IN: dict[str, type[HeadSpec]] = {
    "classifier": ClassifierSpec,
    "conv_transpose": ConvTransposeSpec,
    "deeplabv3plus": DeepLabV3PlusSpec,
    "eomt": EomtSpec,
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
