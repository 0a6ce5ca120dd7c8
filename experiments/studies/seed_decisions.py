"""Which encoders get another seed: a pure function of a rule and the scores so far."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from encoder_ablations.experiments.stats.seeds import paired_difference, summarize
from encoder_ablations.experiments.studies.seed_rule import SeedRule, UntilNarrow

SIGNIFICANT = 0.05
MOST_SEEDS = "the most that the study allows"
"""Why an encoder gets no more seeds that is not settled."""
Ended = Mapping[str, Mapping[int, float | None]]
"""Encoder -> seed -> score (0..1) of every run that has ended; None if it failed."""
Scores = Mapping[str, Mapping[int, float]]
"""Encoder -> seed -> score (0..1) of finished runs."""


@dataclass(frozen=True)
class Decision:
    """How many seeds an encoder gets.

    Attributes:
        seeds: 0, 1, … up to, but not including, this one.
        why: why it gets no more; None if that is not decided yet.
    """

    seeds: int
    why: str | None = None


def decide(rule: SeedRule, ended: Ended) -> dict[str, Decision]:
    """Return how many seeds each encoder gets, of those that are compared with each other.

    Rounds are replayed from the first one, so that runs that were asked for once are asked for
    whenever there are more results: what is decided before seed n depends on smaller seeds alone,
    and only when all of these runs have ended. An encoder that has enough seeds stays settled.
    """
    decisions: dict[str, Decision] = {}
    active = list(ended)
    for seeds in range(rule.first, rule.to + 1):
        decisions |= dict.fromkeys(active, Decision(seeds))
        if any(seed not in ended[name] for name in active for seed in range(seeds)):
            return decisions
        scores = _finished(ended, seeds)
        reasons = {name: _why_enough(rule, scores, name) for name in active}
        settled = {name: why for name, why in reasons.items() if why is not None}
        decisions |= {name: Decision(seeds, why) for name, why in settled.items()}
        active = [name for name in active if name not in settled]
    return decisions | dict.fromkeys(active, Decision(rule.to, MOST_SEEDS))


def _finished(ended: Ended, seeds: int) -> Scores:
    """Return the scores of seeds below a number."""
    return {
        name: {seed: score for seed, score in runs.items() if seed < seeds and score is not None}
        for name, runs in ended.items()
    }


def _why_enough(rule: SeedRule, scores: Scores, name: str) -> str | None:
    """Return why an encoder needs no more seeds; None if it does."""
    if not scores[name]:
        return "none of its runs finished"
    check: Callable[[SeedRule, Scores, str], str | None] = _separated
    if isinstance(rule.until, UntilNarrow):
        check = _narrow
    return check(rule, scores, name)


def _narrow(rule: SeedRule, scores: Scores, name: str) -> str | None:
    assert isinstance(rule.until, UntilNarrow)
    score = summarize(list(scores[name].values()), last=rule.to)
    # NaN below three seeds
    if not 200 * score.half_width <= rule.until.width:
        return None
    return f"the interval of its score is {200 * score.half_width:.2g} points wide"


def _separated(rule: SeedRule, scores: Scores, name: str) -> str | None:
    """Return whether the seeds show a difference between an encoder and every other one.

    All pairs count as tests (Bonferroni). The report corrects by Holm's method, which is never
    stricter, so what was enough here is shown there.
    """
    pairs = math.comb(len(scores), 2)
    others = [other for other in scores if other != name]
    found = [paired_difference(scores[name], scores[other], last=rule.to).p for other in others]
    # p is NaN below three shared seeds
    if not all(p * pairs < SIGNIFICANT for p in found):
        return None
    return "the seeds show a difference to every other encoder"
