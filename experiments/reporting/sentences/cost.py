"""Sentences about costs; they claim no more about scores than the seeds show."""

from itertools import pairwise

from encoder_ablations.experiments.reporting.findings.groups import Setting
from encoder_ablations.experiments.reporting.findings.ranking import (
    Comparison,
    Standing,
    comparisons,
    find_pair,
    standings,
)
from encoder_ablations.experiments.reporting.sentences.pretraining_gain import no_more
from encoder_ablations.experiments.reporting.text import formats
from encoder_ablations.experiments.stats.seeds import ENOUGH
from encoder_ablations.utils.texts import duration

NAMED = 4
"""Most encoders on the front that are named one by one."""


def cost_sentences(ranked: list[Standing], pairs: list[Comparison]) -> list[str]:
    """Return what the leader costs, against the cheapest, and which encoders are on the front."""
    leader = ranked[0]
    if leader.cost is None:
        return ["The cost of the leading encoder was not measured."]
    priced = [standing for standing in ranked if standing.cost is not None]
    price = _price(leader, unit="GFLOPs (billion multiply-adds)")
    training = duration(leader.cost.train_seconds)
    sentences = [f"{leader.encoder} needs {price} and {training} of training."]
    cheapest = min(priced, key=_flops)
    if len(priced) > 1 and _flops(cheapest) == _flops(leader):
        sentences.append("No other encoder needs less computation.")
    elif cheapest is not leader:
        ratio = formats.times(_flops(leader) / max(_flops(cheapest), 1))
        sentences.append(
            f"That is {ratio} the computation of the cheapest, {cheapest.encoder} "
            f"({_price(cheapest)}), {_less(leader, cheapest, pairs)}."
        )
    return sentences + _on_front(priced, pairs)


def front_sentence(setting: Setting) -> str:
    """Return what the dotted line of the cost figure means.

    Where only one encoder is on it, return how that one compares with the others.
    """
    ranked = standings(setting, setting.reference)
    front = [standing for standing in ranked if standing.on_flops_front]
    if len(front) > 1:
        return (
            "The dotted line goes by mean scores: no other encoder has at least the mean of one "
            "on it at no more cost."
        )
    if not front or len(ranked) == 1:
        return ""
    return _alone_on_front(front[0], ranked, comparisons(setting, setting.reference))


def _alone_on_front(alone: Standing, ranked: list[Standing], pairs: list[Comparison]) -> str:
    text = f"{alone.encoder} needs no more computation than any other encoder"
    found = {
        other.encoder: find_pair(alone, other, pairs) for other in ranked if other is not alone
    }
    fewest = min(pair.difference.over.n if pair else 0 for pair in found.values())
    if fewest == 0:
        return f"{text} and has the highest mean score; not all share a seed."
    if fewest < ENOUGH:
        return f"{text} and has the highest mean score; {no_more(fewest)}."
    level = [encoder for encoder, pair in found.items() if not _shown(pair)]
    if level:
        names = formats.listing(level)
        return (
            f"{text} and has the highest mean score, but the seeds do not separate it from {names}."
        )
    return f"{text} and scores more than all others."


def _on_front(priced: list[Standing], pairs: list[Comparison]) -> list[str]:
    """Return who is on the front of cost and mean score, and what the seeds leave open."""
    front = [standing for standing in priced if standing.on_flops_front]
    if len(front) == 1 or len(front) == len(priced):
        return []
    few = len(front) <= NAMED
    names = f"{len(front)} of the {len(priced)} encoders"
    if few:
        names = formats.listing([standing.encoder for standing in front])
    text = (
        f"Worth their computation, by mean score: {names}; each of the others costs no less and "
        "has no higher mean than one of these"
    )
    open_steps = [
        f"{dearer.encoder} scores more than the cheaper {cheaper.encoder}"
        for cheaper, dearer in pairwise(sorted(front, key=_flops))
        if not _shown(find_pair(dearer, cheaper, pairs))
    ]
    if not open_steps:
        return [f"{text}."]
    if few:
        return [f"{text}. The seeds do not show that {formats.listing(open_steps)}."]
    return [f"{text}. The seeds do not show for each of these that it scores more than the next."]


def _less(leader: Standing, cheapest: Standing, pairs: list[Comparison]) -> str:
    """Return how much less the cheapest scores, and how far the seeds show it."""
    pair = find_pair(leader, cheapest, pairs)
    if pair is not None and _shown(pair):
        return f"which scores {formats.bare(pair.mean)} points less"
    means = f"whose mean score is {formats.bare(leader.mean - cheapest.mean)} points lower"
    if pair is None:
        return f"{means}, with other seeds"
    if pair.difference.over.n < ENOUGH:
        return f"{means} in this small sample"
    return f"{means}; the seeds do not separate the two"


def _shown(pair: Comparison | None) -> bool:
    """Whether the seeds show that the first encoder scores more."""
    return pair is not None and pair.holds and pair.mean > 0


def _flops(standing: Standing) -> int:
    return standing.flops or 0


def _price(standing: Standing, unit: str = "GFLOPs") -> str:
    text = f"{formats.giga(standing.flops)} {unit} for an image"
    if standing.latency is None:
        return text
    return f"{text}, {formats.milliseconds(standing.latency)} ms"
