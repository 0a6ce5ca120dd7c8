"""Figures over training: k% curves, learning curves, loss curves."""

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
from encoder_ablations.experiments.reporting.findings.collection import Setting
from encoder_ablations.experiments.reporting.findings.ranking import pretraining
from encoder_ablations.experiments.reporting.text import formats
from encoder_ablations.experiments.runs.record import RunRecord
from encoder_ablations.experiments.stats.seeds import Summary

Styles = Mapping[str, EncoderStyle]
Series = Callable[[RunRecord], list[tuple[int, float]]]
COLUMNS = 3
THIN_LINES = 5
"""Most seeds that are drawn one by one in a learning curve."""
MOST_PANELS = 6
"""Most shares of the images with a panel of learning curves."""
CROWDED = 12
"""Of more encoders than this a learning curve shows means alone: bands would hide each other."""


def fraction_curves(setting: Setting, encoders: list[str], styles: Styles) -> tuple[Figure, str]:
    """mIoU against the share of training images: means, bands (intervals or ranges), a point for every seed."""
    figure, (axis,) = new_figure(WIDTH, 4.4)
    described = []
    for encoder in encoders:
        groups = [group for group in setting.groups if group.encoder == encoder and group.values()]
        shares = [group.fraction * 100 for group in groups]
        summaries = [group.score for group in groups]
        means = [100 * (summary.mean or 0) for summary in summaries]
        style = styles[encoder]
        axis.plot(shares, means, label=encoder, gid=style.gid("mean"), **style.line)
        low = [100 * (summary.low or 0) for summary in summaries]
        high = [100 * (summary.high or 0) for summary in summaries]
        faint = 0.08 if style.dashed else 0.16
        axis.fill_between(
            shares, low, high, color=style.color, alpha=faint, linewidth=0, gid=style.gid("band")
        )
        seeds = [
            (group.fraction * 100, 100 * value)
            for group in groups
            for value in group.values().values()
        ]
        points: dict[str, Any] = {"markersize": 3.5, "alpha": 0.6, "gid": style.gid("seeds")}
        axis.plot(
            [share for share, _ in seeds],
            [value for _, value in seeds],
            ".",
            color=style.color,
            **points,
        )
        described += [
            f"{encoder} {means[0]:.1f} % at {shares[0]:g} % to {means[-1]:.1f} % at {shares[-1]:g} %"
        ]
    _share_axis(axis, setting)
    axis.set_ylabel("mIoU (%)")
    share_legend(figure, axis)
    return figure, f"mIoU against the share of training images: {'; '.join(described)}."


def pretraining_curves(setting: Setting, styles: Styles) -> tuple[Figure, str]:
    """Loaded minus random weights against the share of training images, a line per network, with intervals."""
    figure, (axis,) = new_figure(WIDTH, 3.6)
    found: dict[str, list[tuple[float, Summary]]] = {}
    for share in setting.fractions:
        for pair in pretraining(setting, share):
            found.setdefault(pair.first.encoder, []).append((100 * share, pair.difference.over))
    axis.axhline(0, color=INK, linewidth=0.8)
    for encoder, points in found.items():
        style, places = styles[encoder], [place for place, _ in points]
        means = [100 * (over.mean or 0) for _, over in points]
        axis.plot(places, means, label=encoder, gid=style.gid("mean"), **style.line)
        low, high = (
            [100 * (getattr(over, side) or 0) for _, over in points] for side in ("low", "high")
        )
        axis.fill_between(
            places, low, high, color=style.color, alpha=0.14, linewidth=0, gid=style.gid("band")
        )
    _share_axis(axis, setting)
    axis.set_ylabel("points of mIoU")
    share_legend(figure, axis)
    said = "; ".join(
        f"{encoder} {formats.points(points[-1][1].mean or 0)} at {points[-1][0]:g} %"
        for encoder, points in found.items()
    )
    return figure, f"What pretraining adds to the same network, in points: {said}."


