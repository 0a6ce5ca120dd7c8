"""The answer in plain words: which encoder is best, its gain, its cost, how sure that is."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from encoder_ablations.experiments.reporting.findings.groups import Setting
from encoder_ablations.experiments.reporting.findings.image_intervals import Resampling
from encoder_ablations.experiments.reporting.findings.ranking import Comparison, Ranking, ranking
from encoder_ablations.experiments.reporting.text import formats
from encoder_ablations.experiments.reporting.text.tunings import TUNED
from encoder_ablations.experiments.stats.seeds import ENOUGH
from encoder_ablations.utils.texts import plural

VISIBLE = 0.0005
"""Smallest difference that does not print as 0.0 points; below it, scores are the same."""

SPLITS = {"val": "validation images", "test": "test images", "train": "training images"}


@dataclass(frozen=True)
class Answer:
    """Sentences about one setting.

    Attributes:
        setting: its title.
        headline: the shortest true answer.
        scope: what the numbers refer to.
        scores: what the first, the next and the last encoder score.
        sure: how far the seeds support this.
    """

    setting: str
    headline: str
    scope: str = ""
    scores: Sequence[str] = ()
    sure: Sequence[str] = ()

    @property
    def with_scope(self) -> str:
        """Return the headline and, in brackets, what it refers to."""
        if not self.scope:
            return self.headline
        return f"{self.headline} ({self.scope})"


def answer(setting: Setting, resampling: Resampling, gained: Sequence[str]) -> Answer:
    """Return the answer at the setting's reference fraction.

    Args:
        setting: whose encoders are compared.
        resampling: intervals over test images.
        gained: sentences about the gain from pretraining that begin the headline.
    """
    ranked = ranking(setting, setting.reference)
    if not ranked.standings:
        return Answer(setting.title, "No run has finished yet, so there is no answer.")
    headline = [*gained, _headline(ranked)]
    # of two encoders that are one network with and without pretraining, the gain says it all
    if gained and len(ranked.standings) == 2:
        headline = [*gained]
    return Answer(
        setting.title,
        " ".join([*headline, *_other_protocol(ranked)]),
        scope_of(setting, ranked),
        _scores(ranked),
        [*_sure(setting, ranked), *_other_images(ranked, resampling)],
    )


def scope_of(setting: Setting, ranked: Ranking) -> str:
    """Return what an answer's numbers refer to: dataset, head, training images, split."""
    group = ranked.leader.group
    data = group.runs[0].data
    learnt = f"{formats.fraction(group.fraction)} of the training images ({data.n_train})"
    if setting.without_labels:
        learnt = "no training images"
    scored = f"scored on the {SPLITS[data.report_split]}"
    head = ", ".join([f"head {setting.segmenter}", *_apart(setting)])
    return f"{setting.dataset}, {head}, {learnt}, {scored}"


def _apart(setting: Setting) -> list[str]:
    """Return what tells a setting from others of its dataset and head, such as "tuned"."""
    ending = setting.title.removeprefix(f"{setting.dataset} · {setting.segmenter}").strip()
    if ending:
        return [ending.removeprefix("(").removesuffix(")")]
    return [TUNED for group in setting.groups[:1] if group.is_tuned]


def _headline(ranked: Ranking) -> str:
    leader, metric = ranked.leader.encoder, ranked.leader.group.metric.label
    if len(ranked.standings) == 1:
        score = formats.percent(ranked.leader.score.mean)
        told = f"{leader} reaches {score} % {metric}"
        if ranked.leader.group.spec.pseudo_labels is not None:
            return f"{told} with predicted masks for the images without labels."
        return f"{told}; no other encoder has a result to compare it with."
    second = ranked.standings[1]
    runner_up = ranked.pair(ranked.leader, second)
    if not runner_up.seeds:
        return (
            f"{leader} has the highest {metric}, but shares no seed with {second.encoder}: not "
            "comparable."
        )
    # means are over all seeds, differences over the shared ones: the two may disagree
    if runner_up.mean <= -VISIBLE:
        ahead = f"{second.encoder} is ahead on the seeds that both have"
        return f"{leader} has the highest mean, but {ahead}."
    if runner_up.mean < VISIBLE:
        return f"{leader} and {second.encoder} score the same on the seeds that both have."
    if not runner_up.tested:
        return f"{leader} is ahead in this small sample; {formats.no_more(runner_up.seeds)}."
    return _tested_headline(ranked, runner_up)


def _other_protocol(ranked: Ranking) -> list[str]:
    """Return a sentence where not the same part of the two highest encoders learns."""
    first, *others = [standing.group for standing in ranked.standings[:2]]
    return [
        f"The first two encoders differ in the parts that learn: {first.protocol} and "
        f"{other.protocol}."
        for other in others
        if first.protocol != other.protocol
    ]


