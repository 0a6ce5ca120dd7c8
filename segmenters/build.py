"""From a specification to a segmenter."""

from encoder_ablations.encoders.base import Encoder
from encoder_ablations.segmenters.base import Head, Segmenter
from encoder_ablations.segmenters.linear import LinearHead
from encoder_ablations.segmenters.mask2former import Mask2FormerHead
from encoder_ablations.segmenters.spec import LinearSpec, OfficialMask2FormerSpec, SegmenterSpec
from encoder_ablations.utils.seeding import torch_stream


def build_segmenter(spec: SegmenterSpec, encoder: Encoder, num_classes: int, seed: int) -> Segmenter:
    """The encoder with a new head, whose weights depend on ``seed`` and on the pyramid's channels, on nothing else.

    Raises:
        MissingPackageError: the official Mask2Former is asked for, and it or Detectron2 cannot be imported.
    """
    with torch_stream(seed, "head"):
        head: Head
        if isinstance(spec, LinearSpec):
            head = LinearHead(num_classes, encoder.levels)
        elif isinstance(spec, OfficialMask2FormerSpec):
            from encoder_ablations.segmenters.mask2former_official import build_official_head  # needs Detectron2

            head = build_official_head(spec, num_classes, encoder.levels)
        else:
            head = Mask2FormerHead(spec, num_classes, encoder.levels)
    return Segmenter(encoder, head)
