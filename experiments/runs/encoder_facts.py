"""What a record says of a run's encoder: body, weights, BatchNorm statistics, adapters."""

from encoder_ablations.encoders.base import Encoder
from encoder_ablations.encoders.batch_norm import MOST_IMAGES, sentence_about
from encoder_ablations.utils.texts import plural


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
    if encoder.adapters:
        facts["adapters"] = _adapter_facts(encoder)
    return facts


def _adapter_facts(encoder: Encoder) -> dict[str, int]:
    """Return how many layers have adapters, and how many parameters these have."""
    adapters = encoder.adapters.values()
    parameters = [each for adapter in adapters for each in adapter.parameters()]
    return {"layers": len(adapters), "parameters": sum(each.numel() for each in parameters)}


def about_encoder(encoder: Encoder, weights: str) -> list[str]:
    """Return what a record discloses of the encoder.

    Args:
        encoder: the run's.
        weights: see ``EncoderSpec.weights``.
    """
    found = []
    sentence = sentence_about(encoder.batch_norm, weights)
    if sentence is not None:
        found.append(sentence)
    if encoder.adapters:
        counted = _adapter_facts(encoder)
        found.append(
            f"Adapters (LoRA) beside {plural(counted['layers'], 'layer')} of the encoder's body, "
            f"{counted['parameters']} parameters in all, learned in place of its own weights."
        )
    return found
