"""Facts about the built-in heads, as a file that is read without importing any of them."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

import yaml

from encoder_ablations.data.datasets.sample import Task

FILE = Path(__file__).parent / "facts.yaml"
"""Written by ``python -m encoder_ablations.segmenters.facts_writer``; a test compares it with the
heads."""
CLASSES = 12
"""Classes of the heads whose parameters are counted."""
CHANNELS = 256
"""Channels of every level of the pyramid that they read."""
WIDTH = 768
"""Width of the ViT that they read where they read no pyramid."""


Reads = Literal["pyramid", "maps", "body"]
"""What a head reads: a pyramid p2 to p5, whatever levels the encoder gives, or the body itself."""
Learning = Literal["steps", "one pass", "nothing"]
"""How a head learns: by gradients, step by step; by reading the training images once; or not at
all, so that it needs no labels."""


@dataclass(frozen=True)
class HeadFacts:
    """What a head of ``CLASSES`` classes says about itself.

    Attributes:
        reads: what the encoder must give it.
        task: what it predicts.
        learns: how it learns.
        parameters: numbers that it learns; None = it needs a package that is not always there.
        counted_on: the encoder it was built for: one with a pyramid, or a ViT without a neck. None
            = it was not built.
    """

    reads: Reads
    task: Task
    learns: Learning
    parameters: int | None
    counted_on: Literal["pyramid", "vit"] | None


@cache
def read_facts() -> dict[str, HeadFacts]:
    """Return the facts of every built-in head, by its name."""
    rows = yaml.safe_load(FILE.read_text(encoding="utf-8"))
    return {name: HeadFacts(**row) for name, row in rows.items()}
