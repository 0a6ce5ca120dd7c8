"""The function that draws all figures of a setting, and the figure of costs."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from encoder_ablations.experiments.reporting.figures.classes import class_bars
from encoder_ablations.experiments.reporting.figures.confusion import confusion_figure
from encoder_ablations.experiments.reporting.figures.curves import (
    Styles,
    fraction_curves,
    learning_curves,
    loss_curves,
    pretraining_curves,
)
from encoder_ablations.experiments.reporting.figures.drawing import (
    INK,
    WIDTH,
    EmbeddedFigure,
    new_figure,
    save_figure,
    share_legend,
    style_context,
)
from encoder_ablations.experiments.reporting.findings.groups import Setting
from encoder_ablations.experiments.reporting.findings.ranking import (
    Standing,
    pretraining,
    standings,
)

PANELS = 4
"""Most encoders with a confusion matrix: the best ones."""

Drawn = tuple[str, Figure, str]
"""Name, figure, and what it shows in words."""


def draw_setting(
    setting: Setting, styles: Styles, folder: Path, prefix: str
) -> dict[str, EmbeddedFigure]:
    """Draw and save every figure for which the setting's runs have data.

    Args:
        setting: whose results are drawn.
        styles: see :func:`encoder_ablations.experiments.reporting.figures.drawing.encoder_styles`.
        folder: gets PREFIX-NAME.png and .pdf.
        prefix: start of the files' names.

    Returns:
        Name -> figure; names are "fractions", "pretraining", "learning", "loss", "cost",
        "classes" and "confusion".
    """
    ranked = standings(setting, setting.reference)
    drawn = {}
    with style_context([*setting.classes, *styles]):
        for name, figure, alt in _figures(setting, ranked, styles):
            raster = name == "confusion"
            drawn[name] = save_figure(figure, folder, f"{prefix}-{name}", alt, raster)
    return drawn


def _figures(setting: Setting, ranked: list[Standing], styles: Styles) -> Iterator[Drawn]:
    yield from _figures_of_curves(setting, ranked, styles)
    yield from _figures_of_ranking(setting, ranked, styles)


def _figures_of_curves(setting: Setting, ranked: list[Standing], styles: Styles) -> Iterator[Drawn]:
    encoders = [standing.encoder for standing in ranked]
    scored = [group for group in setting.groups if group.values()]
    encoders += sorted({group.encoder for group in scored} - set(encoders))
    if len({group.fraction for group in scored}) > 1:
        yield "fractions", *fraction_curves(setting, encoders, styles)
        if any(pretraining(setting, fraction) for fraction in setting.fractions):
            yield "pretraining", *pretraining_curves(setting, styles)
    # one point is no curve
    curves = [run.curves for run in setting.runs if run.curves]
    if any(len(curve.val_steps) > 1 for curve in curves):
        yield "learning", *learning_curves(setting, encoders, styles)
    if any(len(curve.loss_steps) > 1 for curve in curves):
        yield "loss", *loss_curves(setting, encoders, styles)


def _figures_of_ranking(
    setting: Setting, ranked: list[Standing], styles: Styles
) -> Iterator[Drawn]:
    if sum(standing.cost is not None for standing in ranked) > 1:
        yield "cost", *cost_figure(ranked, styles)
    groups = [standing.group for standing in ranked]
    if groups:
        yield "classes", *class_bars(groups, setting, styles)
    counted = [group for group in groups if group.confusion_matrices]
    if counted:
        yield "confusion", *confusion_figure(counted[:PANELS], setting)


def cost_figure(ranked: list[Standing], styles: Styles) -> tuple[Figure, str]:
    """Draw mIoU against FLOPs and against latency.

    A dotted line joins the encoders that no other one beats on both, by mean scores.
    """
    flops = {each.encoder: each.flops / 1e9 for each in ranked if each.flops is not None}
    flops_front = [each.encoder for each in ranked if each.on_flops_front]
    latency = {each.encoder: each.latency for each in ranked if each.latency is not None}
    latency_front = [each.encoder for each in ranked if each.on_latency_front]
    panels = 2 if latency else 1
    width = {1: 6.4, 2: WIDTH}[panels]
    figure, axes = new_figure(width, 4.1, panels, same_scale=True)
    _cost_panel(axes[0], ranked, flops, flops_front, styles)
    axes[0].set_xlabel("GFLOPs for one image")
    axes[0].set_ylabel("mIoU (%)")
    if latency:
        _cost_panel(axes[1], ranked, latency, latency_front, styles)
        axes[1].set_xlabel("milliseconds for one image")
    share_legend(figure, axes[0])
    told = "None is cheaper and has a higher mean score than these"
    return figure, f"Accuracy against computation. {told}: {', '.join(flops_front)}."


def _cost_panel(
    axis: Axes,
    ranked: list[Standing],
    costs: Mapping[str, float],
    front: list[str],
    styles: Styles,
) -> None:
    shown = [standing for standing in ranked if standing.encoder in costs]
    # the front, from the cheapest on
    line = sorted((costs[each.encoder], each.mean) for each in shown if each.encoder in front)
    x, y = zip(*line, strict=True)
    axis.plot(x, _percent(y), color=INK, linewidth=1, linestyle=":", zorder=1)
    large: dict[str, Any] = {"markersize": 9, "linestyle": "", "markeredgewidth": 1.6}
    for standing in shown:
        cost = costs[standing.encoder]
        if standing.miou.n > 1:
            bounds = (standing.miou.low or 0, standing.miou.high or 0)
            axis.plot([cost, cost], _percent(bounds), color=INK, linewidth=0.8)
        marker = styles[standing.encoder].line | large
        axis.plot([cost], _percent([standing.mean]), label=standing.encoder, **marker)
    if max(costs.values()) > 3 * min(costs.values()):
        _logarithmic(axis)
    axis.margins(0.12)


def _percent(shares: Any) -> list[float]:
    return [100 * share for share in shares]


def _logarithmic(axis: Axes) -> None:
    axis.set_xscale("log")
    axis.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.xaxis.set_minor_locator(NullLocator())
