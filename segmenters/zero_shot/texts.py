"""Features of texts for the head that compares patches with them."""

from typing import Any, Protocol, runtime_checkable

from torch import Tensor

from encoder_ablations.encoders.spec import EncoderSpec
from encoder_ablations.encoders.text.features import random_features, text_facts, text_features
from encoder_ablations.encoders.text.sources import RANDOM, tower_beside
from encoder_ablations.encoders.text.spec import TextSpec
from encoder_ablations.segmenters.base import Head, Segmenter


@runtime_checkable
class ReadsTexts(Protocol):
    """A head that compares patches with texts.

    Attributes:
        spec: its settings, of which ``queries`` and ``text`` are read.
    """

    spec: Any

    def take_texts(self, features: Tensor) -> None:
        """Take the features Q×D of the Q texts of ``queries``."""


def give_texts(segmenter: Segmenter, encoder: EncoderSpec) -> None:
    """Give a segmenter's head the features of its texts; other heads stay as they are.

    Encoders with random weights get random features, unless the head's settings name a tower.

    Args:
        segmenter: new.
        encoder: settings of the encoder whose text tower is used, unless the head's settings name
            one. A folder of weights that holds a whole model gives its own.

    Raises:
        InputError: there is no tower, it cannot be had, or its features have another width than
            the encoder's.
    """
    head = segmenter.head
    if not isinstance(head, ReadsTexts):
        return
    text, queries = _text(head, encoder), list(head.spec.queries)
    if text.tower == RANDOM:
        width = segmenter.encoder.body.as_blocks().text_width
        assert width is not None  # the head has checked it
        head.take_texts(random_features(queries, text, width))
    else:
        head.take_texts(text_features(encoder.name, queries, text))


def facts_of_texts(head: Head, encoder: EncoderSpec) -> dict[str, object]:
    """Return what a record says of the features that :func:`give_texts` gives; empty if none."""
    if not isinstance(head, ReadsTexts):
        return {}
    return {"texts": text_facts(encoder.name, _text(head, encoder))}


def _text(head: ReadsTexts, encoder: EncoderSpec) -> TextSpec:
    """Return the head's settings of texts, with the tower that goes with the encoder's weights."""
    found: TextSpec = head.spec.text
    if found.tower is not None:
        return found
    return found.model_copy(update={"tower": tower_beside(encoder)})
