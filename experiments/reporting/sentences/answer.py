"""The answer in plain words: which encoder is best, its gain, its cost, how sure that is."""

from dataclasses import dataclass

from encoder_ablations.experiments.reporting.findings.groups import RunGroup, Setting
from encoder_ablations.experiments.reporting.findings.image_intervals import Resampling
from encoder_ablations.experiments.reporting.findings.ranking import (
    Comparison,
    Standing,
    comparisons,
    find_pair,
    standings,
)
from encoder_ablations.experiments.reporting.sentences.cost import cost_sentences
from encoder_ablations.experiments.reporting.sentences.pretraining_gain import (
    gain,
    gain_headline,
    no_more,
)
from encoder_ablations.experiments.reporting.text import formats
from encoder_ablations.experiments.stats.seeds import ENOUGH
from encoder_ablations.utils.texts import plural

VISIBLE = 0.0005
"""Smallest difference of mIoU that does not print as 0.0 points; below it, scores are the same."""

SPLITS = {"val": "validation images", "test": "test images", "train": "training images"}


@dataclass(frozen=True)
class Answer:
    """Sentences about one setting.

    Attributes:
        setting: its title.
        scope: what the numbers refer to.
        headline: the shortest true answer.
        scores: what the first, the next and the last encoder score.
        gain: what pretraining adds.
        cost: what the leader costs.
        sure: how far the seeds support this.
    """

    setting: str
    scope: str
    headline: str
    scores: list[str]
    gain: list[str]
    cost: list[str]
    sure: list[str]


def answer(setting: Setting, resampling: Resampling | None = None) -> Answer:
    """Return the answer at the setting's reference fraction.

    Args:
        setting: whose encoders are compared.
        resampling: intervals over test images; None leaves the sentence about these out.
    """
    fraction = setting.reference
    if fraction is None:
        headline = "No run has finished yet, so there is no answer."
        return Answer(setting.title, "", headline, [], [], [], [])
    ranked = standings(setting, fraction)
    pairs = comparisons(setting, fraction)
    return Answer(
        setting.title,
        _scope(setting, ranked[0].group),
        " ".join([*gain_headline(setting, fraction), _headline(ranked, pairs)]),
        _scores(ranked, pairs),
        gain(setting, fraction),
        cost_sentences(ranked, pairs),
        [*_sure(setting, ranked, pairs), *_other_images(ranked, resampling)],
    )


def _scope(setting: Setting, group: RunGroup) -> str:
    share = f"{formats.fraction(group.fraction)} of the training images"
    text = f"{setting.dataset}, head {setting.segmenter}, {share}"
    data = group.runs[0].data
    if data is None:
        return text
    return f"{text} ({data.n_train}), scored on the {SPLITS[data.report_split]}"


def _headline(ranked: list[Standing], pairs: list[Comparison]) -> str:
    leader = ranked[0].encoder
    if len(ranked) == 1:
        score = formats.percent(ranked[0].miou.mean)
        return f"{leader} reaches {score} mIoU; no other encoder has a result to compare it with."
    second = ranked[1].encoder
    runner_up = find_pair(ranked[0], ranked[1], pairs)
    if runner_up is None:
        return f"{leader} has the highest mIoU, but shares no seed with {second}: not comparable."
    if runner_up.mean <= -VISIBLE:
        return f"{leader} has the highest mean, but {second} is ahead on the seeds that both have."
    if runner_up.mean < VISIBLE:
        return f"{leader} and {second} score the same on the seeds that both have."
    seeds = runner_up.difference.over.n
    if seeds < ENOUGH:
        return f"{leader} is ahead in this small sample; {no_more(seeds)}."
    return _tested_headline(ranked, runner_up, pairs)


def _tested_headline(ranked: list[Standing], runner_up: Comparison, pairs: list[Comparison]) -> str:
    """Return the headline where the leader and the next share enough seeds for a test."""
    leader = ranked[0]
    against = [pair for pair in pairs if pair.first is leader.group]
    tested = [pair for pair in against if pair.difference.over.n >= ENOUGH]
    level = [pair.second.encoder for pair in tested if not pair.holds or pair.mean < 0]
    if level:
        names = formats.listing(level)
        return f"{leader.encoder} ranks first, but the seeds do not separate it from {names}."
    among = "here" if len(tested) == len(ranked) - 1 else f"of those with {ENOUGH} seeds or more"
    interval = formats.bounds(runner_up.difference.over)
    lead = f"{formats.bare(runner_up.mean)} points ahead of the next"
    return f"{leader.encoder} is the best encoder {among}, {lead} (95 % interval {interval})."


