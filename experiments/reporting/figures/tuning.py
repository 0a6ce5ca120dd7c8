"""The figure of tuning: the best score to expect of k trials."""

from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.ticker import MaxNLocator

from encoder_ablations.experiments.reporting.figures.drawing import (
    WIDTH,
    EmbeddedFigure,
    Styles,
    new_figure,
    save_figure,
    share_legend,
    style_context,
)
from encoder_ablations.experiments.reporting.findings.tuning.trials import TunedPlace


def draw_tuning(
    place: TunedPlace, metric: str, styles: Styles, folder: Path, number: int
) -> EmbeddedFigure:
    """Draw the expected best validation score against the trials as tuning-NUMBER.png and .pdf.

    Args:
        place: encoders that were tuned.
        metric: what they are judged by.
        styles: encoder -> its colour.
        folder: gets the files.
        number: of the figure, from 1.
    """
    with style_context([place.title, *styles]):
        figure, (axis,) = new_figure(WIDTH, 4.2)
        for tuned in place.encoders:
            expected, style = tuned.expected, styles[tuned.encoder]
            trials = np.arange(1, len(expected.mean) + 1)
            band: dict[str, Any] = {"color": style.color, "alpha": 0.15, "linewidth": 0}
            low, high = 100 * expected.low, 100 * expected.high
            axis.fill_between(trials, low, high, gid=style.gid("band"), **band)
            line = {"label": tuned.encoder, "gid": style.gid("mean"), **style.line}
            axis.plot(trials, 100 * expected.mean, **line)
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
        axis.set_xlabel("trials")
        axis.set_ylabel(f"expected best validation {metric} (%)")
        share_legend(figure, axis)
        alt = f"Expected best validation {metric} against the number of trials, {place.title}."
        return save_figure(figure, folder, f"tuning-{number}", alt)
