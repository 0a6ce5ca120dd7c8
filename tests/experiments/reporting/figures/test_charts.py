"""Charts of the page: places, ticks, and what is written of a point."""

import re
import xml.etree.ElementTree as ElementTree

import pytest

from encoder_ablations.experiments.reporting.figures.charts.axes import (
    Axis,
    linear_axis,
    logarithmic_axis,
)
from encoder_ablations.experiments.reporting.figures.charts.panel import Panel, Point, Series
from encoder_ablations.experiments.reporting.figures.charts.svg import chart
from encoder_ablations.experiments.reporting.figures.panels import share_panel
from encoder_ablations.experiments.reporting.figures.styles import encoder_styles
from encoder_ablations.experiments.reporting.findings.collection import collect


def test_axes_have_round_ticks_around_all_values():
    axis = linear_axis([41.2, 58.9], "score")
    assert (axis.low, axis.high) == (40, 60)
    assert [text for _, text in axis.ticks] == ["40", "45", "50", "55", "60"]
    assert linear_axis([3, 103], "score", bounds=(0, 100)).high == 100
    assert linear_axis([7.0], "score").ticks, "one value has an axis, too"
    assert Axis(10, 1000, logarithmic=True).share(100) == pytest.approx(0.5)
    assert [text for _, text in logarithmic_axis([1, 30], "cost").ticks] == [
        "1",
        "2",
        "5",
        "10",
        "20",
    ]


def drawn(panel):
    found = re.search(r"<svg class=\"panel\".*?</svg>", str(chart([panel], "alt")))
    return ElementTree.fromstring(found[0])


def test_values_can_be_read_back_from_places():
    """What the script does: the line of a series and the panel's scales give the values."""
    points = [Point(10, 20.0), Point(100, 60.0)]
    series = Series("a & b", "#000000", points=points)
    across, up = Axis(1, 100, logarithmic=True), Axis(0, 100)
    panel = drawn(Panel(across, up, [series]))
    low, high, first, last = map(float, panel.get("data-y").split(" ")[1:])
    (line,) = [path for path in panel.iter("path") if path.get("class") == "line"]
    places = [float(pair.split(" ")[1]) for pair in line.get("d")[1:].split("L")]
    values = [low + (place - first) / (last - first) * (high - low) for place in places]
    assert values == pytest.approx([20, 60], abs=0.01)
    left = float(line.get("d")[1:].split(" ")[0])
    assert left == pytest.approx((46 + 546) / 2), "10 lies in the middle of 1 to 100"


def test_names_of_rows_lie_over_the_grid():
    across = Axis(0, 100, ticks=[(0, "0"), (50, "50"), (100, "100")])
    panel = drawn(Panel(across, Axis(1, 0), [], rows=[("a long name", 0.2)]))
    kinds = [each.text or each.get("class") for each in panel]
    last_line = max(place for place, kind in enumerate(kinds) if kind == "grid")
    assert kinds.index("a long name") > last_line


def test_marks_name_encoder_score_and_share(factory):
    records = [
        factory.record(encoder, value + 0.01 * seed, share, seed)
        for encoder, value in (("a", 0.6), ("b", 0.5))
        for share in (0.1, 1.0)
        for seed in range(3)
    ]
    study = collect(factory.write(records))
    panel = share_panel(study.settings[0], ["a", "b"], encoder_styles(study.groups))
    titles = [title.text for title in drawn(panel).iter("title")]
    assert titles[0] == "a: 61.0 ± 2.5 % with 10 %"
    assert len(titles) == 4
    assert [len(series.seeds) for series in panel.series] == [6, 6]


def test_intervals_end_where_the_axis_ends():
    """The interval of three low scores reaches below 0 %, where no axis of percent goes."""
    axis, rows = linear_axis([-20.0, 40.0], "mIoU (%)", bounds=(0, 100)), linear_axis([0, 1], "")
    bars = []
    for low in (-20.0, 0.0):
        point = Point(10.0, 0.5, low, 40.0)
        panel = Panel(axis, rows, [Series("a", "#000000", points=[point], interval="x")])
        bars += re.findall(r'class="bar" d="([^"]+)"', chart([panel], ""))
    assert bars[0] == bars[1]
