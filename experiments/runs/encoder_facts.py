"""What a record says of a run's encoder: body, weights, BatchNorm statistics, adapters."""

from encoder_ablations.encoders.base import Encoder
from encoder_ablations.encoders.batch_norm import MOST_IMAGES, sentence_about
from encoder_ablations.engine.training.checkpoints import body_digest
from encoder_ablations.segmenters.base import Head
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


def second_model_facts(head: Head) -> dict[str, object]:
    """Return what a record says of the second vision model of a head; empty if it has none.

    ``weights`` names the file that its weights came from, as those of the encoder; random ones have
    none. ``weights_sha256`` is of all of its numbers, which lie in ``best.pt``.

    Args:
        head: of the run, with its best weights.
    """
    second: Encoder | None = getattr(getattr(head, "second", None), "encoder", None)
    if second is None:
        return {}
    body = second.body
    facts = body.facts()
    if body.loaded is not None:
        facts["weights"] = body.loaded
    facts["weights_sha256"] = body_digest(second.state_dict())
    return {"vfm": facts}


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
