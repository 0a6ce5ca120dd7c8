"""From a specification to a segmenter."""

from encoder_ablations.encoders.base import STRIDES, Encoder
from encoder_ablations.encoders.freezing import freeze_unread
from encoder_ablations.encoders.spec import EncoderSpec
from encoder_ablations.segmenters.base import Segmenter
from encoder_ablations.segmenters.custom_head import build_with_custom_head
from encoder_ablations.segmenters.registry import head_entry
from encoder_ablations.segmenters.spec import HeadSpec, SegmenterSpec
from encoder_ablations.utils.config import build
from encoder_ablations.utils.custom_code.names import is_reference
from encoder_ablations.utils.errors import InputError
from encoder_ablations.utils.seeding import torch_stream

OF_MAPS = ("taps", "final_norm", "channels", "top_down")
"""Settings of an encoder that heads which read the body itself do not depend on."""


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
        InputError: the head needs a pyramid or a body that the encoder has not, the settings do not
            fit together, a package that the head needs is not installed, or a head of one's own
            fails.
    """
    entry = head_entry(spec.name)
    names = [level.name for level in encoder.levels]
    if entry.reads == "pyramid" and names != list(STRIDES):
        raise InputError(
            f"{spec.name} reads a pyramid {', '.join(STRIDES)}, but the encoder has neck: none and "
            f"gives {', '.join(names)}. Use a neck, the linear head, or a hierarchical encoder."
        )
    if entry.reads == "body":
        _check_body(spec.name, encoder)
    settings = build(entry.spec, spec.model_dump(), f"segmenter {spec.name}")
    if is_reference(entry.reference):
        segmenter = build_with_custom_head(entry, settings, encoder, num_classes, seed)
    else:
        with torch_stream(seed, "head"):
            head = entry.head.build(settings, encoder, num_classes)
        segmenter = Segmenter(encoder, head)
    if segmenter.head.levels is not None:
        freeze_unread(encoder, segmenter.head.levels)
    segmenter.class_names = tuple(map(str, range(num_classes)))
    return segmenter


def encoder_for(head: SegmenterSpec | HeadSpec, encoder: EncoderSpec) -> EncoderSpec:
    """Return the encoder as a head needs it: without a neck where the head reads the body itself.

    Raises:
        InputError: the encoder has a setting that makes maps, which this head does not read.
    """
    if head_entry(head.name).reads != "body":
        return encoder
    fields = EncoderSpec.model_fields
    changed = [key for key in OF_MAPS if getattr(encoder, key) != fields[key].default]
    if encoder.neck not in (None, "none"):
        changed.insert(0, "neck")
    if changed:
        raise InputError(
            f"encoder {encoder.title}: {changed[0]} is about maps, but {head.name} reads the body "
            f"itself. Remove {changed[0]}, or use another head."
        )
    return encoder.model_copy(update={"neck": "none"})


def _check_body(head: str, encoder: Encoder) -> None:
    """Check that a head can run the encoder's blocks, and that all of the encoder is then read.

    Raises:
        InputError: it cannot, or a part of the encoder would not learn.
    """
    try:
        encoder.body.as_blocks()
    except InputError as error:
        raise InputError(f"segmenter {head}: {error}") from error
    unread = [name for name, _ in encoder.body.named_parameters() if not encoder.body.reads(name)]
    if unread or encoder.parts["neck"]:
        raise InputError(
            f"segmenter {head} reads the body itself, but the encoder is made for maps, with a "
            "neck or without its last blocks. Build it with neck: none, and without taps and "
            "final_norm."
        )
