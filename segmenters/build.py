"""From a specification to a segmenter."""

from encoder_ablations.encoders.base import STRIDES, Encoder
from encoder_ablations.encoders.build import build_encoder
from encoder_ablations.encoders.freezing import freeze_unread
from encoder_ablations.encoders.spec import EncoderSpec
from encoder_ablations.segmenters.base import Segmenter
from encoder_ablations.segmenters.custom_head import build_with_custom_head
from encoder_ablations.segmenters.image_head import ImageHead
from encoder_ablations.segmenters.registry import HeadEntry, head_entry, head_settings
from encoder_ablations.segmenters.spec import HeadSpec, ImageHeadSpec, SegmenterSpec
from encoder_ablations.utils.config import build
from encoder_ablations.utils.custom_code.names import is_reference
from encoder_ablations.utils.errors import InputError
from encoder_ablations.utils.seeding import torch_stream

OF_MAPS = ("taps", "final_norm", "channels", "top_down")
"""Settings of an encoder that heads which read the body itself do not depend on."""


def build_segmenter(
    spec: SegmenterSpec | HeadSpec,
    encoder: Encoder,
    num_classes: int,
    seed: int,
    image_classes: int = 0,
) -> Segmenter:
    """Return the encoder with a new head.

    The head's weights depend on ``seed`` and on the pyramid's channels, on nothing else.

    Args:
        spec: a head and its settings, as :func:`~.references.load_segmenter` gives them, or as the
            head's own model.
        encoder: becomes part of the segmenter.
        num_classes: number of classes, K.
        seed: of the head's random stream.
        image_classes: number of classes of whole images; 0 = the dataset has none.

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
    settings = _settings(spec, entry)
    if is_reference(entry.reference):
        own = (entry.head, entry.reference, settings)
        segmenter = build_with_custom_head(*own, encoder, num_classes, seed)
    else:
        with torch_stream(seed, "head"):
            head = entry.head.build(settings, encoder, num_classes)
        segmenter = Segmenter(encoder, head)
    if settings.image_head is not None:
        _refuse_body_reader(entry)
        segmenter.image_head = _image_head(settings.image_head, encoder, image_classes, seed)
    if not entry.learns:
        segmenter.requires_grad_(False)
    if segmenter.head.levels is not None:
        freeze_unread(encoder, segmenter.head.levels, segmenter.image_head is not None)
    segmenter.class_names = tuple(map(str, range(num_classes)))
    return segmenter


def _settings(spec: SegmenterSpec | HeadSpec, entry: HeadEntry) -> HeadSpec:
    """Return a head's settings as its own model."""
    own = SegmenterSpec.model_validate(spec).settings()
    settings: HeadSpec = build(entry.spec, own, f"segmenter {spec.name}")
    return settings


def _image_head(spec: ImageHeadSpec, encoder: Encoder, num_classes: int, seed: int) -> ImageHead:
    """Return a new head that reads the last map of the encoder's body.

    Args:
        spec: its settings.
        encoder: its body gives the map.
        num_classes: classes of whole images, at least 2.
        seed: of a random stream of its own, so that the other head has the weights it always has.

    Raises:
        InputError: there are no classes of whole images.
    """
    if num_classes < 2:
        raise InputError(
            "segmenter.image_head predicts the class of the whole image, and the dataset has none. "
            "Add labels and image_classes to its YAML, or leave image_head out."
        )
    body = encoder.body
    with torch_stream(seed, "image head"):
        return ImageHead(spec, num_classes, body.widths[-1], body.reductions[-1])


def _refuse_body_reader(entry: HeadEntry) -> None:
    """Refuse an image head where no maps are made.

    Raises:
        InputError: the head for masks reads the body itself.
    """
    if not entry.learns:
        raise InputError(
            f"segmenter.image_head must be trained, but {entry.reference} does not learn by "
            "gradients. Use another head, or leave image_head out."
        )
    if entry.reads == "body":
        raise InputError(
            f"segmenter.image_head reads the encoder's maps, but {entry.reference} reads the body "
            "itself, and no maps are made. Use another head, or leave image_head out."
        )


def encoder_for(head: SegmenterSpec | HeadSpec, encoder: EncoderSpec) -> EncoderSpec:
    """Return the encoder as a head needs it.

    It has no neck where the head reads the body itself. It has neither a neck nor anything else
    that would have to learn where the head does not learn by gradients.

    Raises:
        InputError: the encoder has a setting that makes maps, which this head does not read, or one
            that must learn.
    """
    entry = head_entry(head.name)
    if not entry.learns:
        encoder = _fixed(head.name, encoder)
    if entry.reads != "body":
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


def build_encoder_for(head: SegmenterSpec | HeadSpec, encoder: EncoderSpec, seed: int) -> Encoder:
    """Return a new encoder as a head needs it, with the way into the space of texts if it does.

    Args:
        head: will read it.
        encoder: its settings.
        seed: of its random weights.

    Raises:
        InputError: encoder and head do not fit together, or see :func:`build_encoder`.
    """
    settings, _ = head_settings(head.name)
    return build_encoder(encoder_for(head, encoder), seed, text=settings.in_text_space)


def _fixed(head: str, encoder: EncoderSpec) -> EncoderSpec:
    """Return an encoder of which nothing learns: a frozen body, whose own maps are read.

    Raises:
        InputError: the encoder has a neck or adapters, which start from random numbers.
    """
    learning = []
    if encoder.neck not in (None, "none"):
        learning.append("neck")
    if encoder.adapt is not None:
        learning.append("adapt")
    if learning:
        raise InputError(
            f"encoder {encoder.title}: {learning[0]} must be trained, but {head} does not learn by "
            f"gradients. Remove {learning[0]}, or use another head."
        )
    return encoder.model_copy(update={"neck": "none", "freeze": "body"})


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