def _share_axis(axis: Axes, setting: Setting) -> None:
    axis.set_xscale("log")
    axis.set_xticks([fraction * 100 for fraction in setting.fractions])
    axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g} %"))
    axis.xaxis.set_minor_locator(NullLocator())
    axis.set_xlabel("share of the training images (logarithmic)")


def learning_curves(setting: Setting, encoders: list[str], styles: Styles) -> tuple[Figure, str]:
    """Validation mIoU over optimiser steps, a panel per fraction."""
    figure = _panels(setting, encoders, styles, _validation, "validation mIoU (%)")
    return (
        figure,
        f"Validation mIoU over training steps of {', '.join(encoders)}; the table beside it has the numbers.",
    )


def loss_curves(setting: Setting, encoders: list[str], styles: Styles) -> tuple[Figure, str]:
    """Training loss over optimiser steps, a panel per fraction."""
    figure = _panels(setting, encoders, styles, _loss, "training loss")
    return (
        figure,
        f"Training loss over training steps of {', '.join(encoders)}; the losses stand in each run's record.",
    )


def _validation(run: RunRecord) -> list[tuple[int, float]]:
    if run.curves is None:
        return []
    pairs = zip(run.curves.val_steps, run.curves.val_miou, strict=True)
    return [(step, 100 * value) for step, value in pairs if value is not None]


def _loss(run: RunRecord) -> list[tuple[int, float]]:
    return (
        [] if run.curves is None else list(zip(run.curves.loss_steps, run.curves.loss, strict=True))
    )


def _panels(
    setting: Setting, encoders: list[str], styles: Styles, series: Series, label: str
) -> Figure:
    fractions = panel_shares(setting)
    columns = min(COLUMNS, len(fractions))
    rows = -(-len(fractions) // columns)
    figure, axes = new_figure(
        WIDTH, 0.5 + (3.2 if rows == 1 else 2.7 * rows), columns, rows, same_scale=True
    )
    for axis, fraction in zip(axes, fractions, strict=False):
        for encoder in encoders:
            group = setting.group(encoder, fraction)
            seeds = [series(run) for run in group.runs] if group else []
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
    """The shares of the images that have a panel: all, or some from the smallest to the largest."""
    count = len(setting.fractions)
    if count <= MOST_PANELS:
        return setting.fractions
    return [
        setting.fractions[int(place)] for place in np.linspace(0, count - 1, MOST_PANELS).round()
    ]


def _draw(
    axis: Axes,
    encoder: str,
    style: EncoderStyle,
    seeds: list[list[tuple[int, float]]],
    means_alone: bool,
) -> None:
    """The mean over seeds where all have a point; every seed as a thin line, or of many seeds the range."""
    seeds = [points for points in seeds if points]
    line = style.line
    if not seeds:
        axis.plot([], [], label=encoder, **line)
        return
    found = [dict(points) for points in seeds]
    shared = sorted(set.intersection(*map(set, found)))
    every = np.array([[values[step] for step in shared] for values in found])
    few = len(shared) <= 12
    line |= {"marker": line["marker"] if few else "", "markersize": 4, "gid": style.gid("mean")}
    axis.plot(shared, every.mean(axis=0), label=encoder, **line)
    if means_alone:
        return
    if 1 < len(seeds) <= THIN_LINES:
        thin: dict[str, Any] = {
            "colors": style.color,
            "linewidths": 0.7,
            "alpha": 0.4,
            "gid": style.gid("seeds"),
        }
        axis.add_collection(LineCollection([np.array(points) for points in seeds], **thin))
    elif len(seeds) > 1:
        band: dict[str, Any] = {
            "color": style.color,
            "alpha": 0.15,
            "linewidth": 0,
            "gid": style.gid("seeds"),
        }
        axis.fill_between(shared, every.min(axis=0), every.max(axis=0), **band)
