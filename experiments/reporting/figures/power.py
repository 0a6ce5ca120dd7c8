"""The figure of how many seeds show which difference."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure

from encoder_ablations.experiments.reporting.figures.drawing import (
    COLORS,
    WIDTH,
    new_figure,
    png_bytes,
    share_legend,
    style_context,
)
from encoder_ablations.experiments.reporting.findings.power import CURVE_SEEDS, PowerPlan
from encoder_ablations.utils.files import write_bytes


def draw_power(plans: Sequence[PowerPlan], path: Path) -> None:
    """Write a PNG of the smallest difference that is shown with 80 % power over the seeds."""
    with style_context([plan.title for plan in plans]):
        png = png_bytes(power_figure(plans))
    write_bytes(path, png)


def power_figure(plans: Sequence[PowerPlan]) -> Figure:
    """Return the figure of :func:`draw_power`."""
    figure, (axis,) = new_figure(WIDTH, 4.2)
    for number, plan in enumerate(plans):
        color = COLORS[number % len(COLORS)]
        axis.plot(list(CURVE_SEEDS), plan.shown(), color=color, label=plan.title)
    axis.set_yscale("log")
    axis.yaxis.set_major_formatter("{x:g}")
    axis.yaxis.set_minor_formatter("{x:g}")
    axis.set_xlabel("seeds of every encoder")
    axis.set_ylabel("smallest difference shown in 8 of 10 studies (points)")
    share_legend(figure, axis)
    return figure