def _other_images(ranked: list[Standing], resampling: Resampling | None) -> list[str]:
    """Return a sentence on whether the leader would lead on other test images, too."""
    if resampling is None or len(ranked) < 2:
        return []
    interval = resampling.difference(ranked[0].group, ranked[1].group)
    if interval is None:
        return []
    low, high = map(formats.points, interval)
    lead = f"the lead is between {low} and {high} points (95 % interval)"
    if interval[0] > 0:
        return [f"Resampling the test images does not change the order: {lead}."]
    return [f"With other test images the order could change: {lead}."]


def _scores(ranked: list[Standing], pairs: list[Comparison]) -> list[str]:
    """Return what the first, the next and the last encoder score, and their distances."""
    leader = ranked[0]
    sentences = [f"{leader.encoder} scores {formats.percent(leader.miou.mean)} mIoU."]
    roles = {"The next": ranked[1:2], "The last": ranked[2:][-1:]}
    for role, found in roles.items():
        if not found:
            continue
        other = found[0]
        pair = find_pair(leader, other, pairs)
        distance = _behind(pair) if pair else "with other seeds"
        score = formats.percent(other.miou.mean)
        sentences.append(f"{role}, {other.encoder}, scores {score}, {distance}.")
    return sentences


def _behind(pair: Comparison) -> str:
    """Return the distance of the second encoder: ``5.0 points less on the seeds …``."""
    over = pair.difference.over
    direction = "less" if pair.mean >= 0 else "more"
    text = f"{formats.bare(pair.mean)} points {direction} on the seeds that both have"
    if not over.spread:
        return text
    return f"{text} ({over.spread} {formats.bounds(over)})"


def _sure(setting: Setting, ranked: list[Standing], pairs: list[Comparison]) -> list[str]:
    """Return sentences about seeds, the test of the lead, and failed runs."""
    fewest = min(standing.miou.n for standing in ranked)
    most = max(standing.miou.n for standing in ranked)
    seeds = plural(fewest, "seed") if fewest == most else f"{fewest} to {most} seeds"
    sentences = [f"Every encoder was trained with {seeds} (repetitions with other random numbers)."]
    if fewest < ENOUGH:
        sentences.append(f"Intervals and tests need at least {ENOUGH} seeds.")
    if len(ranked) > 1:
        top = find_pair(ranked[0], ranked[1], pairs)
        if top is not None and top.difference.over.n > 1:
            sentences.append(_evidence(top, sum(pair.p is not None for pair in pairs)))
    if most >= ENOUGH:
        sentences += _too_few(ranked[0], pairs)
    failed = sum(len(group.failed) for group in setting.groups)
    if failed:
        sentences.append(plural(failed, "run", "failed and is/are not in the numbers."))
    return sentences


def _too_few(leader: Standing, pairs: list[Comparison]) -> list[str]:
    against = [pair for pair in pairs if pair.first is leader.group]
    few = [pair.second.encoder for pair in against if pair.difference.over.n < ENOUGH]
    return [f"Too few shared seeds for a claim about {formats.listing(few)}."] if few else []


def _evidence(pair: Comparison, tests: int) -> str:
    """Return how many seeds agree and what the paired test says.

    Args:
        pair: the two that are compared.
        tests: number of pairs that were tested, for which p is corrected.
    """
    first, second = pair.first.encoder, pair.second.encoder
    seeds = f"{pair.difference.wins} of {pair.difference.over.n} shared seeds"
    text = f"{first} scored higher than {second} in {seeds}"
    if pair.p is None:
        return f"{text}."
    p = "p < 0.001" if pair.p < 0.001 else f"p = {pair.p:.3f}"
    if tests > 1:
        p += f", corrected for {tests} comparisons"
    verdict = "chance does not explain this" if pair.holds else "this could be chance"
    return f"{text}: {verdict} (paired t test, {p})."
