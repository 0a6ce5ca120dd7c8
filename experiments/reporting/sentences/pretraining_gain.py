"""What pretraining buys, in words: loaded against random weights of the same network."""

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
"""Most architectures whose gain from pretraining is told one by one."""


def gain_headline(setting: Setting, fraction: float) -> list[str]:
    """What pretraining buys, where three seeds or more say so."""
    pairs = [pair for pair in pretraining(setting, fraction) if pair.difference.over.n >= ENOUGH]
    if not pairs:
        return []
    if len(pairs) == 1:
        pair, over = pairs[0], pairs[0].difference.over
        if not pair.holds:
            return [f"Whether pretraining helps {pair.first.encoder} is open."]
        bounds = formats.signed_range(over.low or 0.0, over.high or 0.0, over.mean or 0.0)
        verb = "adds" if (over.mean or 0.0) > 0 else "takes"
        text = (
            f"Pretraining {verb} {formats.bare(over.mean or 0.0)} points (95 % interval {bounds})"
        )
        return [f"{text}{'' if verb == 'adds' else f' from {pair.first.encoder}'}."]
    gains = sorted(pair.difference.over.mean or 0.0 for pair in pairs)
    held = sum(pair.holds for pair in pairs)
    certain = "all" if held == len(pairs) else str(held)
    return [
        f"Pretraining changes the score of {len(pairs)} networks by {formats.points(gains[0])} to "
        f"{formats.points(gains[-1])} points, beyond luck for {certain} of them."
    ]


def gain(setting: Setting, fraction: float) -> list[str]:
    """What pretraining adds to the same network from random weights, at most and at least training images."""
    groups = [group for group in setting.groups if group.values()]
    if all(group.random_weights for group in groups):
        return [
            "All encoders started from random weights: this measures architectures, not pretraining."
        ]
    if not any(group.random_weights for group in groups):
        return [
            "No encoder was also run from random weights, so this study cannot tell what pretraining itself adds."
        ]
    pairs = {share: pretraining(setting, share) for share in setting.fractions}
    available = [share for share in setting.fractions if pairs[share]]
    shown = sorted({*available[:1], *available[-1:], *({fraction} & set(available))}, reverse=True)
    sentences = [text for share in shown for text in _effects(pairs[share], share)]
    named = sorted(
        {(pair.first.encoder, pair.second.encoder) for share in shown for pair in pairs[share]}
    )
    for strong, weak in named if len(named) <= FEW else []:
        sentences += _saved(setting, strong, weak)
    controlled = {strong for strong, _ in named}
    lonely = [g.encoder for g in setting.at(fraction) if g.values() and not g.random_weights]
    lonely = [encoder for encoder in lonely if encoder not in controlled]
    if lonely:
        have = "has" if len(lonely) == 1 else "have"
        sentences.append(
            f"{formats.listing(lonely)} {have} no random control, so their pretraining cannot be told apart."
        )
    return sentences


def _saved(setting: Setting, strong: str, weak: str) -> list[str]:
    """With how many images the one scores what the other does with all, where that is fewer."""
    found = efficiency(setting, strong, weak)
    if found is None or found[1].fraction is None or found[1].fraction > 0.995 * found[0]:
        return []
    share, result = found
    about = "at most" if result.at_most else "about"
    bounds = efficiency_texts(result)[1]
    sure = f" (95 % interval {bounds} %)" if bounds else ""
    return [
        f"{strong} scores with {about} {100 * (result.fraction or 0):.2g} % of the images{sure} what {weak} scores "
        f"with {formats.fraction(share)}."
    ]


def _effects(pairs: list[Comparison], share: float) -> list[str]:
    """A sentence for each pair, or one for all when they are many."""
    if len(pairs) <= FEW:
        return [_bought(pair, share) for pair in pairs]
    ordered = sorted(pairs, key=lambda pair: pair.difference.over.mean or 0.0)
    least, most = ordered[0], ordered[-1]
    low, high = (formats.points(pair.difference.over.mean or 0.0) for pair in (least, most))
    text = (
        f"With {formats.fraction(share)} of the images, loaded instead of random weights change the score of "
        f"{len(pairs)} networks by {low} ({least.first.encoder}) to {high} points ({most.first.encoder})"
    )
    fewest = min(pair.difference.over.n for pair in pairs)
    if fewest < ENOUGH:
        return [f"{text} in this small sample; {no_more(fewest)}."]
    return [f"{text}; for {sum(pair.holds for pair in pairs)} of them the seeds show a difference."]


def _bought(pair: Comparison, share: float) -> str:
    """What loaded weights add to the same network from random ones."""
    over = pair.difference.over
    mean = over.mean or 0.0
    encoder, where = pair.first.encoder, f"With {formats.fraction(share)} of the images"
    if over.n < ENOUGH:
        direction = "more" if mean >= 0 else "less"
        return (
            f"{where}, {encoder} scores {formats.bare(mean)} points {direction} than the same network from random "
            f"weights in this small sample; {no_more(over.n)}."
        )
    bounds = f"{over.spread} {formats.signed_range(over.low or 0.0, over.high or 0.0, mean)}"
    if not pair.holds:
        signed = f"{formats.points(mean)} points, {over.spread} {formats.points(over.low or 0.0)}"
        return (
            f"{where}, the seeds show no certain effect of pretraining on {encoder} "
            f"({signed} to {formats.points(over.high or 0.0)})."
        )
    effect = (
        f"adds {formats.bare(mean)} points to"
        if mean > 0
        else f"takes {formats.bare(mean)} points from"
    )
    return f"{where}, pretraining {effect} {encoder} ({bounds})."


def no_more(seeds: int) -> str:
    return f"{plural(seeds, 'seed')} cannot show more than that"
