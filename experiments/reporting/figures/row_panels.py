"""Panels with a mark for each encoder: costs, classes, and scores at one share of the images."""

import math
from collections.abc import Sequence

from encoder_ablations.experiments.reporting.figures.charts.axes import (
    Axis,
    cost_axis,
    linear_axis,
)
from encoder_ablations.experiments.reporting.figures.charts.panel import Panel, Point
from encoder_ablations.experiments.reporting.figures.classes import BARS_OF, most_differing
from encoder_ablations.experiments.reporting.figures.drawing import Styles, shorten
from encoder_ablations.experiments.reporting.figures.encoder_series import (
    PERCENT,
    encoder_series,
    summary_point,
)
from encoder_ablations.experiments.reporting.findings.groups import (
    RunGroup,
    Setting,
    class_score,
)
from encoder_ablations.experiments.reporting.findings.ranking import Standing
from encoder_ablations.experiments.reporting.text import formats
from encoder_ablations.experiments.stats.seeds import Summary

NAME, MARK = 18, 12
"""Heights of a row's name, and of each encoder's mark below it."""
AROUND = 80
"""Height of what is above and below the rows."""


def cost_panels(ranked: Sequence[Standing], styles: Styles, metric: str) -> list[Panel]:
    """Return the main metric against FLOPs and against latency, with the front of each."""
    flops = [each.flops / 1e9 for each in ranked]
    latency = [each.latency for each in ranked]
    scores = [summary_point(0, each.score, "").y for each in ranked]
    ends = [100 * end for each in ranked for end in (each.score.low, each.score.high)]
    vertical = linear_axis([*scores, *ends], f"{metric} (%)", " %", PERCENT)
    on_flops = [each.on_flops_front for each in ranked]
    on_latency = [each.on_latency_front for each in ranked]
    return [
        _cost_panel(ranked, styles, flops, on_flops, ("GFLOPs for one image", " GFLOPs"), vertical),
        _cost_panel(ranked, styles, latency, on_latency, ("ms for one image", " ms"), vertical),
    ]


def _cost_panel(
    ranked: Sequence[Standing],
    styles: Styles,
    costs: Sequence[float],
    on_front: Sequence[bool],
    named: tuple[str, str],
    vertical: Axis,
) -> Panel:
    """Return one panel of costs.

    Args:
        ranked: the encoders.
        styles: encoder -> its marker.
        costs: of each encoder.
        on_front: whether each is on the front.
        named: the cost's name with its unit, and the unit alone.
        vertical: axis of the scores.
    """
    label, unit = named
    series, front = [], []
    for standing, cost, best in zip(ranked, costs, on_front, strict=True):
        where = f"{formats.three_digits(cost)}{unit}"
        point = summary_point(cost, standing.score, where)
        style = styles[standing.encoder]
        series.append(encoder_series(standing.encoder, style, [point], interval="y"))
        if best:
            front.append((cost, point.y))
    return Panel(cost_axis(costs, label, unit), vertical, series, paths=[sorted(front)])


def class_panel(groups: Sequence[RunGroup], setting: Setting, styles: Styles) -> Panel:
    """Return the IoU or the recall of every class: a mark for the mean of each encoder.

    Args:
        groups: one for each encoder, ranked.
        setting: whose classes are drawn.
        styles: encoder -> its colour.
    """
    shown = list(groups[:BARS_OF])
    names = most_differing(shown, setting.shown_classes)
    found = [[group.summary(class_score(name)) for name in names] for group in shown]
    encoders = [group.encoder for group in shown]
    label = f"{setting.metric.class_label} (%)"
    return _rows(names, encoders, found, styles, label)


def encoder_panel(groups: Sequence[RunGroup], metric: str, styles: Styles, title: str) -> Panel:
    """Return the score of every encoder at one share of the images, a row for each."""
    series, rows = [], []
    for place, group in enumerate(groups):
        over = summary_point(0, group.score, formats.fraction(group.fraction))
        point = Point(over.y, place, over.low, over.high, over.told)
        seeds = [(100 * value, place + 0.25) for value in group.values().values()]
        style = styles[group.encoder]
        series.append(encoder_series(group.encoder, style, [point], seeds, interval="x"))
        rows.append((shorten(group.encoder, 44), place - 0.3))
    ends = [100 * end for each in groups for end in (each.score.low, each.score.high)]
    across = linear_axis(ends, f"{metric} (%)", " %", PERCENT)
    vertical = Axis(len(groups) - 0.4, -0.7)
    height = AROUND + len(groups) * (NAME + 2 * MARK)
    return Panel(across, vertical, series, title, rows=rows, height=height)


def _rows(
    names: Sequence[str],
    encoders: Sequence[str],
    found: Sequence[Sequence[Summary]],
    styles: Styles,
    label: str,
) -> Panel:
    """Return a panel with a named row for each class, and in it a line of marks per encoder.

    Args:
        names: of the classes.
        encoders: titles.
        found: scores in 0..1, encoders×classes.
        styles: encoder -> its colour.
        label: of the horizontal axis.
    """
    # places count in pixels, from the top
    height = NAME + MARK * len(encoders)
    series = []
    for line, (encoder, scores) in enumerate(zip(encoders, found, strict=True)):
        points = []
        for row, (name, over) in enumerate(zip(names, scores, strict=True)):
            at = summary_point(0, over, name)
            place = row * height + NAME + MARK * line
            points.append(Point(at.y, place, at.low, at.high, f"{name} {over.text()} %"))
        known = [point for point in points if _is_known(point)]
        style = styles[encoder]
        series.append(encoder_series(encoder, style, known, line=False, interval="x"))
    rows = [(shorten(name, 40), row * height + 6.0) for row, name in enumerate(names)]
    across = linear_axis([0.0, 100.0], label, " %", PERCENT)
    total = height * len(names)
    return Panel(across, Axis(total, -4), series, rows=rows, height=total + AROUND)


def _is_known(point: Point) -> bool:
    """Return whether the class occurs, so that it has a score."""
    return not math.isnan(point.x)
