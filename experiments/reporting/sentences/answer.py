"""The answer in plain words: which encoder, how much it helps, at what cost, how sure."""

from dataclasses import dataclass

from encoder_ablations.experiments.reporting.findings.groups import RunGroup, Setting
from encoder_ablations.experiments.reporting.findings.image_intervals import Interval, Resampling
from encoder_ablations.experiments.reporting.findings.ranking import (
    Comparison,
    Standing,
    comparisons,
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
"""Differences of mIoU below this print as 0.0 points; they are not called a lead."""

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


def answer(setting: Setting, resampling: Resampling | None = None) -> Answer:
    """Answers for the setting's reference fraction.

    Args:
        resampling: where per-image counts are found, to say what other test images could change.
    """
    fraction = setting.reference
    ranked = standings(setting, fraction)
    if fraction is None or not ranked:
        return Answer(
            setting.title, "", "No run has finished yet, so there is no answer.", [], [], [], []
        )
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
    text = f"{setting.dataset}, head {setting.segmenter}, {formats.fraction(group.fraction)} of the training images"
    data = group.runs[0].data
    if data is None:
        return text
    return f"{text} ({data.n_train}), scored on the {SPLITS[data.report_split]}"


def _headline(ranked: list[Standing], pairs: list[Comparison]) -> str:
    leader = ranked[0]
    if len(ranked) == 1:
        score = formats.percent(leader.miou.mean)
        return f"{leader.encoder} reaches {score} mIoU; no other encoder has a result to compare it with."
    against = {pair.second.encoder: pair for pair in pairs if pair.first is leader.group}
    runner_up = against.get(ranked[1].encoder)
    if runner_up is None:
        return f"{leader.encoder} has the highest mIoU, but shares no seed with {ranked[1].encoder}: not comparable yet."
    over = runner_up.difference.over
    if over.mean is not None and over.mean <= -VISIBLE:
        return f"{leader.encoder} has the highest mean, but {ranked[1].encoder} is ahead on the seeds that both have."
    if over.mean is None or over.mean < VISIBLE:
        return f"{leader.encoder} and {ranked[1].encoder} are level; this sample gives neither the lead."
    if over.n < ENOUGH:
        return f"{leader.encoder} is ahead in this small sample; {no_more(over.n)}."
    tested = [pair for pair in against.values() if pair.difference.over.n >= ENOUGH]
    level = [
        pair.second.encoder
        for pair in tested
        if not pair.holds or (pair.difference.over.mean or 0.0) < 0
    ]
    if level:
        return f"{leader.encoder} ranks first, but the seeds do not separate it from {formats.listing(level)}."
    among = "here" if len(tested) == len(ranked) - 1 else f"of those with {ENOUGH} seeds or more"
    bounds = formats.signed_range(over.low or 0.0, over.high or 0.0, over.mean)
    ahead = f"{formats.bare(over.mean)} points ahead of the next (95 % interval {bounds})"
    return f"{leader.encoder} is the best encoder {among}, {ahead}."


def _other_images(ranked: list[Standing], resampling: Resampling | None) -> list[str]:
    """Whether the lead would last on other test images."""
    if resampling is None or len(ranked) < 2:
        return []
    wide: Interval | None = resampling.difference(ranked[0].group, ranked[1].group)
    if wide is None:
        return []
    low, high = map(formats.points, wide)
    text = f"With other test images of this kind, too, the lead is between {low} and {high} points"
    if wide[0] > 0:
        return [f"{text} (95 % interval): it does not hang on the choice of images."]
    return [f"{text} (95 % interval): with other images the order could change."]


def _scores(ranked: list[Standing], pairs: list[Comparison]) -> list[str]:
    """What the first, the next and the last encoder score, and how far they are apart."""
    leader = ranked[0]
    sentences = [f"{leader.encoder} scores {formats.percent(leader.miou.mean)} mIoU."]
    for other in [*ranked[1:2], *ranked[2:][-1:]]:
        role = "The next" if other is ranked[1] else "The last"
        pair = next((p for p in pairs if (p.first, p.second) == (leader.group, other.group)), None)
        text = f"{role}, {other.encoder}, scores {formats.percent(other.miou.mean)}"
        sentences.append(f"{text}, {_behind(pair)}." if pair else f"{text}, with other seeds.")
    return sentences


def _behind(pair: Comparison) -> str:
    """``5.0 points less (95 % interval 0.6 to 9.4)``: the second encoder of the pair against the first."""
    over = pair.difference.over
    if over.mean is None or over.low is None or over.high is None:
        return "at no seed that can be compared"
    text = f"{formats.bare(over.mean)} points {'less' if over.mean >= 0 else 'more'} on the seeds that both have"
    return (
        f"{text} ({over.spread} {formats.signed_range(over.low, over.high, over.mean)})"
        if over.spread
        else text
    )


def _sure(setting: Setting, ranked: list[Standing], pairs: list[Comparison]) -> list[str]:
    counts = sorted({standing.miou.n for standing in ranked})
    seeds = plural(counts[0], "seed") if len(counts) == 1 else f"{counts[0]} to {counts[-1]} seeds"
    sentences = [f"Every encoder was trained with {seeds} (repetitions with other random numbers)."]
    if counts[0] < ENOUGH:
        sentences.append(
            f"An interval, or a claim that a lead is more than luck, needs at least {ENOUGH}."
        )
    tested = sum(pair.p is not None for pair in pairs)
    top = next(
        (p for p in pairs if (p.first, p.second) == tuple(s.group for s in ranked[:2])), None
    )
    if top is not None and top.difference.over.n > 1:
        sentences.append(_evidence(top, tested))
    few = [
        p.second.encoder
        for p in pairs
        if p.first is ranked[0].group and p.difference.over.n < ENOUGH
    ]
    if few and counts[-1] >= ENOUGH:
        sentences.append(f"Too few shared seeds for a claim about {formats.listing(few)}.")
    failed = sum(len(group.failed) for group in setting.groups)
    if failed:
        verb = "is" if failed == 1 else "are"
        sentences.append(f"{plural(failed, 'run')} failed and {verb} not in the numbers.")
    return sentences


def _evidence(pair: Comparison, pairs: int) -> str:
    n = pair.difference.over.n
    text = f"{pair.first.encoder} scored higher than {pair.second.encoder} in {pair.difference.wins} of {n} shared seeds"
    if pair.p is None:
        return f"{text}."
    p = "p < 0.001" if pair.p < 0.001 else f"p = {pair.p:.3f}"
    corrected = f", corrected for {pairs} comparisons" if pairs > 1 else ""
    verdict = "more than luck explains" if pair.holds else "luck could explain it"
    return f"{text}: {verdict} (paired t test, {p}{corrected})."
