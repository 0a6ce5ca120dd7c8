"""Sentences about predicted masks: what a teacher changes for each encoder and head."""

from encoder_ablations.experiments.reporting.findings.labels.predicted_masks import (
    TaughtArm,
    taught_arms,
)
from encoder_ablations.experiments.reporting.findings.study import Study
from encoder_ablations.experiments.reporting.sentences.differences import with_certainty
from encoder_ablations.experiments.reporting.text import formats

FEW = 6
"""Most arms with a sentence of their own; the table has all."""


def said_of_teachers(study: Study) -> list[str]:
    """Return what predicted masks change for the first arms that have a teacher."""
    return [_sentence(arm) for arm in taught_arms(study)[:FEW]]


def _sentence(arm: TaughtArm) -> str:
    pair = arm.against
    own, base = (formats.percent(group.score.mean) for group in (arm.taught, arm.without))
    told = f"{arm.title} of the images labelled: {own} % with {arm.name}, {base} % without"
    if not pair.seeds:
        return f"{told}. The two share no seed, so they cannot be compared."
    direction = "more" if pair.mean >= 0 else "less"
    return with_certainty(f"{told}, which is {formats.bare(pair.mean)} points {direction}", pair)
