"""Curves: scores over shares of the images, validation scores and losses over training."""

from collections.abc import Callable, Mapping
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
    hide_unused,
    new_figure,
    share_legend,
)
from encoder_ablations.experiments.reporting.findings.groups import RunGroup, Setting
from encoder_ablations.experiments.reporting.findings.ranking import pretraining
from encoder_ablations.experiments.reporting.text import formats
from encoder_ablations.experiments.runs.record import CurvesRecord
from encoder_ablations.experiments.stats.seeds import Summary

Styles = Mapping[str, EncoderStyle]
Points = list[tuple[int, float]]
"""Step and value."""
Series = Callable[[CurvesRecord], Points]
COLUMNS = 3
THIN_LINES = 5
"""Most seeds that are drawn one by one in a learning curve."""
MOST_PANELS = 6
"""Most shares of the images with a panel of learning curves."""
CROWDED = 12
"""Most encoders whose learning curves show seeds; of more, only means are drawn."""
MARKED = 12
"""Most points of a learning curve that have markers."""


def fraction_curves(setting: Setting, encoders: list[str], styles: Styles) -> tuple[Figure, str]:
    """Draw mIoU against the share of training images.

    An encoder has a line for the means, a band for intervals (or ranges), a point for every seed.
    """
    figure, (axis,) = new_figure(WIDTH, 4.4)
    described = []
    for encoder in encoders:
        groups = [group for group in setting.groups if group.encoder == encoder and group.values()]
        style = styles[encoder]
        points = [(group.fraction, group.score) for group in groups]
        _mean_and_band(axis, encoder, style, points, alpha=0.08 if style.dashed else 0.16)
        _seed_points(axis, groups, style)
        (first, low), (last, high) = [
            (f"{share * 100:g} %", f"{100 * (score.mean or 0):.1f} %")
            for share, score in (points[0], points[-1])
        ]
        described.append(f"{encoder} {low} at {first} to {high} at {last}")
    _share_axis(axis, setting)
    axis.set_ylabel("mIoU (%)")
    share_legend(figure, axis)
    return figure, f"mIoU against the share of training images: {'; '.join(described)}."


def _mean_and_band(
    axis: Axes,
    encoder: str,
    style: EncoderStyle,
    points: list[tuple[float, Summary]],
    alpha: float,
) -> None:
    """Draw an encoder's means over shares of the images, and a band between their bounds.

    Args:
        axis: gets the curve.
        encoder: name in the legend.
        style: of the encoder.
        points: share of the images in 0..1, and the scores (or differences) there.
        alpha: opacity of the band.
    """
    shares = [100 * share for share, _ in points]
    means = [100 * (summary.mean or 0) for _, summary in points]
    axis.plot(shares, means, label=encoder, gid=style.gid("mean"), **style.line)
    low = [100 * (summary.low or 0) for _, summary in points]
    high = [100 * (summary.high or 0) for _, summary in points]
    band: dict[str, Any] = {"color": style.color, "alpha": alpha, "linewidth": 0}
    axis.fill_between(shares, low, high, gid=style.gid("band"), **band)


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
    found: dict[str, list[tuple[float, Summary]]] = {}
    for share in setting.fractions:
        for pair in pretraining(setting, share):
            found.setdefault(pair.first.encoder, []).append((share, pair.difference.over))
    axis.axhline(0, color=INK, linewidth=0.8)
    described = []
    for encoder, points in found.items():
        _mean_and_band(axis, encoder, styles[encoder], points, alpha=0.14)
        share, over = points[-1]
        described.append(f"{encoder} {formats.points(over.mean or 0)} at {share * 100:g} %")
    _share_axis(axis, setting)
    axis.set_ylabel("points of mIoU")
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
    """Draw validation mIoU over training steps, a panel for every share of the images."""
    figure = _panels(setting, encoders, styles, _validation, "validation mIoU (%)")
    what = f"Validation mIoU over training steps of {', '.join(encoders)}"
    return figure, f"{what}; the table beside it has the numbers."


def loss_curves(setting: Setting, encoders: list[str], styles: Styles) -> tuple[Figure, str]:
    """Draw the training loss over training steps, a panel for every share of the images."""
    figure = _panels(setting, encoders, styles, _loss, "training loss")
    what = f"Training loss over training steps of {', '.join(encoders)}"
    return figure, f"{what}; the losses stand in each run's record."


def _validation(curves: CurvesRecord) -> Points:
    pairs = zip(curves.val_steps, curves.val_miou, strict=True)
    return [(step, 100 * value) for step, value in pairs if value is not None]


def _loss(curves: CurvesRecord) -> Points:
    return list(zip(curves.loss_steps, curves.loss, strict=True))


def _panels(
    setting: Setting, encoders: list[str], styles: Styles, series: Series, label: str
) -> Figure:
    fractions = panel_shares(setting)
    columns = min(COLUMNS, len(fractions))
    rows = -(-len(fractions) // columns)
    height = 3.2 if rows == 1 else 2.7 * rows
    figure, axes = new_figure(WIDTH, 0.5 + height, columns, rows, same_scale=True)
    for axis, fraction in zip(axes, fractions, strict=False):
        for encoder in encoders:
            seeds = _seeds(setting.group(encoder, fraction), series)
            _draw(axis, encoder, styles[encoder], seeds, means_alone=len(encoders) > CROWDED)
        if len(fractions) > 1:
            axis.set_title(f"{formats.fraction(fraction)} of the images", loc="left")
        axis.set_xlabel("training steps")
    for axis in axes[::columns]:
        axis.set_ylabel(label)
    hide_unused(axes, len(fractions))
    share_legend(figure, axes[len(fractions) - 1])
    return figure


def panel_shares(setting: Setting) -> list[float]:
    """Return the shares of the images that have a panel: evenly chosen, both ends among them."""
    shares = setting.fractions
    chosen = np.linspace(0, len(shares) - 1, min(len(shares), MOST_PANELS)).round()
    return [shares[int(place)] for place in chosen]


def _seeds(group: RunGroup | None, series: Series) -> list[Points]:
    """Return the curve of every seed that has one."""
    if group is None:
        return []
    curves = [series(run.curves) for run in group.runs if run.curves]
    return [points for points in curves if points]


def _draw(
    axis: Axes, encoder: str, style: EncoderStyle, seeds: list[Points], means_alone: bool
) -> None:
    """Draw the mean over seeds; behind it every seed, or the range of many seeds.

    The mean goes over the steps at which all seeds have a point.
    """
    line = style.line
    if not seeds:
        axis.plot([], [], label=encoder, **line)  # its place in the legend
        return
    found = [dict(points) for points in seeds]
    shared = sorted(set.intersection(*map(set, found)))
    every = np.array([[values[step] for step in shared] for values in found])
    if len(shared) > MARKED:
        line["marker"] = ""
    line |= {"markersize": 4, "gid": style.gid("mean")}
    axis.plot(shared, every.mean(axis=0), label=encoder, **line)
    if means_alone or len(seeds) == 1:
        return
    gid = style.gid("seeds")
    if len(seeds) <= THIN_LINES:
        thin: dict[str, Any] = {"colors": style.color, "linewidths": 0.7, "alpha": 0.4}
        lines = [np.array(points) for points in seeds]
        axis.add_collection(LineCollection(lines, gid=gid, **thin))
        return
    band: dict[str, Any] = {"color": style.color, "alpha": 0.15, "linewidth": 0}
    axis.fill_between(shared, every.min(axis=0), every.max(axis=0), gid=gid, **band)
