"""Figures over training: k% curves, learning curves, loss curves."""

from collections.abc import Callable, Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullLocator

from encoder_ablations.experiments.reporting import wording
from encoder_ablations.experiments.reporting.collect import Setting
from encoder_ablations.experiments.reporting.drawing import WIDTH, EncoderStyle, hide_unused, new_figure, share_legend
from encoder_ablations.experiments.run_record import RunRecord

Styles = Mapping[str, EncoderStyle]
Series = Callable[[RunRecord], list[tuple[int, float]]]
COLUMNS = 3


def fraction_curves(setting: Setting, encoders: list[str], styles: Styles) -> tuple[Figure, str]:
    """mIoU against the share of training images: means, bands (intervals or ranges), a point for every seed."""
    figure, (axis,) = new_figure(WIDTH, 4.4)
    described = []
    for encoder in encoders:
        groups = [group for group in setting.groups if group.encoder == encoder and group.values()]
        shares = [group.fraction * 100 for group in groups]
        summaries = [group.summary() for group in groups]
        means = [100 * (summary.mean or 0) for summary in summaries]
        style = styles[encoder]
        axis.plot(shares, means, label=encoder, **style.line)
        low = [100 * (summary.low or 0) for summary in summaries]
        high = [100 * (summary.high or 0) for summary in summaries]
        axis.fill_between(shares, low, high, color=style.color, alpha=0.08 if style.dashed else 0.16, linewidth=0)
        for group in groups:
            values = [100 * value for value in group.values().values()]
            axis.plot([group.fraction * 100] * len(values), values, ".", color=style.color, markersize=3.5, alpha=0.6)
        described += [f"{encoder} {means[0]:.1f} % at {shares[0]:g} % to {means[-1]:.1f} % at {shares[-1]:g} %"]
    axis.set_xscale("log")
    axis.set_xticks([fraction * 100 for fraction in setting.fractions])
    axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g} %"))
    axis.xaxis.set_minor_locator(NullLocator())
    axis.set_xlabel("share of the training images (logarithmic)")
    axis.set_ylabel("mIoU (%)")
    share_legend(figure, axis)
    return figure, f"mIoU against the share of training images: {'; '.join(described)}."


def learning_curves(setting: Setting, encoders: list[str], styles: Styles) -> tuple[Figure, str]:
    """Validation mIoU over optimiser steps, a panel per fraction."""
    figure = _panels(setting, encoders, styles, _validation, "validation mIoU (%)")
    return figure, f"Validation mIoU over training steps of {', '.join(encoders)}; the table beside it has the numbers."


def loss_curves(setting: Setting, encoders: list[str], styles: Styles) -> tuple[Figure, str]:
    """Training loss over optimiser steps, a panel per fraction."""
    figure = _panels(setting, encoders, styles, _loss, "training loss")
    return figure, f"Training loss over training steps of {', '.join(encoders)}; the losses stand in each run's record."


def _validation(run: RunRecord) -> list[tuple[int, float]]:
    if run.curves is None:
        return []
    pairs = zip(run.curves.val_steps, run.curves.val_miou, strict=True)
    return [(step, 100 * value) for step, value in pairs if value is not None]


def _loss(run: RunRecord) -> list[tuple[int, float]]:
    return [] if run.curves is None else list(zip(run.curves.loss_steps, run.curves.loss, strict=True))


def _panels(setting: Setting, encoders: list[str], styles: Styles, series: Series, label: str) -> Figure:
    fractions = setting.fractions
    columns = min(COLUMNS, len(fractions))
    rows = -(-len(fractions) // columns)
    figure, axes = new_figure(WIDTH, 0.5 + (3.2 if rows == 1 else 2.7 * rows), columns, rows, same_scale=True)
    for axis, fraction in zip(axes, fractions, strict=False):
        for encoder in encoders:
            group = setting.group(encoder, fraction)
            _draw(axis, encoder, styles[encoder], [series(run) for run in group.runs] if group else [])
        if len(fractions) > 1:
            axis.set_title(f"{wording.fraction(fraction)} of the images", loc="left")
        axis.set_xlabel("training steps")
    for axis in axes[::columns]:
        axis.set_ylabel(label)
    hide_unused(axes, len(fractions))
    share_legend(figure, axes[len(fractions) - 1])
    return figure


def _draw(axis: Axes, encoder: str, style: EncoderStyle, seeds: list[list[tuple[int, float]]]) -> None:
    """The mean over seeds where all have a point, and every seed as a thin line."""
    seeds = [points for points in seeds if points]
    line = style.line
    if not seeds:
        axis.plot([], [], label=encoder, **line)
        return
    shared = sorted(set.intersection(*({step for step, _ in points} for points in seeds)))
    means = [float(np.mean([dict(points)[step] for points in seeds])) for step in shared]
    few = len(shared) <= 12
    axis.plot(shared, means, label=encoder, **{**line, "marker": line["marker"] if few else "", "markersize": 4})
    if len(seeds) > 1:
        for points in seeds:
            steps, values = zip(*points, strict=True)
            axis.plot(steps, values, color=style.color, linewidth=0.7, alpha=0.4)
