"""What a panel of a chart holds: axes, and series of points with intervals and seeds."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from encoder_ablations.experiments.reporting.figures.charts.axes import Axis


class Point(NamedTuple):
    """A point of a series.

    Attributes:
        x, y: its values.
        low, high: ends of its interval or range; None where there is none.
        told: what is shown when the pointer rests on it; "" = the value of y.
    """

    x: float
    y: float
    low: float | None = None
    high: float | None = None
    told: str = ""


@dataclass(frozen=True)
class Series:
    """What is drawn of one encoder (or of one arm).

    Attributes:
        name: in the legend, and where the pointer rests.
        color: ``#rrggbb``.
        outline: points of the marker's polygon in a 14×14 box; "" without markers.
        dashed: whether the line is dashed and the markers are hollow.
        number: by which the page shows and hides it; None = it is always shown.
        points: from left to right.
        seeds: single values beside the means, drawn as small dots.
        thin: further lines, such as those of single seeds.
        line: whether a line joins the points.
        interval: how intervals are drawn: "band", or as bars along "x" or "y".
        level: a value of y that holds everywhere, drawn as a dotted line across the panel with its
            interval as a band; its x says nothing.
    """

    name: str
    color: str
    outline: str = ""
    dashed: bool = False
    number: int | None = None
    points: Sequence[Point] = ()
    seeds: Sequence[tuple[float, float]] = ()
    thin: Sequence[Sequence[tuple[float, float]]] = ()
    line: bool = True
    interval: str = "band"
    level: Point | None = None


@dataclass(frozen=True)
class Panel:
    """One pair of axes.

    Attributes:
        x, y: the axes.
        series: in the order in which they are drawn.
        title: above the panel; "" without.
        rules: lines across the panel: ("x" or "y", the value).
        paths: dotted lines that join points, such as a front.
        rows: names of rows with their places on the y axis, in place of its ticks.
        height: of the drawing; None = as is usual.
        fraction: share of the images that it is about, by which the page hides it; None = all.
    """

    x: Axis
    y: Axis
    series: Sequence[Series]
    title: str = ""
    rules: Sequence[tuple[str, float]] = ()
    paths: Sequence[Sequence[tuple[float, float]]] = ()
    rows: Sequence[tuple[str, float]] = ()
    height: int | None = None
    fraction: float | None = None
