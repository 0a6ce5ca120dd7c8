"""The function that draws all figures of a setting, and the figure of costs."""

from collections.abc import Iterator, Sequence
from itertools import compress
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from encoder_ablations.experiments.reporting.figures.charts.panel import Panel
from encoder_ablations.experiments.reporting.figures.classes import class_bars
from encoder_ablations.experiments.reporting.figures.confusion import confusion_figure
from encoder_ablations.experiments.reporting.figures.curves import (
    fraction_curves,
    learning_curves,
    loss_curves,
    pretraining_curves,
)
from encoder_ablations.experiments.reporting.figures.drawing import (
    INK,
    WIDTH,
    EmbeddedFigure,
    Styles,
    new_figure,
    save_figure,
    share_legend,
    style_context,
)
from encoder_ablations.experiments.reporting.figures.panels import (
    gain_panel,
    learning_panels,
    loss_panels,
    share_panel,
)
from encoder_ablations.experiments.reporting.figures.row_panels import class_panel, cost_panels
from encoder_ablations.experiments.reporting.findings.groups import Setting
from encoder_ablations.experiments.reporting.findings.ranking import (
    Standing,
    pretraining,
    ranking,
)

PANELS = 4
"""Most encoders with a confusion matrix: the best ones."""

Drawn = tuple[Figure, str]
"""A figure, and what it shows in words."""
Named = tuple[str, Drawn, Sequence[Panel]]
"""A figure's name, the figure, and the same as panels of the page; () where it has none."""


def draw_setting(
    setting: Setting, styles: Styles, folder: Path, prefix: str
) -> dict[str, EmbeddedFigure]:
    """Draw and save every figure for which the setting's runs have data.

    Args:
        setting: whose results are drawn.
        styles: see :func:`encoder_ablations.experiments.reporting.figures.styles.encoder_styles`.
        folder: gets PREFIX-NAME.png and .pdf.
        prefix: start of the files' names.

    Returns:
        Name -> figure; names are "fractions", "pretraining", "learning", "loss", "cost",
        "classes" and "confusion".
    """
    drawn = {}
    with style_context([*setting.classes, *styles]):
        for name, (figure, alt), panels in _figures(setting, styles):
            drawn[name] = save_figure(figure, folder, f"{prefix}-{name}", alt, True, panels)
    return drawn


def _figures(setting: Setting, styles: Styles) -> Iterator[Named]:
    """Return every figure that the setting's runs have data for."""
    ranked = ranking(setting, setting.reference)
    # those without a result at the reference fraction come last
    others = sorted(group.encoder for group in setting.scored)
    encoders = list(dict.fromkeys(ranked.encoders + others))
    yield from _figures_of_shares(setting, encoders, styles)
    yield from _figures_of_training(setting, encoders, styles)
    standings, label = ranked.standings, setting.metric.label
    groups = [standing.group for standing in standings]
    if len(groups) > 1:
        panels = cost_panels(standings, styles, label)
        yield "cost", cost_figure(standings, styles, label), panels
    if groups:
        panels = [class_panel(groups, setting, styles)]
        yield "classes", class_bars(groups, setting, styles), panels
        # the page shows these as tables
        yield "confusion", confusion_figure(groups[:PANELS], setting), ()


def _figures_of_training(setting: Setting, encoders: list[str], styles: Styles) -> Iterator[Named]:
    """Return the curves over training steps; one point is no curve."""
    if any(len(run.curves.val_steps) > 1 for run in setting.runs):
        panels = learning_panels(setting, encoders, styles)
        yield "learning", learning_curves(setting, encoders, styles), panels
    if any(len(run.curves.loss_steps) > 1 for run in setting.runs):
        panels = loss_panels(setting, encoders, styles)
        yield "loss", loss_curves(setting, encoders, styles), panels


def _figures_of_shares(setting: Setting, encoders: list[str], styles: Styles) -> Iterator[Named]:
    """Return the curves over shares of the images; one share is no curve."""
    shares = {group.fraction for group in setting.scored}
    if len(shares) < 2:
        return
    panels = [share_panel(setting, encoders, styles)]
    yield "fractions", fraction_curves(setting, encoders, styles), panels
    if any(pretraining(setting, share) for share in shares):
        panels = [gain_panel(setting, styles)]
        yield "pretraining", pretraining_curves(setting, styles), panels


def cost_figure(ranked: list[Standing], styles: Styles, metric: str = "mIoU") -> Drawn:
    """Draw the main metric against FLOPs and against latency.

    A dotted line joins the encoders that no other one beats on both, by mean scores.
    """
    figure, axes = new_figure(WIDTH, 4.1, 2, same_scale=True)
    flops = [each.flops / 1e9 for each in ranked]
    _cost_panel(axes[0], ranked, flops, [each.on_flops_front for each in ranked], styles)
    axes[0].set_xlabel("GFLOPs for one image")
    axes[0].set_ylabel(f"{metric} (%)")
    latency = [each.latency for each in ranked]
    _cost_panel(axes[1], ranked, latency, [each.on_latency_front for each in ranked], styles)
    axes[1].set_xlabel("milliseconds for one image")
    share_legend(figure, axes[0])
    front = ", ".join(each.encoder for each in ranked if each.on_flops_front)
    told = "None is cheaper and has a higher mean score than these"
    return figure, f"Accuracy against computation. {told}: {front}."


def _cost_panel(
    axis: Axes, ranked: list[Standing], costs: list[float], front: list[bool], styles: Styles
) -> None:
    """Draw the mean and the spread of every encoder at its cost, and the front.

    Args:
        axis: gets the points.
        ranked: the encoders.
        costs: of each of them.
        front: whether each of them is on the front.
        styles: encoder -> its marker.
    """
    means = [100 * each.score.mean for each in ranked]
    # the front, from the cheapest on
    line = sorted(compress(zip(costs, means, strict=True), front))
    x, y = zip(*line, strict=True)
    axis.plot(x, y, color=INK, linewidth=1, linestyle=":", zorder=1)
    large: dict[str, Any] = {"markersize": 9, "linestyle": "", "markeredgewidth": 1.6}
    for standing, cost, mean in zip(ranked, costs, means, strict=True):
        summary = standing.score
        if summary.spread:
            bounds = [100 * summary.low, 100 * summary.high]
            axis.plot([cost, cost], bounds, color=INK, linewidth=0.8)
        marker = styles[standing.encoder].line | large
        axis.plot([cost], [mean], label=standing.encoder, **marker)
    if max(costs) > 3 * min(costs):
        _logarithmic(axis)
    axis.margins(0.12)


def _logarithmic(axis: Axes) -> None:
    axis.set_xscale("log")
    axis.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.xaxis.set_minor_locator(NullLocator())
