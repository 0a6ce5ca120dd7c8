"""Curves: scores over shares of the images, validation scores and losses over training."""

import math
from collections import defaultdict
from itertools import product
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullLocator

from encoder_ablations.experiments.reporting.figures.drawing import (
    INK,
    WIDTH,
    EncoderStyle,
    Styles,
    hide_unused,
    new_figure,
    share_legend,
)
from encoder_ablations.experiments.reporting.figures.training_curves import (
    CROWDED,
    THIN_LINES,
    Reading,
    loss_points,
    panel_shares,
    seed_curves,
    shared_points,
    validation_points,
)
from encoder_ablations.experiments.reporting.findings.groups import RunGroup, Setting
from encoder_ablations.experiments.reporting.findings.ranking import pretraining
from encoder_ablations.experiments.reporting.text import formats
from encoder_ablations.experiments.stats.seeds import Summary

COLUMNS = 3
MARKED = 12
"""Most points of a learning curve that have markers."""


def fraction_curves(setting: Setting, encoders: list[str], styles: Styles) -> tuple[Figure, str]:
    """Draw the main metric against the share of training images.

    An encoder has a line for the means, a band for intervals (or ranges), a point for every seed.

    Args:
        setting: whose results are drawn.
        encoders: have a result at one share or more.
        styles: encoder -> its colour.
    """
    figure, (axis,) = new_figure(WIDTH, 4.4)
    described = []
    for encoder in encoders:
        groups = [group for group in setting.scored if group.encoder == encoder]
        style = styles[encoder]
        shares, scores = [group.fraction for group in groups], [group.score for group in groups]
        opacity = 0.08 if style.dashed else 0.16
        _mean_and_band(axis, encoder, style, shares, scores, opacity)
        _seed_points(axis, groups, style)
        ends = [_told(groups[0]), _told(groups[-1])]
        described.append(f"{encoder} {' to '.join(ends)}")
    _share_axis(axis, setting)
    label = setting.metric.label
    axis.set_ylabel(f"{label} (%)")
    share_legend(figure, axis)
    return figure, f"{label} against the share of training images: {'; '.join(described)}."


def _told(group: RunGroup) -> str:
    return f"{formats.percent(group.score.mean)} % at {formats.fraction(group.fraction)}"


def _mean_and_band(
    axis: Axes,
    encoder: str,
    style: EncoderStyle,
    shares: list[float],
    values: list[Summary],
    opacity: float,
) -> None:
    """Draw an encoder's means over shares of the images, and a band between their bounds.

    Args:
        axis: gets the curve.
        encoder: name in the legend.
        style: of the encoder.
        shares: of the images, 0..1.
        values: scores (or differences of scores) at each share, in 0..1.
        opacity: of the band.
    """
    x = 100 * np.array(shares)
    # fractions of 1 are drawn as percent
    mean, low, high = 100 * np.array([(each.mean, each.low, each.high) for each in values]).T
    axis.plot(x, mean, label=encoder, gid=style.gid("mean"), **style.line)
    band: dict[str, Any] = {"color": style.color, "alpha": opacity, "linewidth": 0}
    axis.fill_between(x, low, high, gid=style.gid("band"), **band)


def _seed_points(axis: Axes, groups: list[RunGroup], style: EncoderStyle) -> None:
    shares: list[float] = []
    values: list[float] = []
    for group in groups:
        seeds = group.values().values()
        shares += [group.fraction * 100] * len(seeds)
        values += [100 * value for value in seeds]
    look: dict[str, Any] = {"color": style.color, "markersize": 3.5, "alpha": 0.6}
    axis.plot(shares, values, ".", gid=style.gid("seeds"), **look)


def pretraining_curves(setting: Setting, styles: Styles) -> tuple[Figure, str]:
    """Draw loaded minus random weights against the share of training images, network by network."""
    figure, (axis,) = new_figure(WIDTH, 3.6)
    found: dict[str, dict[float, Summary]] = defaultdict(dict)
    for share in setting.fractions:
        for pair in pretraining(setting, share):
            found[pair.first.encoder][share] = pair.difference.over
    axis.axhline(0, color=INK, linewidth=0.8)
    described = []
    for encoder, gains in found.items():
        _mean_and_band(axis, encoder, styles[encoder], list(gains), list(gains.values()), 0.14)
        share, over = list(gains.items())[-1]
        described.append(f"{encoder} {formats.points(over.mean)} at {formats.fraction(share)}")
    _share_axis(axis, setting)
    axis.set_ylabel(f"points of {setting.metric.label}")
    share_legend(figure, axis)
    told = "What pretraining adds to the same network, in points"
    return figure, f"{told}: {'; '.join(described)}."


