"""Facts about the encoders of the table, as a file that is read without building any of them."""

from functools import cache
from pathlib import Path

from encoder_ablations.utils.config import Config, build, read_yaml

FILE = Path(__file__).parent / "facts.yaml"
"""Written by ``python -m encoder_ablations.encoders.facts_writer``; a test compares it with the
models."""


class EncoderFacts(Config):
    """What the model of a row and timm's entry for its weights say."""

    parameters: int
    """Numbers that the body learns, at the native grid."""
    size: int | None
    """Side in pixels of the images that the weights were trained on; None = no weights."""
    patch: int | None
    """Side of a patch in pixels; None = no patches."""
    width: int
    """Channels of the last map."""
    blocks: int
    """Blocks as timm counts them, or stages of a DarkNet."""
    mean: tuple[float, float, float]
    """Mean of R, G, B in 0..1 that the weights expect."""
    std: tuple[float, float, float]
    """Standard deviation of R, G, B in 0..1 that the weights expect."""
    licence: str | None
    """The licence of the weights, as timm names it."""
    batch_norm: bool
    """Whether the body has BatchNorms with running statistics."""


TIMM_MODELS = Path(__file__).parent / "timm_models.yaml"
"""The names of timm's models, written together with ``facts.yaml``."""


@cache
def timm_models() -> dict[str, frozenset[str]]:
    """Return the names of timm's models, as of when the file was written.

    They are "plain" vision transformers and others, which may be "hierarchical".
    """
    return {kind: frozenset(text.split()) for kind, text in read_yaml(TIMM_MODELS).items()}


def read_facts() -> dict[str, EncoderFacts]:
    """Return the facts of every encoder of the table, by its name."""
    return {name: build(EncoderFacts, row, FILE) for name, row in read_yaml(FILE).items()}
