"""The answer in plain words: which encoder, how much it helps, at what cost, how sure."""

from dataclasses import dataclass

from encoder_ablations.experiments.reporting import wording
from encoder_ablations.experiments.reporting.collect import RunGroup, Setting
from encoder_ablations.experiments.reporting.compare import (
    Comparison,
    Standing,
    comparisons,
    images_saved,
    pretraining,
    standings,
)
from encoder_ablations.experiments.statistics.seeds import ENOUGH

VISIBLE = 0.0005
"""Differences of mIoU below this print as 0.0 points; they are not called a lead."""

FEW = 2
"""Most architectures whose gain from pretraining is told one by one."""

SPLITS = {"val": "validation images", "test": "test images", "train": "training images"}


@dataclass(frozen=True)
class Answer:
    """Sentences about one setting.

    Attributes:
        scope: what the numbers refer to.
        headline: the shortest true answer.
        scores: what the first, the next and the last encoder score.
        gain, cost, sure: what pretraining adds, what it costs, how sure that is.
    """

    setting: str
    scope: str
    headline: str
    scores: list[str]
    gain: list[str]
    cost: list[str]
    sure: list[str]


def answer(setting: Setting) -> Answer:
    """Answers for the setting's reference fraction."""
    fraction = setting.reference
    ranked = standings(setting, fraction)
    if fraction is None or not ranked:
        return Answer(setting.title, "", "No run has finished yet, so there is no answer.", [], [], [], [])
    pairs = comparisons(setting, fraction)
    return Answer(
        setting.title,
        _scope(setting, ranked[0].group),
        _headline(ranked, pairs),
        _scores(ranked, pairs),
        _gain(setting, fraction),
        _cost(ranked),
        _sure(setting, ranked, pairs),
    )


def _scope(setting: Setting, group: RunGroup) -> str:
    text = f"{setting.dataset}, head {setting.segmenter}, {wording.fraction(group.fraction)} of the training images"
    data = group.runs[0].data
    if data is None:
        return text
    return f"{text} ({data.n_train}), scored on the {SPLITS[data.report_split]}"


def _headline(ranked: list[Standing], pairs: list[Comparison]) -> str:
    leader = ranked[0]
    if len(ranked) == 1:
        score = wording.percent(leader.miou.mean)
        return f"{leader.encoder} reaches {score} mIoU; no other encoder has a result to compare it with."
    against = {pair.second.encoder: pair for pair in pairs if pair.first is leader.group}
    runner_up = against.get(ranked[1].encoder)
    if runner_up is None:
        return (
            f"{leader.encoder} has the highest mIoU, but shares no seed with {ranked[1].encoder}: not comparable yet."
        )
    over = runner_up.difference.over
    if over.mean is not None and over.mean <= -VISIBLE:
        return f"{leader.encoder} has the highest mean, but {ranked[1].encoder} is ahead on the seeds that both have."
    if over.mean is None or over.mean < VISIBLE:
        return f"{leader.encoder} and {ranked[1].encoder} are level; this sample gives neither the lead."
    if over.n < ENOUGH:
        return f"{leader.encoder} is ahead in this small sample; {_no_more(over.n)}."
    tested = [pair for pair in against.values() if pair.difference.over.n >= ENOUGH]
    level = [pair.second.encoder for pair in tested if not pair.holds or (pair.difference.over.mean or 0.0) < 0]
    if level:
        return f"{leader.encoder} ranks first, but the seeds do not separate it from {wording.listing(level)}."
    among = "here" if len(tested) == len(ranked) - 1 else f"of those with {ENOUGH} seeds or more"
    return f"{leader.encoder} is the best encoder {among}, {_bare(over.mean)} points ahead of the next."


def _no_more(seeds: int) -> str:
    return f"{wording.plural(seeds, 'seed')} cannot show more than that"


def _bare(difference: float) -> str:
    """A difference in points without its sign."""
    return wording.points(abs(difference)).lstrip("+")


