"""The figure of classes: a bar for every class and encoder."""

from collections.abc import Iterable

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from encoder_ablations.experiments.reporting.figures.curves import Styles
from encoder_ablations.experiments.reporting.figures.drawing import (
    INK,
    WIDTH,
    new_figure,
    share_legend,
    shorten,
)
from encoder_ablations.experiments.reporting.findings.groups import RunGroup, Setting, class_iou
from encoder_ablations.utils.texts import plural

BARS = 24
"""Most classes in the bar chart; with more, those on which the encoders differ most."""
BARS_OF = 10
"""Most encoders in the bar chart: the best ones."""


def class_bars(groups: list[RunGroup], setting: Setting, styles: Styles) -> tuple[Figure, str]:
    """Draw the IoU of every class: a bar for the mean of every encoder, a tick for every seed.

    Args:
        groups: one for each encoder, ranked.
        setting: whose classes are drawn.
        styles: encoder -> its colour.
    """
    whose = "each encoder"
    if len(groups) > BARS_OF:
        whose = f"the {BARS_OF} best of {len(groups)} encoders"
        groups = groups[:BARS_OF]
    shown = _most_differing(groups, setting.shown_classes)
    height = max(0.34, 0.13 * len(groups))
    figure, (axis,) = new_figure(WIDTH, 1.1 + len(shown) * height)
    thickness = 0.8 / len(groups)
    for position, group in enumerate(groups):
        # the bars of a class lie side by side around its tick
        offset = (position - (len(groups) - 1) / 2) * thickness
        places = np.arange(len(shown)) + offset
        means = [100 * (_class_mean(group, name) or 0) for name in shown]
        bar = styles[group.encoder].bar
        axis.barh(places, means, height=thickness * 0.86, label=group.encoder, **bar)
        if len(group.runs) > 1:
            _draw_seeds(axis, group, shown, places)
    axis.set_yticks(range(len(shown)), [shorten(name, 28) for name in shown])
    axis.set_ylim(len(shown) - 0.45, -0.55)
    axis.set_xlim(0, 100)
    axis.grid(visible=False, axis="y")
    axis.set_xlabel("IoU (%)")
    share_legend(figure, axis)
    counted = plural(len(setting.classes), "class")
    return figure, f"IoU of {len(shown)} of {counted} for {whose}; the table below has the numbers."


def _draw_seeds(axis: Axes, group: RunGroup, classes: list[str], places: Iterable[float]) -> None:
    values: list[float] = []
    heights: list[float] = []
    for name, place in zip(classes, places, strict=True):
        seeds = group.values(class_iou(name)).values()
        values += [100 * value for value in seeds]
        heights += [place] * len(seeds)
    axis.plot(values, heights, "|", color=INK, markersize=4, markeredgewidth=0.8)


def _most_differing(groups: list[RunGroup], classes: list[str]) -> list[str]:
    """Return the classes on which the groups differ most, in the given order; few ones as is."""
    if len(classes) <= BARS:
        return classes
    spread = {name: _spread(groups, name) for name in classes}
    most = sorted(classes, key=lambda name: -spread[name])[:BARS]
    return [name for name in classes if name in most]


def _spread(groups: list[RunGroup], name: str) -> float:
    means = [_class_mean(group, name) for group in groups]
    known = [mean for mean in means if mean is not None]
    return max(known) - min(known) if known else -1.0


def _class_mean(group: RunGroup, name: str) -> float | None:
    """Return the mean IoU of one class over the group's seeds."""
    return group.summary(class_iou(name)).mean
