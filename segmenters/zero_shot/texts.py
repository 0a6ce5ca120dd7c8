"""Features of texts for the head that compares patches with them."""

from typing import Any, Protocol, runtime_checkable

from torch import Tensor

from encoder_ablations.encoders.spec import EncoderSpec
from encoder_ablations.encoders.text.features import text_facts, text_features
from encoder_ablations.encoders.text.sources import own_tower
from encoder_ablations.encoders.text.spec import TextSpec
from encoder_ablations.segmenters.base import Head


@runtime_checkable
class ReadsTexts(Protocol):
    """A head that compares patches with texts.

    Attributes:
        spec: its settings, of which ``queries`` and ``text`` are read.
    """

    spec: Any

    def take_texts(self, features: Tensor) -> None:
        """Take the features Q×D of the Q texts of ``queries``."""


def give_texts(head: Head, encoder: EncoderSpec) -> None:
    """Give a head the features of its texts; other heads stay as they are.

    Args:
        head: new.
        encoder: settings of the encoder whose text tower is used, unless the head's settings name
            one. A folder of weights that holds a whole model gives its own.

    Raises:
        InputError: there is no tower, it cannot be had, or its features have another width than
            the encoder's.
    """
    if isinstance(head, ReadsTexts):
        head.take_texts(text_features(encoder.name, list(head.spec.queries), _text(head, encoder)))


def facts_of_texts(head: Head, encoder: EncoderSpec) -> dict[str, object]:
    """Return what a record says of the features that :func:`give_texts` gives; empty if none."""
    if not isinstance(head, ReadsTexts):
        return {}
    return {"texts": text_facts(encoder.name, _text(head, encoder))}


def _text(head: ReadsTexts, encoder: EncoderSpec) -> TextSpec:
    """Return the head's settings of texts, with the tower of the encoder's folder of weights."""
    found: TextSpec = head.spec.text
    if found.tower is not None:
        return found
    return found.model_copy(update={"tower": own_tower(encoder)})