def _scores(ranked: list[Standing], pairs: list[Comparison]) -> list[str]:
    """What the first, the next and the last encoder score, and how far they are apart."""
    leader = ranked[0]
    sentences = [f"{leader.encoder} scores {wording.percent(leader.miou.mean)} mIoU."]
    for other in [*ranked[1:2], *ranked[2:][-1:]]:
        role = "The next" if other is ranked[1] else "The last"
        pair = next((p for p in pairs if (p.first, p.second) == (leader.group, other.group)), None)
        text = f"{role}, {other.encoder}, scores {wording.percent(other.miou.mean)}"
        sentences.append(f"{text}, {_behind(pair)}." if pair else f"{text}, with other seeds.")
    return sentences


def _behind(pair: Comparison) -> str:
    """``5.0 points less (95 % interval 0.6 to 9.4)``: the second encoder of the pair against the first."""
    over = pair.difference.over
    if over.mean is None or over.low is None or over.high is None:
        return "at no seed that can be compared"
    text = f"{_bare(over.mean)} points {'less' if over.mean >= 0 else 'more'} on the seeds that both have"
    return f"{text} ({over.spread} {_signed_range(over.low, over.high, over.mean)})" if over.spread else text


def _signed_range(low: float, high: float, mean: float) -> str:
    """Bounds of a difference that the text has already given a direction."""
    first, last = (low, high) if mean >= 0 else (-high, -low)
    return " to ".join(wording.points(bound).lstrip("+") for bound in (first, last))


def _gain(setting: Setting, fraction: float) -> list[str]:
    """What pretraining adds to the same network from random weights, at most and at least training images."""
    groups = [group for group in setting.groups if group.values()]
    if all(group.random_weights for group in groups):
        return ["All encoders started from random weights: this measures architectures, not pretraining."]
    if not any(group.random_weights for group in groups):
        return ["No encoder was also run from random weights, so this study cannot tell what pretraining itself adds."]
    pairs = {share: pretraining(setting, share) for share in setting.fractions}
    available = [share for share in setting.fractions if pairs[share]]
    shown = sorted({*available[:1], *available[-1:], *({fraction} & set(available))}, reverse=True)
    sentences = [text for share in shown for text in _effects(pairs[share], share)]
    named = sorted({(pair.first.encoder, pair.second.encoder) for share in shown for pair in pairs[share]})
    for strong, weak in named if len(named) <= FEW else []:
        saved = images_saved(setting, strong, weak)
        if saved:
            sentences.append(
                f"{strong} with {wording.fraction(saved[0])} of the images scores at least what {weak} scores with "
                f"{wording.fraction(saved[1])}."
            )
    controlled = {strong for strong, _ in named}
    lonely = [g.encoder for g in setting.at(fraction) if g.values() and not g.random_weights]
    lonely = [encoder for encoder in lonely if encoder not in controlled]
    if lonely:
        have = "has" if len(lonely) == 1 else "have"
        sentences.append(
            f"{wording.listing(lonely)} {have} no random control, so their pretraining cannot be told apart."
        )
    return sentences


def _effects(pairs: list[Comparison], share: float) -> list[str]:
    """A sentence for each pair, or one for all when they are many."""
    if len(pairs) <= FEW:
        return [_bought(pair, share) for pair in pairs]
    ordered = sorted(pairs, key=lambda pair: pair.difference.over.mean or 0.0)
    least, most = ordered[0], ordered[-1]
    low, high = (wording.points(pair.difference.over.mean or 0.0) for pair in (least, most))
    text = (
        f"With {wording.fraction(share)} of the images, loaded instead of random weights change the score of "
        f"{len(pairs)} networks by {low} ({least.first.encoder}) to {high} points ({most.first.encoder})"
    )
    fewest = min(pair.difference.over.n for pair in pairs)
    if fewest < ENOUGH:
        return [f"{text} in this small sample; {_no_more(fewest)}."]
    return [f"{text}; for {sum(pair.holds for pair in pairs)} of them the seeds show a difference."]


