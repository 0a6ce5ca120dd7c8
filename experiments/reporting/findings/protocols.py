"""One encoder under several protocols: frozen, with adapters, fine-tuned.

A protocol is what learns of the encoder's body. Rankings hold encoders of all protocols. What
pretraining adds is compared within a protocol, since an architecture includes it.
"""

from collections import defaultdict
from collections.abc import Iterator
from itertools import chain

from encoder_ablations.experiments.reporting.findings.groups import Setting
from encoder_ablations.experiments.reporting.findings.ranking import (
    Comparison,
    Ranking,
    Standing,
    ranking,
)
from encoder_ablations.experiments.reporting.findings.study import Study
from encoder_ablations.experiments.reporting.text import formats
from encoder_ablations.experiments.reporting.text.table import Table


def families(ranked: Ranking) -> list[list[Standing]]:
    """Return every encoder that was trained under several protocols, fewest parameters first."""
    found: dict[str, list[Standing]] = defaultdict(list)
    for standing in ranked.standings:
        found[standing.group.network].append(standing)
    several = [each for each in found.values() if len({one.group.protocol for one in each}) > 1]
    return [sorted(each, key=_trainable) for each in several]


def _trainable(standing: Standing) -> int:
    return standing.cost.trainable


def against_first(ranked: Ranking, family: list[Standing]) -> list[Comparison]:
    """Return the other protocols of an encoder minus that with the fewest parameters."""
    first, *others = family
    pairs = [ranked.pair(other, first) for other in others]
    # the ranking holds each pair once, the higher first
    return [
        pair if pair.seeds else ranked.pair(first, other).reversed()
        for pair, other in zip(pairs, others, strict=True)
    ]


def protocols_table(study: Study) -> Table:
    """Return a row for each protocol of every encoder that has several, at the reference share."""
    rows = list(chain.from_iterable(map(_rows, study.settings)))
    caption = "One encoder under several protocols, with 95 % intervals of the differences."
    score = f"{study.metric.label} (%)"
    columns = ["setting", "encoder", "what learns", score, "n", "against the first (points)"]
    return Table(caption, [*columns, "trainable", "training (s)"], rows, names=3)


def _rows(setting: Setting) -> Iterator[list[str]]:
    ranked = ranking(setting, setting.reference)
    for family in families(ranked):
        others = [pair.difference.over for pair in against_first(ranked, family)]
        changes = ["", *map(formats.change, others)]
        for standing, change in zip(family, changes, strict=True):
            score, cost = standing.score, standing.cost
            yield [
                *(setting.title, standing.encoder, standing.group.protocol),
                *(score.text(), str(score.n), change),
                *(formats.large(cost.trainable), f"{cost.train_seconds:.1f}"),
            ]
