"""Panels of the page's charts: scores over shares of the images, and curves over training."""

from collections import defaultdict
from collections.abc import Sequence

from encoder_ablations.experiments.reporting.figures.charts.axes import Axis, linear_axis
from encoder_ablations.experiments.reporting.figures.charts.panel import Panel, Point, Series
from encoder_ablations.experiments.reporting.figures.drawing import EncoderStyle, Styles
from encoder_ablations.experiments.reporting.figures.encoder_series import (
    PERCENT,
    encoder_series,
    summary_point,
)
from encoder_ablations.experiments.reporting.figures.training_curves import (
    CROWDED,
    THIN_LINES,
    loss_points,
    panel_shares,
    seed_curves,
    shared_points,
    validation_points,
)
from encoder_ablations.experiments.reporting.findings.groups import RunGroup, Setting
from encoder_ablations.experiments.reporting.findings.ranking import pretraining
from encoder_ablations.experiments.reporting.text import formats


def share_panel(setting: Setting, encoders: Sequence[str], styles: Styles) -> Panel:
    """Return the main metric against the share of the training images, all encoders in one panel.

    Args:
        setting: whose results are drawn.
        encoders: have a result at one share or more.
        styles: encoder -> its colour.
    """
    series = [_share_series(setting, encoder, styles[encoder]) for encoder in encoders]
    ends = [end for each in series for point in each.points for end in (point.low, point.high)]
    seeds = [value for each in series for _, value in each.seeds]
    known = [*seeds, *(end for end in ends if end is not None)]
    score = linear_axis(known, f"{setting.metric.label} (%)", " %", PERCENT)
    return Panel(_share_axis(setting), score, series)


def _share_series(setting: Setting, encoder: str, style: EncoderStyle) -> Series:
    groups = [group for group in setting.scored if group.encoder == encoder]
    points = [
        summary_point(100 * group.fraction, group.score, formats.fraction(group.fraction))
        for group in groups
    ]
    seeds = [
        (100 * group.fraction, 100 * value) for group in groups for value in group.values().values()
    ]
    return encoder_series(encoder, style, points, seeds=seeds)


def _share_axis(setting: Setting) -> Axis:
    """Return the logarithmic axis of the shares, in percent."""
    shares = [100 * share for share in setting.fractions if share > 0]
    ticks = [(share, f"{share:g} %") for share in shares]
    low, high = min(shares) / 1.12, max(shares) * 1.12
    label = "share of the training images (logarithmic)"
    return Axis(low, high, label, ticks, logarithmic=True, unit=" %")


def gain_panel(setting: Setting, styles: Styles) -> Panel:
    """Return what pretraining adds, in points, against the share of the training images."""
    found: dict[str, list[Point]] = defaultdict(list)
    for share in setting.fractions:
        for pair in pretraining(setting, share):
            over = pair.difference.over
            point = summary_point(100 * share, over, formats.fraction(share))
            told = f"{formats.points(over.mean)} points with {formats.fraction(share)}"
            found[pair.first.encoder].append(point._replace(told=told))
    series = [encoder_series(name, styles[name], points) for name, points in found.items()]
    points = [point for each in found.values() for point in each]
    ends = [end for point in points for end in (point.low, point.high, point.y) if end is not None]
    label = f"points of {setting.metric.label}"
    axis = linear_axis([0.0, *ends], label, " points")
    return Panel(_share_axis(setting), axis, series, rules=[("y", 0.0)])


def learning_panels(setting: Setting, encoders: Sequence[str], styles: Styles) -> list[Panel]:
    """Return the validation score over training steps, a panel for every share of the images."""
    panels = _training_panels(setting, encoders, styles, "validation")
    label = f"validation {setting.metric.label} (%)"
    return _on_one_scale(panels, label, " %", PERCENT)


def loss_panels(setting: Setting, encoders: Sequence[str], styles: Styles) -> list[Panel]:
    """Return the training loss over training steps, a panel for every share of the images."""
    panels = _training_panels(setting, encoders, styles, "loss")
    return _on_one_scale(panels, "training loss", "")


READ = {"validation": validation_points, "loss": loss_points}
"""Kind of curve -> how it is read from a record."""


def _training_panels(
    setting: Setting, encoders: Sequence[str], styles: Styles, kind: str
) -> list[Panel]:
    """Return the panels of all shares, with axes that do not know the values yet."""
    panels = []
    for share in panel_shares(setting):
        series = [
            _training_series(setting.group(encoder, share), styles[encoder], kind, len(encoders))
            for encoder in encoders
        ]
        title = f"{formats.fraction(share)} of the images"
        panels.append(Panel(Axis(0, 1), Axis(0, 1), series, title, fraction=share))
    return panels


def _training_series(group: RunGroup, style: EncoderStyle, kind: str, encoders: int) -> Series:
    """Return the mean over seeds, and single seeds where these do not hide each other."""
    seeds = seed_curves(group, READ[kind])
    if not seeds:
        return encoder_series(group.encoder, style, [])
    steps, values = shared_points(seeds)
    means = values.mean(axis=0)
    points = [Point(step, mean) for step, mean in zip(steps, means.tolist(), strict=True)]
    if encoders > CROWDED or len(seeds) < 2:
        return encoder_series(group.encoder, style, points)
    if len(seeds) <= THIN_LINES:
        return encoder_series(group.encoder, style, points, thin=[*map(_pairs, seeds)])
    lows, highs = values.min(axis=0).tolist(), values.max(axis=0).tolist()
    bands = zip(points, lows, highs, strict=True)
    ranged = [point._replace(low=low, high=high) for point, low, high in bands]
    return encoder_series(group.encoder, style, ranged)


def _pairs(curve: dict[int, float]) -> list[tuple[float, float]]:
    return [(float(step), value) for step, value in curve.items()]


def _on_one_scale(
    panels: list[Panel], label: str, unit: str, bounds: tuple[float, float] | None = None
) -> list[Panel]:
    """Return the panels with one vertical scale, so that they can be compared."""
    series = [each for panel in panels for each in panel.series]
    points = [(point.x, point.y) for each in series for point in each.points]
    points += [point for each in series for line in each.thin for point in line]
    steps = [0.0, *(x for x, _ in points)]
    values = [y for _, y in points] or [0.0, 1.0]
    horizontal = linear_axis(steps, "training steps")
    vertical = linear_axis(values, label, unit, bounds)
    return [
        Panel(horizontal, vertical, each.series, each.title, fraction=each.fraction)
        for each in panels
    ]
