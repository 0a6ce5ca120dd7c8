"""Sentences about the gain from pretraining: loaded against random weights of one network."""

import math
from collections.abc import Mapping, Sequence
from operator import attrgetter

from encoder_ablations.experiments.reporting.findings.groups import Setting
from encoder_ablations.experiments.reporting.findings.label_efficiency import (
    efficiency,
    interval_text,
)
from encoder_ablations.experiments.reporting.findings.ranking import Comparison, pretraining
from encoder_ablations.experiments.reporting.text import formats
from encoder_ablations.experiments.stats.seeds import ENOUGH
from encoder_ablations.utils.texts import plural

FEW = 2
"""Most architectures whose gains have a sentence each."""
ONE_KIND = {
    True: "All encoders started from random weights: this compares architectures only.",
    False: "No encoder has a finished run from random weights, so this study cannot tell what "
    "pretraining adds.",
}
"""Whether all encoders began with random weights -> what follows where all are alike in that."""


def gain_headline(setting: Setting) -> list[str]:
    """Return a sentence about the gain from pretraining, if three seeds or more tell it."""
    pairs = [pair for pair in pretraining(setting, setting.reference) if pair.tested]
    if len(pairs) < 2:
        return [_headline_of_one(pair) for pair in pairs]
    gains = [pair.mean for pair in pairs]
    held = sum(pair.holds for pair in pairs)
    certain = {len(pairs): "all"}.get(held, held)
    return [
        f"Pretraining changes the score of {_counted(pairs)} by "
        f"{formats.interval(min(gains), max(gains))} points; the seeds confirm this for "
        f"{certain} of them."
    ]


def _counted(pairs: Sequence[Comparison]) -> str:
    """Return how many networks are compared, some of them with different parts that learn."""
    networks = {pair.first.network for pair in pairs}
    if len(networks) == len(pairs):
        return f"{len(pairs)} networks"
    forms = f"{len(pairs)} forms (frozen, adapted or fine-tuned)"
    return f"{plural(len(networks), 'network')} in {forms}"


def _headline_of_one(pair: Comparison) -> str:
    encoder = pair.first.encoder
    if not pair.holds:
        return f"The seeds do not show whether pretraining helps {encoder}."
    change = f"{formats.bare(pair.mean)} points"
    interval = f"(95 % interval {formats.bounds(pair.difference.over)})"
    if pair.mean > 0:
        return f"Pretraining adds {change} {interval}."
    return f"Pretraining lowers the score of {encoder} by {change} {interval}."


def gain(setting: Setting) -> list[str]:
    """Return sentences about what pretraining adds to the same network from random weights.

    They speak of the smallest and the largest share of the images with a comparison, and of the
    reference fraction.
    """
    if setting.without_labels:
        return []
    kinds = {group.random_weights for group in setting.scored}
    if len(kinds) == 1:
        return [ONE_KIND[kind] for kind in kinds]
    shown = _shown_shares(setting)
    sentences = []
    named = set()
    # the largest share of the images comes first
    for share in sorted(shown, reverse=True):
        sentences += _effects(shown[share], share)
        named |= {pair.names for pair in shown[share]}
    if len(named) <= FEW:
        sentences += [_saved(setting, *names) for names in sorted(named)]
    sentences.append(_without_control(setting, dict(named)))
    return list(filter(None, sentences))


def _shown_shares(setting: Setting) -> dict[float, list[Comparison]]:
    """Return share of the images -> comparisons, for the shares that sentences speak of."""
    found = {share: pretraining(setting, share) for share in setting.fractions}
    compared = [share for share in found if found[share]]
    spoken_of = {*compared[:1], *compared[-1:], setting.reference}
    return {share: found[share] for share in spoken_of.intersection(compared)}


def _without_control(setting: Setting, controls: Mapping[str, str]) -> str:
    """Return a sentence about pretrained encoders that were not run from random weights, too.

    Args:
        setting: whose encoders are meant.
        controls: encoder -> the same network from random weights.
    """
    groups = setting.scored_at(setting.reference)
    pretrained = [group.encoder for group in groups if not group.random_weights]
    lonely = [encoder for encoder in pretrained if encoder not in controls]
    if not lonely:
        return ""
    verb = "has"
    if len(lonely) > 1:
        verb = "have"
    return (
        f"{formats.listing(lonely)} {verb} no finished run from random weights, so the gain from "
        "pretraining is unknown there."
    )


def _saved(setting: Setting, strong: str, weak: str) -> str:
    """Return a sentence about the images that the stronger encoder saves; "" if it saves none."""
    found = efficiency(setting, strong, weak)
    # the curves do not tell, never meet, or meet only at the right end
    if found is None:
        return ""
    share, result = found
    if math.isnan(result.fraction) or result.fraction > 0.995 * share:
        return ""
    about = "at most" if result.at_most else "about"
    needed = f"{about} {100 * result.fraction:.2g} % of the images"
    interval = interval_text(result)
    if interval:
        needed = f"{needed} (95 % interval {interval} %)"
    return (
        f"{strong} needs {needed} to score as much as {weak} does with {formats.fraction(share)}."
    )


def _effects(pairs: list[Comparison], share: float) -> list[str]:
    """Return a sentence for each pair, or one for all when they are many."""
    where = f"With {formats.fraction(share)} of the images"
    if len(pairs) <= FEW:
        return [f"{where}, {_effect(pair)}." for pair in pairs]
    least, *_, most = sorted(pairs, key=attrgetter("mean"))
    fewest = min(pair.seeds for pair in pairs)
    sure = f"; the seeds confirm this for {sum(pair.holds for pair in pairs)} of them"
    if fewest < ENOUGH:
        sure = f" in this small sample; {formats.no_more(fewest)}"
    return [
        f"{where}, pretraining changes the score of {_counted(pairs)} by "
        f"{formats.points(least.mean)} ({least.first.encoder}) to "
        f"{formats.points(most.mean)} points ({most.first.encoder}){sure}."
    ]


def _effect(pair: Comparison) -> str:
    """Return the clause about what pretraining adds to one network."""
    over, encoder = pair.difference.over, pair.first.encoder
    change = f"{formats.bare(pair.mean)} points"
    if not pair.tested:
        direction = "more" if pair.mean >= 0 else "less"
        return (
            f"{encoder} scores {change} {direction} than the same network from random weights in "
            f"this small sample; {formats.no_more(pair.seeds)}"
        )
    if not pair.holds:
        return (
            f"the seeds do not show whether pretraining helps {encoder} "
            f"({formats.points(pair.mean)} points, {over.spread} "
            f"{formats.interval(over.low, over.high)})"
        )
    bounds = f"({over.spread} {formats.bounds(over)})"
    if pair.mean > 0:
        return f"pretraining adds {change} to {encoder} {bounds}"
    return f"pretraining lowers the score of {encoder} by {change} {bounds}"
