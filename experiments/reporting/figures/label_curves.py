"""Scores against the number of labelled images, from none on."""

import math
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullLocator

from encoder_ablations.experiments.reporting.figures.charts.axes import Axis, linear_axis
from encoder_ablations.experiments.reporting.figures.charts.panel import Panel, Point, Series
from encoder_ablations.experiments.reporting.figures.drawing import (
    COLORS,
    INK,
    MARKERS,
    WIDTH,
    EmbeddedFigure,
    EncoderStyle,
    new_figure,
    save_figure,
    share_legend,
    style_context,
)
from encoder_ablations.experiments.reporting.figures.encoder_series import (
    PERCENT,
    summary_point,
)
from encoder_ablations.experiments.reporting.findings.groups import RunGroup
from encoder_ablations.experiments.reporting.findings.labels.label_curves import (
    Arm,
    LabelCurves,
    images_of,
)
from encoder_ablations.experiments.reporting.text import formats

GAP = 0.2
"""Width of the gap between 0 and the fewest images, as a share of the logarithmic axis."""
AXIS = "labelled training images and their share of all (logarithmic)"
NARROWEST = 2.0
"""Smallest ratio of the fewest images to the place at which 0 is drawn."""


def draw_label_curves(curves: LabelCurves, folder: Path, name: str) -> EmbeddedFigure:
    """Draw the curves of a dataset, write NAME.png and NAME.pdf, and return the figure."""
    with style_context([arm.title for arm in curves.arms]):
        figure, alt = label_figure(curves)
        return save_figure(figure, folder, name, alt, panels=[label_panel(curves)])


def label_panel(curves: LabelCurves) -> Panel:
    """Return the same as a panel of the page; a level is a score without labels."""
    zero = _place_of_zero(list(_numbers(curves)))
    looks = zip(cycle(COLORS), cycle(MARKERS), strict=False)
    series = [
        _series(arm, zero, curves, EncoderStyle(color, marker, dashed=False))
        for arm, (color, marker) in zip(curves.arms, looks, strict=False)
    ]
    ends = [end for each in series for point in each.points for end in point[1:4]]
    values = [end for end in ends if end is not None]
    values += [value for each in series for _, value in each.seeds]
    scores = linear_axis(values, f"{curves.metric} (%)", " %", PERCENT)
    return Panel(_images_axis(curves, zero), scores, series)


def _series(arm: Arm, zero: float, curves: LabelCurves, style: EncoderStyle) -> Series:
    points, seeds = _arm_points(arm, zero, curves)
    look: dict[str, Any] = {"color": style.color, "outline": style.outline}
    if arm.without_labels:
        look |= {"interval": "y", "level": points[0]}
    return Series(arm.title, points=points, seeds=seeds, **look)


def _images_axis(curves: LabelCurves, zero: float) -> Axis:
    """Return the axis of labelled images, with 0 left of a break where something stands there."""
    ends = [zero, *_numbers(curves)]
    return Axis(
        min(ends) / 1.2,
        max(ends) * 1.1,
        AXIS,
        list(_ticks(curves, zero).items()),
        logarithmic=True,
        unit=" images",
        breaks=_breaks(curves, zero),
    )


def _arm_points(
    arm: Arm, zero: float, curves: LabelCurves
) -> tuple[list[Point], list[tuple[float, float]]]:
    """Return the means of an arm with their intervals, and the scores of its seeds."""
    if not arm.without_labels:
        points = [
            summary_point(images_of(group), group.score, f"{images_of(group)} images")
            for group in arm.groups
        ]
        seeds = [
            (float(images_of(group)), 100 * value)
            for group in arm.groups
            for value in group.values().values()
        ]
        return points, seeds
    score, (low, high) = arm.largest.score.mean, curves.intervals[arm.title]
    told = f"{formats.percent(score)} % without labels"
    if math.isnan(low):
        return [Point(zero, 100 * score, told=told)], []
    return [Point(zero, 100 * score, 100 * low, 100 * high, told)], []


