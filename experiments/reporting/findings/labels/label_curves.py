"""Scores from 0 labelled images on: every encoder with every head on one dataset."""

import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product

from encoder_ablations.experiments.reporting.findings.groups import RunGroup
from encoder_ablations.experiments.stats.efficiency import Efficiency
from encoder_ablations.experiments.stats.labels_needed import Score, labels_needed

Scores = Callable[[RunGroup], dict[int, Score]]
"""Returns seed -> the score of a run, and the same on other test images."""
Bounds = Callable[[RunGroup], tuple[float, float]]
"""Returns the 95 % interval of a group's mean score; NaN without enough data."""


@dataclass(frozen=True, eq=False)
class Arm:
    """One encoder with one head.

    Attributes:
        title: both of them.
        groups: those with a result, fewest images first; one where no labels are needed.
    """

    title: str
    groups: tuple[RunGroup, ...]

    @property
    def without_labels(self) -> bool:
        """Whether the head needs no labels."""
        return self.groups[0].without_labels

    @property
    def largest(self) -> RunGroup:
        """Return the group with most labelled images."""
        return self.groups[-1]

    @property
    def images(self) -> list[int]:
        """Return the numbers of labelled images of the groups."""
        return [images_of(group) for group in self.groups]


@dataclass(frozen=True)
class Needed:
    """How many labelled images one arm needs to score what another does without labels.

    Attributes:
        without: the arm without labels.
        labelled: the other one.
        found: numbers of images.
        with_images: whether their interval covers the test images beside the seeds.
    """

    without: Arm
    labelled: Arm
    found: Efficiency
    with_images: bool


@dataclass(frozen=True, eq=False)
class LabelCurves:
    """The arms on one dataset, of which one or more do without labels or without training steps.

    Attributes:
        dataset: its name.
        arms: those without labels first.
        intervals: title of an arm without labels -> the interval of its score over test images.
        needed: for each pair of an arm without labels and one with them that can be compared.
    """

    dataset: str
    arms: tuple[Arm, ...]
    intervals: dict[str, tuple[float, float]]
    needed: tuple[Needed, ...]

    @property
    def without(self) -> list[Arm]:
        """Return the arms that need no labels."""
        return [arm for arm in self.arms if arm.without_labels]

    @property
    def labelled(self) -> list[Arm]:
        """Return the arms that learn from labels."""
        return [arm for arm in self.arms if not arm.without_labels]

    @property
    def interval_known(self) -> bool:
        """Whether a score without labels has an interval over test images."""
        return any(not math.isnan(low) for low, _ in self.intervals.values())

    @property
    def metric(self) -> str:
        """Return the name of the main metric."""
        return self.arms[0].groups[0].metric.label


def images_of(group: RunGroup) -> int:
    """Return how many labelled images the runs of a group learned from."""
    return group.runs[0].data.n_train


def label_curves(groups: Sequence[RunGroup], scores: Scores, bounds: Bounds) -> list[LabelCurves]:
    """Return the curves of every dataset on which some head does without labels or training steps.

    Reports of other studies have their curves setting by setting, with nothing at 0.

    Args:
        groups: all of a study.
        scores: of a group.
        bounds: of a group.
    """
    titles = _titles(groups)
    by_dataset: dict[str, dict[str, list[RunGroup]]] = defaultdict(lambda: defaultdict(list))
    for group, title in zip(groups, titles, strict=True):
        if group.score.n:
            by_dataset[group.spec.dataset.model_dump_json()][title].append(group)
    chosen = filter(_has_other_heads, by_dataset.values())
    return [_curves(arms, scores, bounds) for arms in chosen]


def _titles(groups: Sequence[RunGroup]) -> list[str]:
    """Return encoder and head of each group; the setting where two settings have one head."""
    settings: dict[tuple[str, str], set[str]] = defaultdict(set)
    for group in groups:
        settings[group.dataset, group.segmenter].add(group.setting)
    titles = []
    for group in groups:
        head = group.segmenter
        if len(settings[group.dataset, head]) > 1:
            head = group.setting
        titles.append(f"{group.encoder} · {head}")
    return titles


def _has_other_heads(arms: dict[str, list[RunGroup]]) -> bool:
    """Return whether a head needs no labels, or no training steps, and another arm is there."""
    groups = [found[0] for found in arms.values()]
    unlike = [group for group in groups if group.spec.segmenter.learning != "steps"]
    unlike += [group for group in groups if group.without_labels]
    return bool(unlike) and len(arms) > 1


def _curves(arms: dict[str, list[RunGroup]], scores: Scores, bounds: Bounds) -> LabelCurves:
    found = [
        Arm(title, tuple(sorted(groups, key=lambda group: group.fraction)))
        for title, groups in arms.items()
    ]
    # False comes before True
    found.sort(key=lambda arm: (not arm.without_labels, arm.title))
    without = [arm for arm in found if arm.without_labels]
    labelled = [arm for arm in found if not arm.without_labels]
    results = [_needed(*pair, scores) for pair in product(without, labelled)]
    return LabelCurves(
        dataset=found[0].groups[0].dataset,
        arms=tuple(found),
        intervals={arm.title: bounds(arm.largest) for arm in without},
        needed=tuple(result for result in results if result is not None),
    )


def _needed(without: Arm, labelled: Arm, scores: Scores) -> Needed | None:
    """Return how many labels score the same as none; None where the seeds do not fit."""
    targets = scores(without.largest)
    # a study has one run without labels; of several that were trained by hand, the first
    target = targets[min(targets)]
    curve = {float(images_of(group)): scores(group) for group in labelled.groups}
    result = labels_needed(curve, target)
    if result is None:
        return None
    return Needed(without, labelled, *result)
