"""Names of encoders for readers: the label that a person wrote, or the name and what differs."""

from encoder_ablations.encoders.spec import EncoderSpec

GRIDS = {"rescaled_input": "rescaled input"}
NECKS = {"simple_feature_pyramid": "simple feature pyramid", "none": "no neck"}
STATISTICS = {"estimate": "estimated BatchNorm", "keep": "kept BatchNorm"}
"""Settings that are no default -> how they are written."""


def encoder_name(spec: EncoderSpec) -> str:
    """Return the label, or the name with what differs from the default in brackets.

    ``vit_ti16 (random weights, frozen)``; pretrained, fine-tuned and at its native grid is the
    default.
    """
    if spec.label:
        return spec.label
    protocol = {"fine-tuned": None}.get(spec.protocol, spec.protocol)
    found = [
        {"random": "random weights"}.get(spec.weights),
        protocol,
        GRIDS.get(spec.grid),
        NECKS.get(str(spec.neck)),
        STATISTICS.get(str(spec.batch_norm)),
    ]
    words = ", ".join(word for word in found if word)
    if not words:
        return spec.name
    return f"{spec.name} ({words})"
