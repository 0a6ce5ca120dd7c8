"""A segmenter in one call."""

from collections.abc import Sequence
from typing import Any

from encoder_ablations.encoders.base import Encoder
from encoder_ablations.segmenters.base import Segmenter
from encoder_ablations.segmenters.build import build_segmenter
from encoder_ablations.segmenters.class_weights import balanced_losses, with_class_weights
from encoder_ablations.segmenters.references import load_segmenter
from encoder_ablations.segmenters.registry import head_settings
from encoder_ablations.segmenters.spec import SegmenterSpec
from encoder_ablations.utils.errors import InputError
from encoder_ablations.utils.references import Reference


def create_segmenter(
    name: Reference,
    encoder: Encoder,
    classes: int | Sequence[str],
    *,
    seed: int = 0,
    **settings: Any,
) -> Segmenter:
    """Return an encoder with a new head: images to class scores.

    ``model(images)`` takes B×3×H×W, RGB 0..255, of any size, and gives scores B×K×H×W.
    ``model.loss(images, masks)`` gives named losses, whose sum is minimised.

    Args:
        name: a head that ``ablate heads`` lists, the path of a YAML, ``package.module:Class``, or
            a mapping with a ``base``.
        encoder: becomes part of the segmenter.
        classes: the names of the K classes, or their number.
        seed: of the head's random weights.
        settings: those of the head, such as ``hidden=256`` of UPerNet.

    Raises:
        InputError: an unknown head or setting, a head that does not fit the encoder, a head that
            reads texts without any, or weights of classes that depend on a dataset.
    """
    names = _names(classes)
    spec = load_segmenter(name, settings)
    if balanced_losses(spec):
        raise InputError(
            f"segmenter {spec.name}: class_weights balanced depend on a dataset, which is not "
            f"known here. Give a list of {len(names)} numbers."
        )
    _check_texts(spec, encoder)
    segmenter = build_segmenter(with_class_weights(spec, names, None), encoder, len(names), seed)
    segmenter.class_names = names
    return segmenter


def _check_texts(spec: SegmenterSpec, encoder: Encoder) -> None:
    """Check that a head which compares features with texts is given what it needs.

    Raises:
        InputError: the encoder is made for maps or without the space of texts, or there are no
            queries. The line says all three steps, so that they are not found one by one.
    """
    settings, _ = head_settings(spec.name)
    if not settings.in_text_space:
        return
    has_queries = bool(spec.model_dump().get("queries"))
    reads_body = has_queries and not encoder.parts["neck"]
    if reads_body and encoder.body.as_blocks().text_width is not None:
        return
    raise InputError(
        f"segmenter {spec.name} compares features with texts. It needs an encoder made by "
        'create_encoder(NAME, neck="none", text=True), the setting queries={text: class id}, and '
        "then model.head.take_texts(encode_texts(NAME, list(queries)))."
    )


def _names(classes: int | Sequence[str]) -> tuple[str, ...]:
    """Return the names of classes; numbers from 0 where only their number is given.

    Raises:
        InputError: there is no class, or two have one name.
    """
    if isinstance(classes, int):
        classes = [str(number) for number in range(classes)]
    if isinstance(classes, str) or not classes or len(set(classes)) != len(classes):
        raise InputError(
            f"classes {classes!r}: give the number of classes, at least 1, or a list of their "
            "names, each once."
        )
    return tuple(classes)
