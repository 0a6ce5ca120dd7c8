"""Sentences about federated training: what it costs, and whether pretraining narrows the gap."""

from encoder_ablations.experiments.reporting.findings.federated import (
    Federated,
    federated,
    twins,
)
from encoder_ablations.experiments.reporting.findings.study import Study
from encoder_ablations.experiments.reporting.text import formats
from encoder_ablations.experiments.stats.seeds import (
    ENOUGH,
    Difference,
    paired_difference,
    summarize,
)

FEW = 4
"""Most encoders and federations with a sentence of their own; the table has all."""


def said_of_federation(study: Study) -> list[str]:
    """Return how federated training compares, and what pretraining changes about it."""
    found = federated(study)
    sentences = [_scores(each) for each in found[:FEW]]
    narrowed = [_narrowing(*pair) for pair in list(twins(found))[:FEW]]
    return [each for each in [*sentences, *narrowed] if each]


def _scores(found: Federated) -> str:
    """Return the sentence about one encoder in one federation."""
    own = summarize(list(found.scores.values()))
    told = f"{found.encoder} scores {formats.percent(own.mean)} % in a federation"
    against = []
    central, alone = found.against_central, found.against_alone
    if central.over.n:
        against.append(f"{_more(central)} than in central training{_of_amount(central)}")
    if alone.over.n:
        lowest = formats.percent(found.worst_alone.mean)
        against.append(
            f"{_more(alone)} than its clients do alone on average{_of_amount(alone)}, of which the "
            f"worst scores {lowest} %"
        )
    return f"{'; '.join([f'{told} ({found.spec.title})', *against])}."


def _more(difference: Difference) -> str:
    direction = "more" if difference.over.mean >= 0 else "less"
    return f"{formats.bare(difference.over.mean)} points {direction}"


def _of_amount(difference: Difference) -> str:
    """Return the interval of "so many points more" or "less", or the warning of too few seeds."""
    over = difference.over
    if over.n < ENOUGH:
        return f" ({formats.no_more(over.n)})"
    return f" ({over.spread} {formats.bounds(over)})"


def _narrowing(loaded: Federated, random: Federated) -> str:
    """Return whether the gap to central training is smaller with loaded weights; "" if unknown."""
    change = paired_difference(loaded.gaps, random.gaps)
    over = change.over
    if not over.n:
        return ""
    gaps = [formats.points(summarize(list(each.gaps.values())).mean) for each in (loaded, random)]
    spread = formats.no_more(over.n)
    if over.n >= ENOUGH:
        spread = f"{over.spread} {formats.interval(over.low, over.high)}"
    measured = (
        f"federated − central is {gaps[0]} points for {loaded.encoder} and {gaps[1]} for "
        f"{random.encoder}, a difference of {formats.points(over.mean)} ({spread})"
    )
    if over.n < ENOUGH or over.low <= 0 <= over.high:
        return f"The seeds do not show whether pretraining narrows the gap: {measured}."
    verb = "narrows" if over.mean > 0 else "widens"
    return f"Pretraining {verb} the gap to central training: {measured}."
