"""The least sizes of images and windows; asking imports no PyTorch."""

from typing import Any

from encoder_ablations.encoders.facts import read_facts
from encoder_ablations.encoders.spec import EncoderSpec
from encoder_ablations.encoders.table.lookup import find_row
from encoder_ablations.utils.errors import InputError

SIDES = ("window", "short_side", "long_side")
"""Settings that are sides in pixels."""
REGULAR_PATCH = 16
"""Pixels of an image per token of a model whose ``grid`` is not its native one."""


def known_patch(encoder: EncoderSpec) -> float | None:
    """Return how many pixels of an image a token stands for; None where only the model tells.

    Args:
        encoder: its settings.
    """
    if encoder.grid != "native":
        return REGULAR_PATCH
    facts = read_facts().get(find_row(encoder.name).name)
    if facts is None:
        return None
    return facts.patch


def check_sizes(settings: Any, patch: float | None) -> None:
    """Check that windows and images are at least as large as a patch.

    Args:
        settings: of the head; those that it lacks are not checked.
        patch: side of a patch in pixels of the image; None = not known.

    Raises:
        InputError: one is smaller.
    """
    if patch is None:
        return
    for key in SIDES:
        pixels = getattr(settings, key, None)
        if pixels is not None and pixels < patch:
            raise InputError(
                f"segmenter.{key}: {pixels} pixels are less than a patch of the encoder, which has "
                f"{patch:g}. Use at least that many."
            )
