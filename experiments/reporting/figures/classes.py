"""The figure of classes: a bar for every class and encoder."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from encoder_ablations.experiments.reporting.figures.drawing import (
    INK,
    WIDTH,
    Styles,
    new_figure,
    share_legend,
    shorten,
)
from encoder_ablations.experiments.reporting.findings.groups import RunGroup, Setting, class_score
from encoder_ablations.utils.texts import plural

BARS = 24
"""Most classes in the bar chart; with more, those on which the encoders differ most."""
BARS_OF = 10
"""Most encoders in the bar chart: the best ones."""


def class_bars(groups: list[RunGroup], setting: Setting, styles: Styles) -> tuple[Figure, str]:
    """Draw the IoU or the recall of every class: a bar for an encoder's mean, a tick for a seed.

    Args:
        groups: one for each encoder, ranked.
        setting: whose classes are drawn.
        styles: encoder -> its colour.
    """
    whose = "each encoder"
    if len(groups) > BARS_OF:
        whose = f"the {BARS_OF} best of {len(groups)} encoders"
    groups = groups[:BARS_OF]
    shown = most_differing(groups, setting.shown_classes)
    height = max(0.34, 0.13 * len(groups))
    figure, (axis,) = new_figure(WIDTH, 1.1 + len(shown) * height)
    thickness = 0.8 / len(groups)
    means = 100 * np.nan_to_num(_means(groups, shown))
    for position, group in enumerate(groups):
        # the bars of a class lie side by side around its tick
        offset = (position - (len(groups) - 1) / 2) * thickness
        places = np.arange(len(shown)) + offset
        bar = styles[group.encoder].bar
        axis.barh(places, means[position], height=thickness * 0.86, label=group.encoder, **bar)
        if len(group.runs) > 1:
            _draw_seeds(axis, group, shown, places)
    axis.set_yticks(range(len(shown)), [shorten(name, 28) for name in shown])
    # the first class is at the top
    axis.set_ylim(len(shown) - 0.45, -0.55)
    axis.set_xlim(0, 100)
    axis.grid(visible=False, axis="y")
    label = setting.metric.class_label
    axis.set_xlabel(f"{label} (%)")
    share_legend(figure, axis)
    counted = plural(len(setting.classes), "class")
    told = f"{label} of {len(shown)} of {counted} for {whose}"
    return figure, f"{told}; the table below has the numbers."


def _draw_seeds(axis: Axes, group: RunGroup, classes: list[str], places: np.ndarray) -> None:
    values: list[float] = []
    heights: list[float] = []
    for name, place in zip(classes, places, strict=True):
        seeds = group.values(class_score(name)).values()
        values += [100 * value for value in seeds]
        heights += [place] * len(seeds)
    axis.plot(values, heights, "|", color=INK, markersize=4, markeredgewidth=0.8)


def most_differing(groups: Sequence[RunGroup], classes: list[str]) -> list[str]:
    """Return the classes on which the groups differ most, in the given order; few ones as is."""
    if len(classes) <= BARS:
        return classes
    means = _means(groups, classes)
    # a class that no group knows comes last
    known = ~np.isnan(means)
    largest = np.max(means, axis=0, initial=-1, where=known)
    smallest = np.min(means, axis=0, initial=2, where=known)
    most = np.argsort(smallest - largest, kind="stable")[:BARS]
    return [classes[place] for place in sorted(most)]


def _means(groups: Sequence[RunGroup], classes: list[str]) -> np.ndarray:
    """Return the mean score in 0..1 over seeds, groups×classes; NaN where no run knows it."""
    return np.array(
        [[group.summary(class_score(name)).mean for name in classes] for group in groups]
    )
