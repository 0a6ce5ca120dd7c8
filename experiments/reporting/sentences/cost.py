"""What a score costs, in words that claim no more about scores than the seeds show."""

from itertools import pairwise

from encoder_ablations.experiments.reporting.findings.groups import Setting
from encoder_ablations.experiments.reporting.findings.ranking import (
    Comparison,
    Standing,
    comparisons,
    standings,
)
from encoder_ablations.experiments.reporting.sentences.pretraining_gain import no_more
from encoder_ablations.experiments.reporting.text import formats
from encoder_ablations.experiments.stats.seeds import ENOUGH
from encoder_ablations.utils.texts import duration

NAMED = 4
"""Most encoders that are worth their computation and named one by one."""


def cost_sentences(ranked: list[Standing], pairs: list[Comparison]) -> list[str]:
    """What the first of the ranking costs, against the cheapest, and who is worth the computation."""
    priced = [standing for standing in ranked if standing.cost is not None]
    leader = ranked[0]
    if leader.cost is None:
        return ["The cost of the leading encoder was not measured."]
    price = _price(leader, unit="GFLOPs (billion multiply-adds)")
    sentences = [
        f"{leader.encoder} needs {price} and {duration(leader.cost.train_seconds)} of training."
    ]
    cheapest = min(priced, key=_flops)
    if len(priced) > 1 and _flops(cheapest) == _flops(leader):
        sentences.append("No other encoder needs less computation.")
    elif cheapest is not leader:
        ratio = formats.times(_flops(leader) / max(_flops(cheapest), 1))
        sentences.append(
            f"That is {ratio} the computation of the cheapest, {cheapest.encoder} ({_price(cheapest)}), "
            f"{_less(leader, cheapest, pairs)}."
        )
    return [*sentences, *_worth(priced, pairs)]


def front_sentence(setting: Setting) -> str:
    """What the dotted line of the cost figure says; of an encoder that stands there alone, what the seeds show."""
    ranked = standings(setting, setting.reference)
    front = [standing for standing in ranked if standing.on_flops_front]
    if len(front) > 1:
        return "The dotted line goes by mean scores: no other encoder has at least the mean of one on it at no more cost."
    if not front or len(ranked) == 1:
        return ""
    (alone,), others = front, [standing for standing in ranked if standing not in front]
    pairs = [_between(alone, other, comparisons(setting, setting.reference)) for other in others]
    cheap = f"{alone.encoder} needs no more computation than any other encoder"
    fewest = min(pair.difference.over.n if pair else 0 for pair in pairs)
    if fewest < ENOUGH:
        return f"{cheap} and has the highest mean score; {no_more(fewest) if fewest else 'not all share a seed'}."
    level = [other.encoder for other, pair in zip(others, pairs, strict=True) if not _shown(pair)]
    if level:
        return f"{cheap} and has the highest mean score, but the seeds do not separate it from {formats.listing(level)}."
    return f"{cheap} and scores more than all others."


def _worth(priced: list[Standing], pairs: list[Comparison]) -> list[str]:
    """Encoders on the front; of neighbours there, whether the dearer one is shown to score more."""
    front = sorted((standing for standing in priced if standing.on_flops_front), key=_flops)
    if not len(priced) > len(front) > 1:
        return []
    best_first = [standing.encoder for standing in priced if standing in front]
    names = (
        formats.listing(best_first)
        if len(front) <= NAMED
        else f"{len(front)} of the {len(priced)} encoders"
    )
    text = (
        f"Worth their computation, by mean score: {names}; each of the others costs no less and has no higher mean "
        "than one of these"
    )
    open_steps = [
        f"{dearer.encoder} scores more than the cheaper {cheaper.encoder}"
        for cheaper, dearer in pairwise(front)
        if not _shown(_between(dearer, cheaper, pairs))
    ]
    if not open_steps:
        return [f"{text}."]
    if len(front) > NAMED:
        return [f"{text}. Not every step to a dearer one is shown to score more."]
    return [f"{text}. The seeds do not show that {formats.listing(open_steps)}."]


def _less(leader: Standing, cheapest: Standing, pairs: list[Comparison]) -> str:
    """How much less the cheapest scores, where the seeds show that; the means with a reservation otherwise."""
    pair = _between(leader, cheapest, pairs)
    means = f"whose mean score is {formats.bare((leader.miou.mean or 0.0) - (cheapest.miou.mean or 0.0))} points lower"
    if pair is None:
        return f"{means}, with other seeds"
    if pair.difference.over.n < ENOUGH:
        return f"{means} in this small sample"
    if not _shown(pair):
        return f"{means}; the seeds do not separate the two"
    return f"which scores {formats.bare(pair.difference.over.mean or 0.0)} points less"


def _between(first: Standing, second: Standing, pairs: list[Comparison]) -> Comparison | None:
    """The comparison of the two, of which ``first`` ranks higher."""
    return next(
        (pair for pair in pairs if (pair.first, pair.second) == (first.group, second.group)), None
    )


def _shown(pair: Comparison | None) -> bool:
    """Whether the seeds show that the first scores more: what the headline asks for, too."""
    return pair is not None and pair.holds and (pair.difference.over.mean or 0.0) > 0


def _flops(standing: Standing) -> int:
    return standing.cost.flops if standing.cost else 0


def _price(standing: Standing, unit: str = "GFLOPs") -> str:
    cost = standing.cost
    if cost is None:
        return formats.DASH
    text = f"{formats.giga(cost.flops)} {unit} for an image"
    return text if cost.latency is None else f"{text}, {formats.milliseconds(cost.latency[1])} ms"
