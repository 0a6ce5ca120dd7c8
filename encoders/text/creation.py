"""Features of texts in one call."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from encoder_ablations.encoders.text.features import text_features
from encoder_ablations.encoders.text.spec import TextSpec
from encoder_ablations.encoders.text.vocabulary import load_vocabulary
from encoder_ablations.utils.config import build


def encode_texts(
    encoder: str, texts: Sequence[str] | Mapping[str, Any] | Path | str, **settings: Any
) -> Tensor:
    """Return the features Q×D float32 of texts, of unit length, on the CPU.

    Args:
        encoder: a name of :func:`~.listing.list_encoders` that was trained with texts.
        texts: a list, a mapping ``{class: [text, …]}``, or a YAML file of either.
        settings: keys of :class:`~.spec.TextSpec`, such as ``templates="imagenet"`` or
            ``tower="FOLDER"``.

    Raises:
        InputError: the encoder has no text tower, it cannot be had, or the texts are no vocabulary.
    """
    queries = list(load_vocabulary(texts).queries)
    return text_features(encoder, queries, build(TextSpec, settings, "encode_texts"))
