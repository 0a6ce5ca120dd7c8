"""Score against ε: private training with different budgets, and what pretraining saves of them."""

import math
from collections import defaultdict
from dataclasses import dataclass
from functools import cached_property

from encoder_ablations.experiments.reporting.findings.groups import RunGroup, Setting
from encoder_ablations.experiments.reporting.findings.label_efficiency import MORE_THAN
from encoder_ablations.experiments.reporting.findings.study import Study
from encoder_ablations.experiments.reporting.text import formats
from encoder_ablations.experiments.reporting.text.table import Table
from encoder_ablations.experiments.reporting.text.titles import canonical, unique_titles
from encoder_ablations.experiments.stats.efficiency import Efficiency, label_efficiency
from encoder_ablations.experiments.studies.grid import tuning_title

HEADER = ["data and head", "encoder", "fraction (%)", "epsilon", "delta", "{} (%)", "low", "high"]
HEADER += ["spread", "n"]


BUDGET = {"epsilon", "noise"}
"""What the points of a curve differ in; with another delta or accountant ε means something else."""


@dataclass(frozen=True, eq=False)
class PrivacyCurves:
    """Private settings that differ in the budget alone.

    Attributes:
        title: dataset and head.
        fraction: share of the training images.
        groups: encoder -> ε that was spent -> its runs; ε rises.
    """

    title: str
    fraction: float
    groups: dict[str, dict[float, RunGroup]]

    @cached_property
    def best_first(self) -> list[str]:
        """Return the encoders, the one with the largest score at its largest ε first."""
        last = {name: list(curve.values())[-1].score.mean for name, curve in self.groups.items()}
        return sorted(last, key=lambda name: (-last[name], name))

    @property
    def is_curve(self) -> bool:
        """Whether an encoder has a result at two ε or more."""
        return max(map(len, self.groups.values())) > 1

    @property
    def any_group(self) -> RunGroup:
        """Return one of the groups."""
        return next(iter(next(iter(self.groups.values())).values()))


def privacy_curves(study: Study) -> list[PrivacyCurves]:
    """Return the curves of every family of private settings, at its reference fraction.

    Settings without privacy are no part of them: their recipe is another one.
    """
    families: dict[str, list[Setting]] = defaultdict(list)
    for setting in study.settings:
        if setting.groups[0].spec.recipe.privacy is not None and setting.scored:
            families[_common(setting)].append(setting)
    names = [f"{found[0].dataset} · {found[0].segmenter}" for found in families.values()]
    titles = unique_titles(list(zip(names, families, strict=True)))
    each = zip(titles, families.values(), strict=True)
    return [_curves(title, settings) for title, settings in each]


def _common(setting: Setting) -> str:
    """Return JSON of everything but the budget that the runs of a setting have in common."""
    spec = setting.groups[0].spec
    recipe = spec.study_recipe or spec.recipe
    return canonical(
        {
            "segmenter": spec.segmenter.model_dump(mode="json"),
            "dataset": spec.dataset.model_dump(mode="json"),
            "recipe": recipe.model_dump(mode="json", exclude={"privacy": BUDGET}),
            "tuning": tuning_title(spec),
        }
    )


def _curves(title: str, settings: list[Setting]) -> PrivacyCurves:
    fraction = max(setting.reference for setting in settings)
    found: dict[str, dict[float, RunGroup]] = defaultdict(dict)
    for setting in settings:
        for group in setting.scored_at(fraction):
            found[group.encoder][_spent(group)] = group
    rising = {name: dict(sorted(curve.items())) for name, curve in found.items()}
    return PrivacyCurves(title, fraction, rising)


def _spent(group: RunGroup) -> float:
    """Return the largest ε that a run of a group has spent; NaN where no record says it."""
    spent = [run.privacy.epsilon for run in group.runs if run.privacy is not None]
    return max(spent, default=math.nan)


def privacy_table(study: Study) -> Table:
    """Return the main metric of private trainings, by encoder and ε."""
    rows = []
    for curves in privacy_curves(study):
        for encoder in curves.best_first:
            for epsilon, group in curves.groups[encoder].items():
                rows.append([curves.title, *_cells(encoder, epsilon, group)])
    header = [name.format(study.metric.label) for name in HEADER]
    return Table("Private trainings by the epsilon that they spent.", header, rows, names=2)


def _cells(encoder: str, epsilon: float, group: RunGroup) -> list[str]:
    score, spec = group.score, group.spec.recipe.privacy
    assert spec is not None  # see privacy_curves
    bounds = ["", ""]
    if score.spread:
        bounds = [formats.percent(score.low), formats.percent(score.high)]
    share = f"{group.fraction * 100:g}"
    numbers = [share, f"{epsilon:.3g}", f"{spec.delta:g}", formats.percent(score.mean)]
    return [encoder, *numbers, *bounds, score.spread, str(score.n)]


def privacy_gain(curves: PrivacyCurves) -> list[str]:
    """Return a sentence for each network whose pretraining saves ε at an equal score.

    A network is left out where its curves do not tell: where they do not meet between two ε that
    were measured, or where weights of one kind are missing.
    """
    loaded, random = _by_weights(curves, False), _by_weights(curves, True)
    found = []
    for architecture in loaded.keys() & random.keys():
        sentence = _saved(curves, loaded[architecture], random[architecture])
        if sentence:
            found.append(sentence)
    return sorted(found)


def _by_weights(curves: PrivacyCurves, random_weights: bool) -> dict[str, str]:
    """Return architecture -> its encoder with random weights, or the one with loaded weights."""
    found = {}
    for encoder, groups in curves.groups.items():
        group = next(iter(groups.values()))
        if group.random_weights == random_weights:
            found[group.architecture] = encoder
    return found


def _saved(curves: PrivacyCurves, strong: str, weak: str) -> str:
    needed = {spent: group.values() for spent, group in curves.groups[strong].items()}
    target = curves.groups[weak]
    largest = max(target)
    if len(needed) < 2:
        return ""
    result = label_efficiency(needed, target[largest].values())
    if result is None or math.isnan(result.fraction) or result.fraction > 0.995 * largest:
        return ""
    metric = curves.any_group.metric.label
    about = "at most" if result.at_most else "about"
    saves = "at least" if result.at_most else "about"
    saved = largest - result.fraction
    return (
        f"{strong} reaches the {metric} of {weak} at epsilon {largest:.3g} with epsilon {about} "
        f"{result.fraction:.2g}{_interval(result)}: pretraining saves {saves} {saved:.2g} of "
        f"epsilon at equal {metric} (n={result.n})."
    )


def _interval(result: Efficiency) -> str:
    """Return the interval of ε in words; "" below three seeds."""
    if math.isnan(result.low):
        return ""
    low = "below " if result.low_open else ""
    return (
        f" (95 % interval {low}{result.low:.2g} to {MORE_THAN[result.high_open]}{result.high:.2g})"
    )
