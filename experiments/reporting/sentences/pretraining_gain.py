"""Sentences about the gain from pretraining: loaded against random weights of one network."""

from encoder_ablations.experiments.reporting.findings.groups import Setting
from encoder_ablations.experiments.reporting.findings.label_efficiency import (
    efficiency,
    efficiency_texts,
)
from encoder_ablations.experiments.reporting.findings.ranking import Comparison, pretraining
from encoder_ablations.experiments.reporting.text import formats
from encoder_ablations.experiments.stats.seeds import ENOUGH
from encoder_ablations.utils.texts import plural

FEW = 2
"""Most architectures whose gains have a sentence each."""


def gain_headline(setting: Setting, fraction: float) -> list[str]:
    """Return a sentence about the gain from pretraining, if three seeds or more tell it."""
    pairs = [pair for pair in pretraining(setting, fraction) if pair.difference.over.n >= ENOUGH]
    if not pairs:
        return []
    if len(pairs) == 1:
        return [_headline_of_one(pairs[0])]
    gains = sorted(pair.mean for pair in pairs)
    held = sum(pair.holds for pair in pairs)
    certain = "all" if held == len(pairs) else str(held)
    return [
        f"Pretraining changes the score of {len(pairs)} networks by {formats.points(gains[0])} to "
        f"{formats.points(gains[-1])} points; the seeds confirm this for {certain} of them."
    ]


def _headline_of_one(pair: Comparison) -> str:
    encoder = pair.first.encoder
    if not pair.holds:
        return f"The seeds do not show whether pretraining helps {encoder}."
    change = f"{formats.bare(pair.mean)} points"
    interval = f"(95 % interval {formats.bounds(pair.difference.over)})"
    if pair.mean > 0:
        return f"Pretraining adds {change} {interval}."
    return f"Pretraining takes {change} {interval} from {encoder}."


def gain(setting: Setting, fraction: float) -> list[str]:
    """Return sentences about what pretraining adds to the same network from random weights.

    They speak of the smallest and the largest share of the images with a comparison, and of
    ``fraction``.
    """
    kinds = {group.random_weights for group in setting.groups if group.values()}
    if kinds == {True}:
        return ["All encoders started from random weights: this compares architectures only."]
    if kinds == {False}:
        return [
            "No encoder was also trained from random weights, so this study cannot tell what "
            "pretraining adds."
        ]
    pairs = {share: pretraining(setting, share) for share in setting.fractions}
    compared = [share for share in setting.fractions if pairs[share]]
    shown = {share for share in compared if share in (compared[0], compared[-1], fraction)}
    sentences = []
    named = set()
    for share in sorted(shown, reverse=True):
        sentences += _effects(pairs[share], share)
        named |= {(pair.first.encoder, pair.second.encoder) for pair in pairs[share]}
    if len(named) <= FEW:
        for strong, weak in sorted(named):
            sentences += _saved(setting, strong, weak)
    return sentences + _without_control(setting, fraction, {strong for strong, _ in named})


def _without_control(setting: Setting, fraction: float, controlled: set[str]) -> list[str]:
    """Return a sentence about pretrained encoders that were not run from random weights, too."""
    pretrained = [group for group in setting.at(fraction) if not group.random_weights]
    scored = [group.encoder for group in pretrained if group.values()]
    lonely = [encoder for encoder in scored if encoder not in controlled]
    if not lonely:
        return []
    verb = "was" if len(lonely) == 1 else "were"
    names = formats.listing(lonely)
    return [
        f"{names} {verb} not also trained from random weights, so the gain from pretraining is "
        "unknown there."
    ]


def _saved(setting: Setting, strong: str, weak: str) -> list[str]:
    """Return a sentence about the images that the stronger encoder saves, if it saves any."""
    found = efficiency(setting, strong, weak)
    if found is None:
        return []
    share, result = found
    if result.fraction is None or result.fraction > 0.995 * share:
        return []
    about = "at most" if result.at_most else "about"
    interval = efficiency_texts(result)[1]
    sure = f" (95 % interval {interval} %)" if interval else ""
    return [
        f"{strong} needs {about} {100 * result.fraction:.2g} % of the images{sure} to score as "
        f"much as {weak} does with {formats.fraction(share)}."
    ]


def _effects(pairs: list[Comparison], share: float) -> list[str]:
    """Return a sentence for each pair, or one for all when they are many."""
    if len(pairs) <= FEW:
        return [_effect(pair, share) for pair in pairs]
    ordered = sorted(pairs, key=lambda pair: pair.mean)
    least, most = ordered[0], ordered[-1]
    text = (
        f"With {formats.fraction(share)} of the images, pretraining changes the score of "
        f"{len(pairs)} networks by {formats.points(least.mean)} ({least.first.encoder}) to "
        f"{formats.points(most.mean)} points ({most.first.encoder})"
    )
    fewest = min(pair.difference.over.n for pair in pairs)
    if fewest < ENOUGH:
        return [f"{text} in this small sample; {no_more(fewest)}."]
    return [f"{text}; the seeds confirm this for {sum(pair.holds for pair in pairs)} of them."]


def _effect(pair: Comparison, share: float) -> str:
    """Return a sentence about what pretraining adds to one network."""
    over, encoder = pair.difference.over, pair.first.encoder
    change = f"{formats.bare(pair.mean)} points"
    where = f"With {formats.fraction(share)} of the images"
    if over.n < ENOUGH:
        direction = "more" if pair.mean >= 0 else "less"
        return (
            f"{where}, {encoder} scores {change} {direction} than the same network from random "
            f"weights in this small sample; {no_more(over.n)}."
        )
    if not pair.holds:
        bounds = f"{formats.points(over.low or 0.0)} to {formats.points(over.high or 0.0)}"
        return (
            f"{where}, the seeds show no certain effect of pretraining on {encoder} "
            f"({formats.points(pair.mean)} points, {over.spread} {bounds})."
        )
    effect = f"adds {change} to" if pair.mean > 0 else f"takes {change} from"
    return f"{where}, pretraining {effect} {encoder} ({over.spread} {formats.bounds(over)})."


def no_more(seeds: int) -> str:
    """Return the clause that warns of too few seeds."""
    return f"{plural(seeds, 'seed')} cannot show more than that"
