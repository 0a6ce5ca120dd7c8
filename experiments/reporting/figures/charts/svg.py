"""Panels as SVG elements of the page.

Letters, lines and colours of the ground come from page.css, so that they follow the dark mode,
narrow screens and print. Colours of series are written here.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

from markupsafe import Markup, escape

from encoder_ablations.experiments.reporting.figures.charts.axes import Axis
from encoder_ablations.experiments.reporting.figures.charts.panel import Panel, Point, Series

WIDE = (560, 320)
SMALL = (340, 240)
"""Width and height of the only panel of a chart, and of one of several."""
LEFT, RIGHT, TOP, BOTTOM = 46, 14, 26, 46
"""Margins for ticks and labels; as wide as the larger letters of narrow screens need."""
SECOND_LINE = 26
"""Further space below the panel where texts of ticks have two lines."""
APART = {WIDE: 62, SMALL: 44}
"""Smallest distance of two ticks of the x axis, so that their texts do not touch."""
MARKED = 12
"""Most points of a line that have markers."""


@dataclass(frozen=True)
class Frame:
    """The rectangle within the axes, and the values at its sides."""

    x: Axis
    y: Axis
    width: float
    height: float

    @property
    def bottom(self) -> float:
        """Return the place of the x axis."""
        two_lines = any("\n" in text for _, text in self.x.ticks)
        return self.height - BOTTOM - SECOND_LINE * two_lines

    def across(self, value: float) -> float:
        """Return the place of a value of x."""
        return LEFT + self.x.share(value) * (self.width - LEFT - RIGHT)

    def down(self, value: float) -> float:
        """Return the place of a value of y."""
        return self.bottom - self.y.share(value) * (self.bottom - TOP)

    def place(self, x: float, y: float) -> str:
        """Return both places as text."""
        return f"{_short(self.across(x))} {_short(self.down(y))}"


def chart(panels: Sequence[Panel], alt: str) -> Markup:
    """Return the panels as elements of the page, with a legend above them.

    Args:
        panels: beside or below one another, as the width allows.
        alt: what they show, for those who cannot see it.
    """
    size = WIDE if len(panels) == 1 else SMALL
    drawn = [_panel(panel, size, _name(panel, alt)) for panel in panels]
    kind = "one" if size is WIDE else "several"
    body = f'<div class="panels {kind}">{"".join(drawn)}</div>'
    return Markup(f"{_legend(panels)}{body}")


def _name(panel: Panel, alt: str) -> str:
    if not panel.title:
        return alt
    return f"{panel.title}. {alt}"


def _legend(panels: Sequence[Panel]) -> str:
    """Return the series of all panels, each once."""
    found = {each.name: each for each in chain.from_iterable(panel.series for panel in panels)}
    entries = [
        f"<li{_number(each)}>{_key(each)}{escape(name)}</li>" for name, each in found.items()
    ]
    return f'<ul class="keys">{"".join(entries)}</ul>'


def _number(series: Series) -> str:
    if series.number is None:
        return ""
    return f' data-series="{series.number}"'


def _key(series: Series) -> str:
    """Return the mark of a series in the legend."""
    look = _look(series)
    mark = '<path class="line" d="M0 7H14"/>'
    if series.outline:
        mark = f'<polygon class="mark" points="{series.outline}"/>'
    if series.level:
        mark = f'<path class="level" d="M-3 7H17"/>{mark}'
    return (
        '<svg class="swatch" viewBox="0 0 14 14" width="14" height="14" aria-hidden="true">'
        f"<g {look}>{mark}</g></svg>"
    )


def _look(series: Series) -> str:
    """Return the class and the colour of a series."""
    kind = "drawn dashed" if series.dashed else "drawn"
    return f'class="{kind}" style="--c:{series.color}"'


def _panel(panel: Panel, size: tuple[int, int], alt: str) -> str:
    """Return one panel; its scales are written down, from which the script reads values."""
    width, height = size
    frame = Frame(panel.x, panel.y, width, panel.height or height)
    parts = [
        *_grid(frame, panel, APART[size]),
        *(_rule(frame, *rule) for rule in panel.rules),
        *(f'<path class="front" d="{_line(frame, path)}"/>' for path in panel.paths),
        *(_series(frame, each) for each in panel.series),
    ]
    hidden = "" if panel.fraction is None else f' data-fraction="{panel.fraction}"'
    title = f"<figcaption>{escape(panel.title)}</figcaption>" if panel.title else ""
    drawing = (
        f'<svg class="panel" viewBox="0 0 {width} {frame.height:g}" role="img" '
        f'aria-label="{escape(alt)}" {_scale("x", frame.x, LEFT, width - RIGHT)} '
        f"{_scale('y', frame.y, frame.bottom, TOP)}>{''.join(parts)}</svg>"
    )
    return f"<figure{hidden}>{title}{drawing}</figure>"


def _scale(name: str, axis: Axis, low: float, high: float) -> str:
    """Return how values follow from places: kind, values at the ends, places of the ends, unit."""
    kind = "log" if axis.logarithmic else "linear"
    numbers = f"{axis.low:.9g} {axis.high:.9g} {low:g} {high:g}"
    return f'data-{name}="{kind} {numbers}" data-{name}-unit="{escape(axis.unit)}"'


def _grid(frame: Frame, panel: Panel, apart: int) -> Iterator[str]:
    """Return the lines, texts and labels of both axes."""
    left, right, bottom = LEFT, frame.width - RIGHT, frame.bottom
    for value, text in panel.y.ticks:
        y = _short(frame.down(value))
        yield f'<path class="grid" d="M{left} {y}H{_short(right)}"/>'
        if not panel.rows:
            yield f'<text class="end" x="{left - 6}" y="{y}" dy=".35em">{escape(text)}</text>'
    for value, _ in panel.x.ticks:
        x = _short(frame.across(value))
        yield f'<path class="grid" d="M{x} {TOP}V{_short(bottom)}"/>'
    # names of rows lie within the axes, so over the lines
    for text, value in panel.rows:
        yield f'<text x="2" y="{_short(frame.down(value))}">{escape(text)}</text>'
    for value, text in _apart(frame, panel.x.ticks, apart):
        yield from _tick(_short(frame.across(value)), _short(bottom), text)
    for value in panel.x.breaks:
        middle = frame.across(value)
        starts = (middle - 6, middle)
        strokes = [f"M{_short(start)} {_short(bottom + 6)}l6 -12" for start in starts]
        yield f'<path class="break" d="{"".join(strokes)}"/>'
    below = _short(frame.height - 6)
    yield f'<text class="end label" x="{_short(right)}" y="{below}">{escape(panel.x.label)}</text>'
    yield f'<text class="label" x="2" y="12">{escape(panel.y.label)}</text>'


def _tick(x: str, y: str, text: str) -> Iterator[str]:
    """Return the text of a tick below the x axis, line by line."""
    for line, dy in zip(text.split("\n"), ("1.3em", "2.5em"), strict=False):
        yield f'<text class="middle" x="{x}" y="{y}" dy="{dy}">{escape(line)}</text>'


def _apart(frame: Frame, ticks: Sequence[tuple[float, str]], apart: int) -> list[tuple[float, str]]:
    """Return the ticks whose texts do not touch, from the right on."""
    kept: list[tuple[float, str]] = []
    for value, text in reversed(ticks):
        if not kept or frame.across(kept[-1][0]) - frame.across(value) >= apart:
            kept.append((value, text))
    return kept


def _rule(frame: Frame, axis: str, value: float) -> str:
    """Return a line across the panel."""
    if axis == "x":
        place = _short(frame.across(value))
        return f'<path class="rule" d="M{place} {TOP}V{_short(frame.bottom)}"/>'
    place = _short(frame.down(value))
    return f'<path class="rule" d="M{LEFT} {place}H{_short(frame.width - RIGHT)}"/>'


def _series(frame: Frame, series: Series) -> str:
    """Return everything that is drawn of one series, from the ground up."""
    joined = [(point.x, point.y) for point in series.points]
    parts = [*_level(frame, series.level), *_intervals(frame, series)]
    parts += [f'<path class="thin" d="{_line(frame, line)}"/>' for line in series.thin]
    if series.line and len(joined) > 1:
        parts.append(f'<path class="line" d="{_line(frame, joined)}"/>')
    if series.seeds:
        dots = "".join(f"M{frame.place(*seed)}h0" for seed in series.seeds)
        parts.append(f'<path class="seeds" d="{dots}"/>')
    if series.outline and len(joined) <= MARKED:
        parts += [_mark(frame, series, point) for point in series.points]
    name = escape(series.name)
    return f'<g {_look(series)}{_number(series)} data-name="{name}">{"".join(parts)}</g>'


def _level(frame: Frame, level: Point | None) -> Iterator[str]:
    """Return a line across the panel, on the band of its interval."""
    if level is None:
        return
    right = _short(frame.width - RIGHT)
    if level.low is not None and level.high is not None:
        ends = [frame.y.within(each) for each in (level.low, level.high)]
        low, high = (_short(frame.down(each)) for each in ends)
        yield f'<path class="band" d="M{LEFT} {low}H{right}V{high}H{LEFT}Z"/>'
    yield f'<path class="level" d="M{LEFT} {_short(frame.down(level.y))}H{right}"/>'


def _intervals(frame: Frame, series: Series) -> Iterator[str]:
    """Return the intervals of a series as one band, or as a bar for each point.

    They end where the axis ends: that of a score near 0 may reach below it.
    """
    axis = frame.x if series.interval == "x" else frame.y
    known = [
        (point, axis.within(point.low), axis.within(point.high))
        for point in series.points
        if point.low is not None and point.high is not None
    ]
    if series.interval == "band":
        yield from _band(frame, known)
        return
    for point, low, high in known:
        ends = [(point.x, low), (point.x, high)]
        if series.interval == "x":
            ends = [(low, point.y), (high, point.y)]
        yield f'<path class="bar" d="{_line(frame, ends)}"/>'


def _band(frame: Frame, known: Sequence[tuple[Point, float, float]]) -> Iterator[str]:
    """Return one band through the intervals of points; one point has none."""
    if len(known) > 1:
        ends = [(point.x, low) for point, low, _ in known]
        back = [(point.x, high) for point, _, high in reversed(known)]
        yield f'<path class="band" d="{_line(frame, [*ends, *back])}Z"/>'


def _mark(frame: Frame, series: Series, point: Point) -> str:
    """Return a marker with what it stands for, which browsers show without a script, too."""
    x, y = _short(frame.across(point.x) - 7), _short(frame.down(point.y) - 7)
    told = escape(f"{series.name}: {point.told or format(point.y, '.4g')}")
    return (
        f'<polygon class="mark" points="{series.outline}" transform="translate({x} {y})">'
        f"<title>{told}</title></polygon>"
    )


def _line(frame: Frame, points: Sequence[tuple[float, float]]) -> str:
    """Return the path through points."""
    return f"M{'L'.join(frame.place(*point) for point in points)}"


def _short(number: float) -> str:
    """Return a place with two decimals, without zeros at its end."""
    return f"{number:.2f}".rstrip("0").rstrip(".")
