"""Which runs of a study a head has: one without labels, or one per seed and fraction."""

from collections.abc import Sequence
from itertools import product

from encoder_ablations.segmenters.spec import SegmenterSpec
from encoder_ablations.utils.errors import InputError

SEED = 0
"""Of every run without labels, in which little or nothing is random."""


def needs_labels(segmenter: SegmenterSpec) -> bool:
    """Return whether a head learns from training images in any way."""
    return segmenter.learning != "nothing"


def places_of(
    segmenter: SegmenterSpec, seeds: Sequence[int], fractions: Sequence[float]
) -> list[tuple[int, float]]:
    """Return the seeds and fractions of a head's runs with one encoder.

    Args:
        segmenter: the head.
        seeds: of the study.
        fractions: of the study.
    """
    if not needs_labels(segmenter):
        return [(SEED, 0.0)]
    return list(product(seeds, [fraction for fraction in fractions if fraction]))


def refuse_zero(
    fractions: Sequence[float], segmenters: Sequence[SegmenterSpec], where: str
) -> None:
    """Refuse a fraction 0 that no head can use, and heads that have no other fraction.

    Args:
        fractions: of the study.
        segmenters: its heads.
        where: begins the message.

    Raises:
        InputError: one of both.
    """
    if 0 not in fractions:
        return
    learning = [segmenter.title for segmenter in segmenters if needs_labels(segmenter)]
    if len(learning) == len(segmenters):
        raise InputError(
            f"{where}: fraction 0 is for heads that need no labels, but {', '.join(learning)} "
            "learns from them. Remove 0 from fractions, or add such a head (ablate heads)."
        )
    if learning and not any(fractions):
        raise InputError(
            f"{where}: fractions has nothing but 0, but {', '.join(learning)} learns from labels. "
            "Add a fraction such as 1, or remove the head."
        )
