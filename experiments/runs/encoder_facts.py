"""What a record says of a run's encoder: its body, its weights and its BatchNorm statistics."""

from encoder_ablations.encoders.base import Encoder
from encoder_ablations.encoders.batch_norm import MOST_IMAGES, sentence_about


def encoder_facts(encoder: Encoder, n_train: int) -> dict[str, object]:
    """Return the facts, as plain values; there are none about what an encoder has not.

    Args:
        encoder: the run's.
        n_train: images that the run learns from.
    """
    facts = encoder.body.facts()
    if encoder.body.loaded is not None:
        facts["weights"] = encoder.body.loaded
    if encoder.batch_norm is not None:
        facts["batch_norm"] = encoder.batch_norm
    if encoder.batch_norm == "estimate":
        facts["batch_norm_images"] = min(MOST_IMAGES, n_train)
    return facts


def about_encoder(encoder: Encoder, weights: str) -> list[str]:
    """Return what a record discloses of the encoder.

    Args:
        encoder: the run's.
        weights: see ``EncoderSpec.weights``.
    """
    sentence = sentence_about(encoder.batch_norm, weights)
    if sentence is None:
        return []
    return [sentence]
