"""Facts about the built-in heads, as a file that is read without importing any of them."""

from pathlib import Path
from typing import Literal

from encoder_ablations.segmenters.spec import Reads
from encoder_ablations.utils.config import Config, build, read_yaml

FILE = Path(__file__).parent / "facts.yaml"
"""Written by ``python -m encoder_ablations.segmenters.facts_writer``; a test compares it with the
heads."""
CLASSES = 12
"""Classes of the heads whose parameters are counted."""
CHANNELS = 256
"""Channels of every level of the pyramid that they read."""
WIDTH = 768
"""Width of the ViT that they read where they read no pyramid."""


class HeadFacts(Config):
    """What a head of ``CLASSES`` classes says about itself."""

    reads: Reads
    """What the encoder must give it."""
    parameters: int | None
    """Numbers that it learns; None = it needs a package that is not always there."""
    counted_on: Literal["pyramid", "vit"] | None
    """The encoder it was built for: one with a pyramid, or a ViT without a neck. None = it was not
    built.
    """


def read_facts() -> dict[str, HeadFacts]:
    """Return the facts of every built-in head, by its name."""
    return {name: build(HeadFacts, row, FILE) for name, row in read_yaml(FILE).items()}
