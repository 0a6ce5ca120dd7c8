"""From a specification to a segmenter."""

from encoder_ablations.encoders.base import STRIDES, Encoder
from encoder_ablations.segmenters.base import Head, Segmenter
from encoder_ablations.segmenters.heads.linear import LinearHead
from encoder_ablations.segmenters.heads.mask2former import Mask2FormerHead
from encoder_ablations.segmenters.spec import LinearSpec, OfficialMask2FormerSpec, SegmenterSpec
from encoder_ablations.utils.errors import InputError
from encoder_ablations.utils.seeding import torch_stream


def build_segmenter(
    spec: SegmenterSpec, encoder: Encoder, num_classes: int, seed: int
) -> Segmenter:
    """The encoder with a new head, whose weights depend on ``seed`` and on the pyramid's channels, on nothing else.

    Raises:
        InputError: a head that needs a pyramid, and an encoder without a neck; the official Mask2Former, where it or
            Detectron2 cannot be imported.
    """
    names = [level.name for level in encoder.levels]
    if not isinstance(spec, LinearSpec) and names != list(STRIDES):
        raise InputError(
            f"{spec.name} reads a pyramid {', '.join(STRIDES)}, but the encoder has neck: none and gives "
            f"{', '.join(names)}. Leave neck out, or use the linear head."
        )
    with torch_stream(seed, "head"):
        head: Head
        if isinstance(spec, LinearSpec):
            head = LinearHead(num_classes, encoder.levels)
        elif isinstance(spec, OfficialMask2FormerSpec):
            from encoder_ablations.segmenters.heads.mask2former_official import (
                build_official_head,
            )  # needs Detectron2

            head = build_official_head(spec, num_classes, encoder.levels)
        else:
            head = Mask2FormerHead(spec, num_classes, encoder.levels)
    return Segmenter(encoder, head)
