"""The first lines of the page: the answer, the cost and the certainty, one sentence each."""

import math
from collections import Counter
from collections.abc import Hashable, Iterable, Sequence

from encoder_ablations.experiments.reporting.findings.groups import (
    FinishedRun,
    RunGroup,
    Setting,
)
from encoder_ablations.experiments.reporting.findings.ranking import (
    Comparison,
    Ranking,
    Standing,
    cost_of,
    pretraining,
    ranking,
)
from encoder_ablations.experiments.reporting.findings.study import Study
from encoder_ablations.experiments.reporting.findings.tuning.beside import (
    count_trials,
    main_settings,
)
from encoder_ablations.experiments.reporting.text import formats
from encoder_ablations.experiments.runs.record import RunRecord
from encoder_ablations.experiments.stats.seeds import ENOUGH
from encoder_ablations.utils.texts import duration, plural

NAMED = 3
"""Most settings whose gains are named one by one."""
MOST_HEADS = 6
"""Most settings of a single encoder that are named one by one."""


def one_answer(study: Study, headlines: Sequence[str]) -> str:
    """Return the answer of the whole study in one sentence.

    Args:
        study: whose answer it is.
        headlines: the shortest answers of its settings, see :func:`main_settings`.
    """
    if len(headlines) == 1:
        return _joined(headlines[0])
    scored = _counted(study)
    gains = {setting.title: _tested_gains(setting) for setting in scored}
    known = {title: pairs for title, pairs in gains.items() if pairs}
    if not known:
        return _leaders(scored)
    if len(known) <= NAMED and all(_one_gain(pairs) for pairs in known.values()):
        told = [
            f"{formats.bare(pairs[0].mean)} points on {title}" for title, pairs in known.items()
        ]
        return f"Pretraining adds {formats.listing(told)}."
    return _range_of_gains(known.values())


def _counted(study: Study) -> list[Setting]:
    """Return the settings that have a result, and are no second recipe of another one."""
    return [setting for setting in main_settings(study.settings) if setting.scored]


def _reference_rankings(settings: Iterable[Setting]) -> list[Ranking]:
    """Return the ranking of each setting, at its reference share of the images."""
    return [ranking(setting, setting.reference) for setting in settings]


def _joined(headline: str) -> str:
    """Return the sentences of a headline as one; they begin with names, or with "The"."""
    return f"{headline.rstrip('.').replace('. The ', '; the ').replace('. ', '; ')}."


def _tested_gains(setting: Setting) -> list[Comparison]:
    return [pair for pair in pretraining(setting, setting.reference) if pair.tested]


def _one_gain(pairs: Sequence[Comparison]) -> bool:
    """Return whether one network alone is compared, and the seeds show that it gains."""
    return len(pairs) == 1 and pairs[0].first_is_better


def _range_of_gains(found: Iterable[Sequence[Comparison]]) -> str:
    """Return the smallest and the largest gain of all settings."""
    pairs = [pair for each in found for pair in each]
    gains = [pair.mean for pair in pairs]
    held = sum(pair.holds for pair in pairs)
    return (
        f"Pretraining changes the score by {formats.interval(min(gains), max(gains))} points in "
        f"{plural(len(pairs), 'comparison')}; the seeds confirm this for {held} of them."
    )


def _leaders(settings: Sequence[Setting]) -> str:
    """Return in how many settings each encoder has the highest mean."""
    ranked = _reference_rankings(settings)
    firsts = Counter(each.leader.encoder for each in ranked)
    if not firsts:
        return "No run has finished yet, so there is no answer."
    if len(firsts) == 1 and all(len(each.standings) == 1 for each in ranked):
        return _one_encoder(settings)
    total = len(settings)
    told = [f"{encoder} in {count} of {total} settings" for encoder, count in firsts.most_common()]
    return f"The highest mean score: {formats.listing(told[:NAMED])}."


def _one_encoder(settings: Sequence[Setting]) -> str:
    """Return what the only encoder scores in each setting, the highest score first.

    Shares of the images are said where they differ: such scores do not compare.
    """
    leaders = {each.title: ranking(each, each.reference).leader for each in settings}
    best = sorted(leaders, key=lambda title: -leaders[title].score.mean)
    shares = {title: "" for title in best}
    if len({leader.group.fraction for leader in leaders.values()}) > 1:
        shares = {title: f" {_share(leaders[title].group.fraction)}" for title in best}
    told = [
        f"{formats.percent(leaders[title].score.mean)} %{shares[title]} on {title}"
        for title in best[:MOST_HEADS]
    ]
    if len(best) > MOST_HEADS:
        told.append(f"less in {plural(len(best) - MOST_HEADS, 'other setting')}")
    encoder = leaders[best[0]].encoder
    return f"{encoder} scores {formats.listing(told)}."


