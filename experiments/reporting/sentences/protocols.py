"""Sentences about protocols: frozen, adapted and fine-tuned encoders in one ranking."""

from collections.abc import Sequence

from encoder_ablations.experiments.reporting.findings.groups import Setting
from encoder_ablations.experiments.reporting.findings.protocols import (
    against_first,
    families,
)
from encoder_ablations.experiments.reporting.findings.ranking import (
    Comparison,
    Standing,
    ranking,
)
from encoder_ablations.experiments.reporting.sentences.differences import with_certainty
from encoder_ablations.experiments.reporting.text import formats
from encoder_ablations.utils.texts import duration

FEW = 3
"""Most encoders with sentences of their own; the table has all."""


def said_of_protocols(setting: Setting) -> list[str]:
    """Return how the protocols of one encoder compare, for the first few encoders with several."""
    ranked = ranking(setting, setting.reference)
    sentences = []
    for family in families(ranked)[:FEW]:
        sentences.append(_scores(family))
        pairs = zip(family[1:], against_first(ranked, family), strict=True)
        sentences += [_effect(family[0], other, pair) for other, pair in pairs]
    return sentences


def _scores(family: Sequence[Standing]) -> str:
    told = [
        f"{formats.percent(each.score.mean)} % {_words(each)} "
        f"({formats.large(each.cost.trainable)} parameters learn, in "
        f"{duration(each.cost.train_seconds)})"
        for each in family
    ]
    return f"{family[0].group.network_title} scores {formats.listing(told)}."


def _words(standing: Standing) -> str:
    """Return what learns, as it stands in a sentence: "frozen", "with LoRA of rank 8"."""
    name = standing.group.protocol
    if standing.group.spec.encoder.adapt is None:
        return name
    return f"with {name}"


def _effect(first: Standing, other: Standing, pair: Comparison) -> str:
    """Return what a protocol changes against the one with the fewest parameters."""
    own, base = _words(other), _words(first)
    start = f"{own[0].upper()}{own[1:]}, it"
    if not pair.seeds:
        return f"{start} shares no seed with {base}, so the two cannot be compared."
    direction = "more" if pair.mean >= 0 else "less"
    told = f"{start} scores {formats.bare(pair.mean)} points {direction} than {base}"
    return with_certainty(told, pair)