def _tested_headline(ranked: Ranking, runner_up: Comparison) -> str:
    """Return the headline where the leader and the next share enough seeds for a test."""
    leader = ranked.leader.encoder
    tested = [pair for pair in ranked.against_leader if pair.tested]
    level = [pair.second.encoder for pair in tested if not pair.first_is_better]
    # "best" only if the seeds show a lead over each of the others
    if level:
        names = formats.listing(level)
        return f"{leader} ranks first, but the seeds do not separate it from {names}."
    among = f"of those with {ENOUGH} seeds or more"
    if len(tested) == len(ranked.standings) - 1:
        among = "here"
    interval = formats.bounds(runner_up.difference.over)
    lead = f"{formats.bare(runner_up.mean)} points ahead of the next"
    return f"{leader} is the best encoder {among}, {lead} (95 % interval {interval})."


def _other_images(ranked: Ranking, resampling: Resampling) -> list[str]:
    """Return a sentence on whether the leader would lead on other test images, too."""
    if len(ranked.standings) < 2:
        return []
    first, second, *_ = ranked.standings
    low, high = resampling.difference(first.group, second.group)
    if math.isnan(low):
        return []
    told = "With other test images the order could change"
    # the leader leads at both ends of the interval
    if low > 0:
        told = "Resampling the test images does not change the order"
    ends = f"{formats.points(low)} and {formats.points(high)} points"
    return [f"{told}: the lead is between {ends} (95 % interval)."]


def _scores(ranked: Ranking) -> list[str]:
    """Return what the first, the next and the last encoder score, and their distances."""
    leader, *others = ranked.standings
    metric = leader.group.metric.label
    sentences = [f"{leader.encoder} scores {formats.percent(leader.score.mean)} % {metric}."]
    roles = {"The next": others[:1], "The last": others[1:][-1:]}
    for role, found in roles.items():
        sentences += [
            f"{role}, {other.encoder}, scores {formats.percent(other.score.mean)} %, "
            f"{_behind(ranked.pair(leader, other))}."
            for other in found
        ]
    return sentences


def _behind(pair: Comparison) -> str:
    """Return the distance of the second encoder: ``5.0 points less on the seeds …``."""
    if not pair.seeds:
        return "with other seeds"
    over = pair.difference.over
    direction = "less" if pair.mean >= 0 else "more"
    text = f"{formats.bare(pair.mean)} points {direction} on the seeds that both have"
    if not over.spread:
        return text
    return f"{text} ({over.spread} {formats.bounds(over)})"


def _sure(setting: Setting, ranked: Ranking) -> list[str]:
    """Return sentences about seeds, the test of the lead, and failed runs."""
    counts = {standing.score.n for standing in ranked.standings}
    fewest, most = min(counts), max(counts)
    seeds = f"{fewest} to {most} seeds"
    if len(counts) == 1:
        seeds = plural(fewest, "seed")
    sentences = [f"Every encoder was trained with {seeds} (repetitions with other random numbers)."]
    if setting.groups[0].spec.segmenter.learning == "one pass":
        sentences = [f"Nothing is trained. Every encoder has {seeds} (other labelled images)."]
    if fewest < ENOUGH:
        sentences.append(f"Intervals and tests need at least {ENOUGH} seeds.")
    tests = sum(not math.isnan(pair.p) for pair in ranked.comparisons)
    sentences += [_evidence(pair, tests) for pair in _lead(ranked)]
    # where no encoder has enough seeds, the sentence above says it for all
    if most >= ENOUGH:
        sentences += _too_few(ranked)
    failed = sum(len(group.failed) for group in setting.groups)
    if failed:
        sentences.append(plural(failed, "run", "failed and is/are not in the numbers."))
    return sentences


def _lead(ranked: Ranking) -> list[Comparison]:
    """Return the comparison of the leader with the next, if they share several seeds."""
    pairs = [ranked.pair(ranked.leader, second) for second in ranked.standings[1:2]]
    return [pair for pair in pairs if pair.seeds > 1]


def _too_few(ranked: Ranking) -> list[str]:
    few = [pair.second.encoder for pair in ranked.against_leader if not pair.tested]
    if not few:
        return []
    return [f"Too few shared seeds for a claim about {formats.listing(few)}."]


def _evidence(pair: Comparison, tests: int) -> str:
    """Return how many seeds agree and what the paired test says.

    Args:
        pair: the two that are compared.
        tests: number of pairs that were tested, for which p is corrected.
    """
    first, second = pair.first.encoder, pair.second.encoder
    seeds = f"{pair.difference.wins} of {pair.seeds} shared seeds"
    text = f"{first} scored higher than {second} in {seeds}"
    if math.isnan(pair.p):
        return f"{text}."
    p = f"p = {pair.p:.3f}"
    if pair.p < 0.001:
        p = "p < 0.001"
    if tests > 1:
        p += f", corrected for {tests} comparisons"
    verdict = "chance does not explain this" if pair.holds else "this could be chance"
    return f"{text}: {verdict} (paired t test, {p})."
