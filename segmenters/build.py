"""From a specification to a segmenter."""

from encoder_ablations.encoders.base import STRIDES, Encoder
from encoder_ablations.encoders.freezing import freeze_unread
from encoder_ablations.segmenters.base import Segmenter
from encoder_ablations.segmenters.custom_head import build_with_custom_head
from encoder_ablations.segmenters.registry import head_entry
from encoder_ablations.segmenters.spec import HeadSpec, SegmenterSpec
from encoder_ablations.utils.config import build
from encoder_ablations.utils.custom_code.names import is_reference
from encoder_ablations.utils.errors import InputError
from encoder_ablations.utils.seeding import torch_stream


def build_segmenter(
    spec: SegmenterSpec | HeadSpec, encoder: Encoder, num_classes: int, seed: int
) -> Segmenter:
    """Return the encoder with a new head.

    The head's weights depend on ``seed`` and on the pyramid's channels, on nothing else.

    Args:
        spec: a head and its settings, as :func:`~.references.load_segmenter` gives them, or as the
            head's own model.
        encoder: becomes part of the segmenter.
        num_classes: number of classes, K.
        seed: of the head's random stream.

    Raises:
        InputError: the head needs a pyramid and the encoder gives none, the settings do not fit
            together, a package that the head needs is not installed, or a head of one's own fails.
    """
    entry = head_entry(spec.name)
    names = [level.name for level in encoder.levels]
    if entry.reads == "pyramid" and names != list(STRIDES):
        raise InputError(
            f"{spec.name} reads a pyramid {', '.join(STRIDES)}, but the encoder has neck: none and "
            f"gives {', '.join(names)}. Use a neck, the linear head, or a hierarchical encoder."
        )
    settings = build(entry.spec, spec.model_dump(), f"segmenter {spec.name}")
    if is_reference(entry.reference):
        segmenter = build_with_custom_head(entry, settings, encoder, num_classes, seed)
    else:
        with torch_stream(seed, "head"):
            head = entry.head.build(settings, encoder, num_classes)
        segmenter = Segmenter(encoder, head)
    if segmenter.head.levels is not None:
        freeze_unread(encoder, segmenter.head.levels)
    return segmenter
