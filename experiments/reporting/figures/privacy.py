"""The figure of private trainings: score against ε."""

from pathlib import Path

import numpy as np
from matplotlib.ticker import FuncFormatter, NullLocator

from encoder_ablations.experiments.reporting.figures.charts.axes import (
    linear_axis,
    logarithmic_axis,
)
from encoder_ablations.experiments.reporting.figures.charts.panel import Panel
from encoder_ablations.experiments.reporting.figures.drawing import (
    WIDTH,
    EmbeddedFigure,
    Styles,
    new_figure,
    save_figure,
    share_legend,
    style_context,
)
from encoder_ablations.experiments.reporting.figures.encoder_series import (
    PERCENT,
    encoder_series,
    summary_point,
)
from encoder_ablations.experiments.reporting.findings.privacy import PrivacyCurves


def draw_privacy(
    curves: PrivacyCurves, styles: Styles, folder: Path, number: int
) -> EmbeddedFigure:
    """Draw the main metric against ε as privacy-NUMBER.png and .pdf.

    An encoder has a line for the means, and a bar for the interval (or range) over seeds.

    Args:
        curves: of one dataset and head.
        styles: encoder -> its colour.
        folder: gets the files.
        number: of the figure, from 1.
    """
    label = curves.any_group.metric.label
    with style_context([curves.title, *styles]):
        figure, (axis,) = new_figure(WIDTH, 4.2)
        ticks: set[float] = set()
        for encoder in curves.best_first:
            groups, style = curves.groups[encoder], styles[encoder]
            scores = [group.score for group in groups.values()]
            mean, low, high = (
                100 * np.array([(each.mean, each.low, each.high) for each in scores]).T
            )
            axis.plot(list(groups), mean, label=encoder, gid=style.gid("mean"), **style.line)
            # one seed has neither interval nor range
            axis.vlines(list(groups), low, high, color=style.color, gid=style.gid("bars"))
            ticks.update(groups)
        axis.set_xscale("log")
        axis.set_xticks(sorted({float(f"{tick:.2g}") for tick in ticks}))
        axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axis.xaxis.set_minor_locator(NullLocator())
        axis.set_xlabel("ε that was spent (logarithmic); less is more private")
        axis.set_ylabel(f"{label} (%)")
        share_legend(figure, axis)
        alt = f"{label} of private trainings against epsilon, {curves.title}."
        return save_figure(
            figure, folder, f"privacy-{number}", alt, panels=[_panel(curves, styles)]
        )


def _panel(curves: PrivacyCurves, styles: Styles) -> Panel:
    """Return the same as a panel of the page."""
    series = []
    for encoder in curves.best_first:
        groups = curves.groups[encoder].items()
        points = [
            summary_point(epsilon, group.score, f"ε {epsilon:.3g}") for epsilon, group in groups
        ]
        series.append(encoder_series(encoder, styles[encoder], points, interval="y"))
    points = [point for each in series for point in each.points]
    ends = [end for point in points for end in point[1:4] if isinstance(end, float)]
    spent = "ε that was spent (logarithmic); less is more private"
    across = logarithmic_axis([point.x for point in points], spent)
    score = f"{curves.any_group.metric.label} (%)"
    return Panel(across, linear_axis(ends, score, " %", PERCENT), series)
