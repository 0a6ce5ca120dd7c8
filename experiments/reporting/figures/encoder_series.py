"""Series of the page's charts in the style of an encoder."""

from collections.abc import Sequence

from encoder_ablations.experiments.reporting.figures.charts.panel import Point, Series
from encoder_ablations.experiments.reporting.figures.drawing import EncoderStyle
from encoder_ablations.experiments.stats.seeds import Summary

PERCENT = (0.0, 100.0)
"""Bounds of an axis of scores."""


def encoder_series(
    encoder: str,
    style: EncoderStyle,
    points: Sequence[Point],
    seeds: Sequence[tuple[float, float]] = (),
    thin: Sequence[Sequence[tuple[float, float]]] = (),
    line: bool = True,
    interval: str = "band",
) -> Series:
    """Return a series in an encoder's style; see :class:`.Series`."""
    return Series(
        name=encoder,
        color=style.color,
        outline=style.outline,
        dashed=style.dashed,
        number=style.number,
        points=points,
        seeds=seeds,
        thin=thin,
        line=line,
        interval=interval,
    )


def summary_point(x: float, over: Summary, where: str) -> Point:
    """Return the mean over seeds with its interval or range, in percent.

    Args:
        x: where it stands.
        over: shares in 0..1.
        where: what x is, in words.
    """
    told = f"{over.text()} % with {where}"
    if not over.spread:
        return Point(x, 100 * over.mean, told=told)
    return Point(x, 100 * over.mean, 100 * over.low, 100 * over.high, told)
