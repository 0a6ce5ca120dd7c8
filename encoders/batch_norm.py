"""Where the BatchNorm statistics of an encoder's body come from.

BatchNorm (Ioffe & Szegedy, ICML 2015) normalises with a running mean and variance, which training
learns. A frozen body learns none. Its file brings them, but random weights have none that fit: with
mean 0 and variance 1 the channels of a map become nearly copies of each other.
"""

from encoder_ablations.encoders.spec import EncoderSpec, Statistics
from encoder_ablations.utils.errors import InputError

MOST_IMAGES = 64
"""Training images that statistics are estimated on; all of them where there are fewer."""


def statistics_of(spec: EncoderSpec, has_norms: bool) -> Statistics | None:
    """Return where a body's BatchNorm statistics come from; None for a body without BatchNorm.

    Of a partly frozen body they are those of the frozen part; the other part learns its own.

    Args:
        spec: the encoder.
        has_norms: whether the body has BatchNorms with running statistics.

    Raises:
        InputError: ``batch_norm`` has no meaning for this body.
    """
    allowed = _allowed(spec, has_norms)
    if spec.batch_norm is None:
        return next(iter(allowed), None)
    if spec.batch_norm in allowed:
        return spec.batch_norm
    where = f"encoder {spec.name}: batch_norm {spec.batch_norm} has no meaning"
    if not allowed:
        raise InputError(f"{where}, since its body has no BatchNorm. Remove it.")
    kept = f"freeze {spec.freeze}"
    if spec.adapt is not None:
        kept = "adapt"
    raise InputError(f"{where} with {kept}. Allowed: {', '.join(allowed)}.")


def _allowed(spec: EncoderSpec, has_norms: bool) -> tuple[Statistics, ...]:
    """Return the values that ``batch_norm`` may have, the default first."""
    if not has_norms:
        return ()
    if spec.adapt is None and spec.freeze in ("none", "all_but_norms"):
        return ("learn",)
    if spec.weights == "random":
        return ("estimate", "keep")
    return ("keep", "estimate")


def sentence_about(statistics: Statistics | None, weights: str) -> str | None:
    """Return what a reader must know of a body's BatchNorm statistics; None if nothing.

    Args:
        statistics: see :func:`statistics_of`.
        weights: see ``EncoderSpec.weights``.
    """
    if statistics == "estimate":
        return (
            "BatchNorm statistics of the frozen body (batch_norm: estimate) are estimated on up "
            f"to {MOST_IMAGES} training images before training, without their masks."
        )
    if statistics == "keep" and weights == "random":
        return (
            "BatchNorm statistics of the frozen body (batch_norm: keep) stay at mean 0 and "
            "variance 1, which do not fit random weights: channels of its maps are nearly copies "
            "of each other."
        )
    return None