def _bought(pair: Comparison, share: float) -> str:
    """What loaded weights add to the same network from random ones."""
    over = pair.difference.over
    mean = over.mean or 0.0
    encoder, where = pair.first.encoder, f"With {wording.fraction(share)} of the images"
    if over.n < ENOUGH:
        direction = "more" if mean >= 0 else "less"
        return (
            f"{where}, {encoder} scores {_bare(mean)} points {direction} than the same network from random weights in "
            f"this small sample; {_no_more(over.n)}."
        )
    bounds = f"{over.spread} {_signed_range(over.low or 0.0, over.high or 0.0, mean)}"
    if not pair.holds:
        signed = f"{wording.points(mean)} points, {over.spread} {wording.points(over.low or 0.0)}"
        return (
            f"{where}, the seeds show no certain effect of pretraining on {encoder} "
            f"({signed} to {wording.points(over.high or 0.0)})."
        )
    effect = f"adds {_bare(mean)} points to" if mean > 0 else f"takes {_bare(mean)} points from"
    return f"{where}, pretraining {effect} {encoder} ({bounds})."


def _cost(ranked: list[Standing]) -> list[str]:
    priced = [standing for standing in ranked if standing.cost is not None]
    leader = ranked[0]
    if leader.cost is None:
        return ["The cost of the leading encoder was not measured."]
    price = _price(leader, unit="GFLOPs (billion multiply-adds)")
    sentences = [f"{leader.encoder} needs {price} and {wording.duration(leader.cost.train_seconds)} of training."]
    cheapest = min(priced, key=lambda standing: standing.cost.flops if standing.cost else 0)
    if len(priced) > 1 and cheapest is leader:
        sentences.append("No other encoder needs less computation.")
    elif cheapest.cost is not None and cheapest is not leader:
        less = _bare((leader.miou.mean or 0.0) - (cheapest.miou.mean or 0.0))
        ratio = wording.times(leader.cost.flops / max(cheapest.cost.flops, 1))
        sentences.append(
            f"That is {ratio} the computation of the cheapest, {cheapest.encoder} ({_price(cheapest)}), "
            f"which scores {less} points less."
        )
    front = [standing.encoder for standing in priced if standing.on_flops_front]
    if len(priced) > len(front) > 1:
        names = wording.listing(front) if len(front) <= 4 else f"{len(front)} of the {len(priced)} encoders"
        sentences.append(
            f"Worth their computation: {names}; each of the others costs no less and scores no more than one of these."
        )
    return sentences


def _price(standing: Standing, unit: str = "GFLOPs") -> str:
    cost = standing.cost
    if cost is None:
        return wording.DASH
    text = f"{wording.giga(cost.flops)} {unit} for an image"
    return text if cost.latency is None else f"{text}, {wording.milliseconds(cost.latency[1])} ms"


def _sure(setting: Setting, ranked: list[Standing], pairs: list[Comparison]) -> list[str]:
    counts = sorted({standing.miou.n for standing in ranked})
    seeds = wording.plural(counts[0], "seed") if len(counts) == 1 else f"{counts[0]} to {counts[-1]} seeds"
    sentences = [f"Every encoder was trained with {seeds} (repetitions with other random numbers)."]
    if counts[0] < ENOUGH:
        sentences.append(f"An interval, or a claim that a lead is more than luck, needs at least {ENOUGH}.")
    tested = sum(pair.p is not None for pair in pairs)
    top = next((p for p in pairs if (p.first, p.second) == tuple(s.group for s in ranked[:2])), None)
    if top is not None and top.difference.over.n > 1:
        sentences.append(_evidence(top, tested))
    few = [p.second.encoder for p in pairs if p.first is ranked[0].group and p.difference.over.n < ENOUGH]
    if few and counts[-1] >= ENOUGH:
        sentences.append(f"Too few shared seeds for a claim about {wording.listing(few)}.")
    failed = sum(len(group.failed) for group in setting.groups)
    if failed:
        verb = "is" if failed == 1 else "are"
        sentences.append(f"{wording.plural(failed, 'run')} failed and {verb} not in the numbers.")
    return sentences


def _evidence(pair: Comparison, pairs: int) -> str:
    n = pair.difference.over.n
    text = (
        f"{pair.first.encoder} scored higher than {pair.second.encoder} in {pair.difference.wins} of {n} shared seeds"
    )
    if pair.p is None:
        return f"{text}."
    p = "p < 0.001" if pair.p < 0.001 else f"p = {pair.p:.3f}"
    corrected = f", corrected for {pairs} comparisons" if pairs > 1 else ""
    verdict = "more than luck explains" if pair.holds else "luck could explain it"
    return f"{text}: {verdict} (paired t test, {p}{corrected})."
