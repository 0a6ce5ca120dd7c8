"""The figure of learning-rate range tests."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from encoder_ablations.engine.training.lr_range import RangeTest
from encoder_ablations.experiments.reporting.figures.drawing import (
    COLORS,
    INK,
    MARKERS,
    WIDTH,
    new_figure,
    png_bytes,
    share_legend,
    style_context,
)
from encoder_ablations.utils.files import write_bytes

HIGHEST = 1.3
"""The axis ends at so many times the loss at the start: what diverges would flatten the rest."""
SHORT_RANGE = 100
"""Below this ratio of the largest to the smallest rate more numbers are written."""


def draw_range_tests(tests: Mapping[str, RangeTest], current: float, path: Path) -> None:
    """Write a PNG of the loss over the learning rate, a line for every encoder.

    Args:
        tests: encoder -> its test.
        current: the recipe's learning rate.
        path: the file.
    """
    with style_context(tests):
        png = png_bytes(range_figure(tests, current))
    write_bytes(path, png)


def range_figure(tests: Mapping[str, RangeTest], current: float) -> Figure:
    """Return the figure of :func:`draw_range_tests`."""
    figure, (axis,) = new_figure(WIDTH, 4.6)
    for number, (encoder, test) in enumerate(tests.items()):
        color = COLORS[number % len(COLORS)]
        axis.plot(test.rates, test.losses, color=color, linewidth=0.7, alpha=0.25)
        axis.plot(test.rates, test.smoothed, color=color, label=encoder)
        if test.suggestion is not None:
            height = np.interp(test.suggestion, test.rates, test.smoothed)
            marker = MARKERS[number % len(MARKERS)]
            axis.plot(test.suggestion, height, marker, color=color, markersize=8)
    axis.axvline(current, color=INK, linewidth=0.9, linestyle=":", label="in the recipe")
    lowest = min(min(test.smoothed) for test in tests.values())
    highest = HIGHEST * max(test.smoothed[0] for test in tests.values())
    axis.set_ylim(lowest - 0.1 * (highest - lowest), highest)
    axis.set_xscale("log")
    _name_rates(axis, tests)
    axis.set_xlabel("learning rate (logarithmic); markers are the suggestions")
    axis.set_ylabel("training loss (thick: smoothed)")
    share_legend(figure, axis)
    return figure


def _name_rates(axis: Axes, tests: Mapping[str, RangeTest]) -> None:
    """Write plain numbers under the axis: powers of ten, and 2 and 5 times these in short ranges.

    matplotlib would write powers of ten as formulas, and some of the numbers between them, too.
    """
    rates = [rate for test in tests.values() for rate in test.rates]
    steps: tuple[float, ...] = (1.0,)
    if max(rates) < SHORT_RANGE * min(rates):
        steps = (1.0, 2.0, 5.0)
    axis.xaxis.set_major_locator(LogLocator(subs=steps))
    axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.xaxis.set_minor_formatter(NullFormatter())