def label_figure(curves: LabelCurves) -> tuple[Figure, str]:
    """Draw the main metric against the number of labelled images, and say what is drawn.

    The axis is logarithmic and broken between 0 and the fewest images. A score without labels
    stands at 0 with its interval over test images, and as a dotted line over all numbers of images.
    """
    figure, (axis,) = new_figure(WIDTH, 4.6)
    zero = _place_of_zero(list(_numbers(curves)))
    looks = zip(cycle(COLORS), cycle(MARKERS), strict=False)
    described = []
    for arm, (color, marker) in zip(curves.arms, looks, strict=False):
        if arm.without_labels:
            _draw_without(axis, arm, zero, color, marker, curves.intervals[arm.title])
        else:
            _draw_labelled(axis, arm, color, marker)
        described.append(f"{arm.title} {' to '.join(_ends(arm))}")
    _broken_axis(axis, curves, zero)
    axis.set_ylabel(f"{curves.metric} (%)")
    share_legend(figure, axis)
    told = f"{curves.metric} on {curves.dataset} against the number of labelled images"
    return figure, f"{told}: {'; '.join(described)}."


def _numbers(curves: LabelCurves) -> dict[int, float]:
    """Return number of labelled images -> share of all, fewest first."""
    groups = [group for arm in curves.labelled for group in arm.groups]
    found = {images_of(group): group.fraction for group in groups}
    return dict(sorted(found.items()))


def _place_of_zero(numbers: list[int]) -> float:
    """Return where 0 is drawn on the logarithmic axis: left of the fewest images."""
    if not numbers:
        return 0.5
    ratio: float = (numbers[-1] / numbers[0]) ** GAP
    return numbers[0] / max(ratio, NARROWEST)


def _ends(arm: Arm) -> list[str]:
    """Return the first and the last score of an arm, with the labelled images that they took."""
    ends = dict.fromkeys((arm.groups[0], arm.largest))
    return [_told(group) for group in ends]


def _told(group: RunGroup) -> str:
    return f"{formats.percent(group.score.mean)} % with {images_of(group)} images"


def _draw_without(
    axis: Axes, arm: Arm, zero: float, color: str, marker: str, interval: tuple[float, float]
) -> None:
    """Draw a score without labels, its interval over images, and a line to compare others with."""
    score = 100 * arm.largest.score.mean
    look: dict[str, Any] = {"color": color, "marker": marker, "markersize": 7, "linestyle": ":"}
    axis.plot([zero], [score], label=arm.title, zorder=3, **look)
    axis.axhline(score, color=color, linewidth=1.2, linestyle=":")
    low, high = 100 * np.array(interval)
    if not np.isnan(low):
        axis.plot([zero, zero], [low, high], color=color, linewidth=1.8)
        axis.axhspan(low, high, color=color, alpha=0.08, linewidth=0)


def _draw_labelled(axis: Axes, arm: Arm, color: str, marker: str) -> None:
    """Draw an arm's means, the intervals (or ranges) over seeds as a band, and every seed."""
    scores = [group.score for group in arm.groups]
    mean, low, high = 100 * np.array([(each.mean, each.low, each.high) for each in scores]).T
    axis.plot(arm.images, mean, label=arm.title, color=color, marker=marker, markersize=5.5)
    axis.fill_between(arm.images, low, high, color=color, alpha=0.14, linewidth=0)
    for images, group in zip(arm.images, arm.groups, strict=True):
        seeds = [100 * value for value in group.values().values()]
        axis.plot([images] * len(seeds), seeds, ".", color=color, markersize=3.5, alpha=0.6)


def _broken_axis(axis: Axes, curves: LabelCurves, zero: float) -> None:
    """Make the axis logarithmic, with 0 left of a break where something stands at 0."""
    axis.set_xscale("log")
    ticks = _ticks(curves, zero)
    axis.set_xticks(list(ticks))
    texts = list(ticks.values())
    axis.xaxis.set_major_formatter(FuncFormatter(lambda _, place: texts[place or 0]))
    axis.xaxis.set_minor_locator(NullLocator())
    axis.set_xlabel(AXIS)
    for middle in _breaks(curves, zero):
        axis.text(
            middle,
            0,
            "//",
            transform=axis.get_xaxis_transform(),
            ha="center",
            va="center",
            color=INK,
            fontsize=12,
            fontweight="bold",
        )


def _ticks(curves: LabelCurves, zero: float) -> dict[float, str]:
    """Return where a number of labelled images stands -> the number and its share of all."""
    ticks: dict[float, str] = {}
    if curves.without:
        ticks[zero] = "0\nno labels"
    numbers = _numbers(curves)
    return ticks | {number: f"{number}\n{formats.fraction(numbers[number])}" for number in numbers}


def _breaks(curves: LabelCurves, zero: float) -> list[float]:
    """Return where the axis is broken: half way between 0 and the fewest images."""
    if not curves.without:
        return []
    return [math.sqrt(zero * number) for number in list(_numbers(curves))[:1]]
