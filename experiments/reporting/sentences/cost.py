"""Sentences about costs; they claim no more about scores than the seeds show."""

from itertools import pairwise

from encoder_ablations.experiments.reporting.findings.ranking import Ranking, Standing
from encoder_ablations.experiments.reporting.text import formats
from encoder_ablations.experiments.stats.seeds import ENOUGH
from encoder_ablations.utils.texts import duration

NAMED = 4
"""Most encoders on the front that are named one by one."""


def cost_sentences(ranked: Ranking) -> list[str]:
    """Return what the leader costs, against the cheapest, and which encoders are on the front."""
    if not ranked.standings:
        return []
    leader = ranked.leader
    price = _price(leader, unit="GFLOPs (billion multiply-adds)")
    own = f"{leader.encoder} needs {price}{_preparation(leader)}."
    return [own, *_against_cheapest(ranked), *_on_front(ranked)]


def _preparation(standing: Standing) -> str:
    """Return the time of training, or what a head without training steps needs in its place."""
    spent = duration(standing.cost.train_seconds)
    return {
        "steps": f" and {spent} of training",
        "one pass": f" and {spent} to read the labelled images once",
        "nothing": ", and no training",
    }[standing.group.spec.segmenter.learning]


def _against_cheapest(ranked: Ranking) -> list[str]:
    leader, cheapest = ranked.leader, ranked.cheapest_first[0]
    if len(ranked.standings) == 1:
        return []
    if cheapest.flops == leader.flops:
        return ["No other encoder needs less computation."]
    ratio = formats.times(leader.flops / max(cheapest.flops, 1))
    return [
        f"That is {ratio} the computation of the cheapest, {cheapest.encoder} "
        f"({_price(cheapest)}), {_less(ranked, cheapest)}."
    ]


def front_sentence(ranked: Ranking) -> str:
    """Return what the dotted line of the cost figure means.

    Where only one encoder is on it, return how that one compares with the others.
    """
    if len(ranked.front) > 1:
        return (
            "The dotted line joins the best choices by mean score: no other encoder scores as "
            "much at the same or a lower cost."
        )
    if len(ranked.standings) < 2:
        return ""
    return _alone_on_front(ranked)


def _alone_on_front(ranked: Ranking) -> str:
    """Return how the cheapest encoder, which has the highest mean score, too, does."""
    (alone,) = ranked.front
    others = [ranked.pair(alone, other) for other in ranked.standings if other is not alone]
    fewest = min(pair.seeds for pair in others)
    level = [pair.second.encoder for pair in others if not pair.first_is_better]
    best = "and has the highest mean score"
    # the fewer seeds there are, the less is claimed
    told = "and scores more than all others"
    if level:
        told = f"{best}, but the seeds do not separate it from {formats.listing(level)}"
    if fewest < ENOUGH and not alone.group.without_labels:
        told = f"{best}; {formats.no_more(fewest)}"
    if fewest == 0:
        told = f"{best}; not all share a seed"
    return f"{alone.encoder} needs no more computation than any other encoder {told}."


def _on_front(ranked: Ranking) -> list[str]:
    """Return who is on the front of cost and mean score, and what the seeds leave open."""
    front, everyone = ranked.front, ranked.standings
    # nothing is told by naming one encoder or all of them
    if len(front) in (1, len(everyone)):
        return []
    by_cost = [standing for standing in ranked.cheapest_first if standing.on_flops_front]
    # along the front, each step costs more and has a higher mean
    steps = [ranked.pair(dearer, cheaper) for cheaper, dearer in pairwise(by_cost)]
    undecided = [
        f"{pair.first.encoder} scores more than the cheaper {pair.second.encoder}"
        for pair in steps
        if not pair.first_is_better
    ]
    names = formats.listing([standing.encoder for standing in front])
    doubt = f" The seeds do not show that {formats.listing(undecided)}."
    if len(front) > NAMED:
        names = f"{len(front)} of the {len(everyone)} encoders"
        doubt = " The seeds do not show for each of these that it scores more than the next."
    if not undecided:
        doubt = ""
    return [
        f"Worth their computation, by mean score: {names}. Each other encoder costs at least as "
        f"much as one of these and has no higher mean.{doubt}"
    ]


def _less(ranked: Ranking, cheapest: Standing) -> str:
    """Return how much less the cheapest scores, and how far the seeds show it."""
    leader = ranked.leader
    pair = ranked.pair(leader, cheapest)
    if pair.first_is_better:
        return f"which scores {formats.bare(pair.mean)} points less"
    means = formats.bare(leader.score.mean - cheapest.score.mean)
    doubt = "; the seeds do not separate the two"
    if not pair.tested:
        doubt = " in this small sample"
    if not pair.seeds:
        doubt = ", with other seeds"
    return f"whose mean score is {means} points lower{doubt}"


def _price(standing: Standing, unit: str = "GFLOPs") -> str:
    latency = formats.three_digits(standing.latency)
    return f"{formats.giga(standing.flops)} {unit} for an image, {latency} ms"