def _share_axis(axis: Axes, setting: Setting) -> None:
    axis.set_xscale("log")
    axis.set_xticks([fraction * 100 for fraction in setting.fractions])
    axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g} %"))
    axis.xaxis.set_minor_locator(NullLocator())
    axis.set_xlabel("share of the training images (logarithmic)")


def learning_curves(setting: Setting, encoders: list[str], styles: Styles) -> tuple[Figure, str]:
    """Draw the validation score over training steps, a panel for every share of the images."""
    label = setting.metric.label
    figure = _panels(setting, encoders, styles, validation_points, f"validation {label} (%)")
    what = f"Validation {label} over training steps of {', '.join(encoders)}"
    return figure, f"{what}; the table beside it has the numbers."


def loss_curves(setting: Setting, encoders: list[str], styles: Styles) -> tuple[Figure, str]:
    """Draw the training loss over training steps, a panel for every share of the images."""
    figure = _panels(setting, encoders, styles, loss_points, "training loss")
    what = f"Training loss over training steps of {', '.join(encoders)}"
    return figure, f"{what}; the losses stand in each run's record."


def _panels(
    setting: Setting, encoders: list[str], styles: Styles, series: Reading, label: str
) -> Figure:
    """Draw a panel for every share of the images, with the curves of all encoders."""
    fractions = panel_shares(setting)
    columns = min(COLUMNS, len(fractions))
    rows = math.ceil(len(fractions) / columns)
    height = max(3.2, 2.7 * rows)
    figure, axes = new_figure(WIDTH, 0.5 + height, columns, rows, same_scale=True)
    used = axes[: len(fractions)]
    # single seeds would hide each other where encoders are many
    for (axis, fraction), encoder in product(zip(used, fractions, strict=True), encoders):
        seeds = seed_curves(setting.group(encoder, fraction), series)
        _draw_mean(axis, encoder, styles[encoder], seeds)
        if len(encoders) <= CROWDED and len(seeds) > 1:
            _draw_seeds(axis, styles[encoder], seeds)
    for axis, fraction in zip(used, fractions, strict=True):
        axis.set_xlabel("training steps")
        if len(fractions) > 1:
            axis.set_title(f"{formats.fraction(fraction)} of the images", loc="left")
    for axis in axes[::columns]:
        axis.set_ylabel(label)
    hide_unused(axes, len(fractions))
    share_legend(figure, used[-1])
    return figure


def _draw_mean(
    axis: Axes, encoder: str, style: EncoderStyle, seeds: list[dict[int, float]]
) -> None:
    """Draw the mean over seeds at the steps at which all of them have a point.

    An encoder without a curve gets its place in the legend.
    """
    line = style.line
    if not seeds:
        axis.plot([], [], label=encoder, **line)
        return
    steps, values = shared_points(seeds)
    # markers of many points would run into one another
    if len(steps) > MARKED:
        line["marker"] = ""
    line |= {"markersize": 4, "gid": style.gid("mean")}
    axis.plot(steps, values.mean(axis=0), label=encoder, **line)


def _draw_seeds(axis: Axes, style: EncoderStyle, seeds: list[dict[int, float]]) -> None:
    """Draw every seed, or the range of many seeds."""
    gid = style.gid("seeds")
    if len(seeds) <= THIN_LINES:
        thin: dict[str, Any] = {"colors": style.color, "linewidths": 0.7, "alpha": 0.4}
        lines = [np.array(list(points.items())) for points in seeds]
        axis.add_collection(LineCollection(lines, gid=gid, **thin))
        return
    steps, values = shared_points(seeds)
    band: dict[str, Any] = {"color": style.color, "alpha": 0.15, "linewidth": 0}
    axis.fill_between(steps, values.min(axis=0), values.max(axis=0), gid=gid, **band)