def _share(fraction: float) -> str:
    if not fraction:
        return "without labels"
    return f"with {formats.fraction(fraction)} of the images"


def cost_line(study: Study) -> str:
    """Return what the leader costs (or what images cost, in several settings), and all training."""
    runs = study.finished
    if not runs:
        return ""
    total = _trained([run for run in runs if run.spec.steps], study.trials)
    leaders = [each.leader for each in _reference_rankings(_counted(study))]
    if len({_network(leader.group) for leader in leaders}) == 1:
        return f"{_needs(study, leaders[0])}; {total}."
    times = [leader.latency for leader in leaders]
    low, high = map(formats.three_digits, (min(times), max(times)))
    return f"The best encoder of each setting needs {low} to {high} ms for an image; {total}."


def _network(group: RunGroup) -> tuple[Hashable, ...]:
    """Return what is equal for groups whose costs are those of one network."""
    cost = group.runs[0].cost
    return group.encoder, group.segmenter, cost.flops, cost.input_size


def _needs(study: Study, leader: Standing) -> str:
    """Return what an image costs the leader: the median where several settings measured it."""
    scored = [setting for setting in study.settings if setting.scored]
    groups = [setting.group(leader.encoder, setting.reference) for setting in scored]
    network = _network(leader.group)
    same = [group for group in groups if group.runs and _network(group) == network]
    runs = [run for group in same for run in group.runs]
    latency = formats.three_digits(cost_of(runs).latency[1])
    measured = ""
    if len(same) > 1:
        measured = f" (median of {plural(len(runs), 'run')})"
    flops = formats.giga(leader.flops)
    return f"{leader.encoder} needs {latency} ms{measured} and {flops} GFLOPs for an image"


def _trained(runs: Sequence[FinishedRun], trials: Sequence[RunRecord]) -> str:
    """Return how long training took, trials of tuning included.

    Args:
        runs: those with training steps.
        trials: records of all trials of tuning.
    """
    if not runs:
        return "nothing was trained"
    counted = plural(len(runs), "finished run")
    if trials:
        counted = f"{plural(len(runs), 'run')} and {plural(count_trials(trials), 'trial')}"
    costs = [record.cost for record in (*runs, *trials) if record.cost is not None]
    return f"training {counted} took {duration(sum(cost.train_seconds for cost in costs))}"


def sure_line(study: Study) -> str:
    """Return how many seeds there are, and whether they separate the first from the next."""
    # nothing is random in a head without labels, which has one run
    ranked = _reference_rankings(each for each in _counted(study) if not each.without_labels)
    leads = [pair for each in ranked for pair in _lead(each)]
    counts = [standing.score.n for each in ranked for standing in each.standings]
    if not counts and study.finished:
        return "Nothing is trained and nothing is random: intervals are over test images."
    if not counts:
        return ""
    seeds = f"{_seeds(counts)} for each encoder"
    if min(counts) < ENOUGH:
        return f"{seeds}: below {ENOUGH} there is no interval and no test."
    if not leads:
        return f"{seeds}; nothing to compare."
    return f"{seeds}; {_verdict(leads)}."


def _seeds(counts: Sequence[int]) -> str:
    if min(counts) < max(counts):
        return f"{min(counts)} to {max(counts)} seeds"
    return plural(min(counts), "seed")


def _lead(ranked: Ranking) -> list[Comparison]:
    """Return the comparison of the first with the next, if there is a test of it."""
    pairs = [ranked.pair(ranked.leader, second) for second in ranked.standings[1:2]]
    return [pair for pair in pairs if not math.isnan(pair.p)]


def _verdict(leads: Sequence[Comparison]) -> str:
    """Return whether chance explains the leads."""
    if len(leads) == 1:
        (pair,) = leads
        p = "p < 0.001" if pair.p < 0.001 else f"p = {pair.p:.3f}"
        told = "could be chance"
        if pair.first_is_better:
            told = "is more than chance explains"
        return f"the lead of {pair.first.encoder} over {pair.second.encoder} {told} ({p})"
    held = sum(pair.first_is_better for pair in leads)
    return (
        f"the first encoder leads by more than chance explains in {held} of {len(leads)} settings"
    )
