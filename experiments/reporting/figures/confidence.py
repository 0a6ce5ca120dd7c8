"""Figures of confidence: reliability, and risk against coverage."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from encoder_ablations.experiments.confidence.record import (
    CalibrationRecord,
    ConfidenceRecord,
    SelectiveRecord,
)
from encoder_ablations.experiments.reporting.figures.charts.axes import linear_axis
from encoder_ablations.experiments.reporting.figures.charts.panel import Panel, Point
from encoder_ablations.experiments.reporting.figures.drawing import (
    COLORS,
    INK,
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
)

LEAST_SHARE = 1e-4
"""Bins with a smaller share of the pixels are not drawn."""


def save_confidence_figure(record: ConfidenceRecord, path: Path) -> Path:
    """Draw a record beside its file, and return the PNG."""
    with style_context():
        figure = record_figure(record)
        save_figure(figure, path.parent, path.stem, "Reliability, and risk against coverage.")
    return path.with_suffix(".png")


def record_figure(record: ConfidenceRecord) -> Figure:
    """Return the figure of one record, with and without its temperature."""
    figure, (left, right) = new_figure(WIDTH, 4.6, 2)
    _diagonal(left)
    for name, found, color in (
        ("as it is", record.before, COLORS[0]),
        (f"temperature {record.temperature:.2f}", record.after, COLORS[1]),
    ):
        label = f"{name}: ECE {100 * found.ece:.1f} %"
        confidence, accuracy = reliability([found])
        left.plot(confidence, accuracy, color=color, marker="o", markersize=4, label=label)
    _draw_risk(right, "by entropy", record.entropy, COLORS[0])
    if record.disagreement is not None:
        _draw_risk(right, "by disagreement", record.disagreement, COLORS[2])
    _draw_ideal(right, record.entropy)
    for axis in (left, right):
        _legend_above(axis)
    return figure


def draw_confidence(
    records: Mapping[str, Sequence[ConfidenceRecord]], styles: Styles, folder: Path, prefix: str
) -> EmbeddedFigure:
    """Draw and save reliability and risk of every encoder as PREFIX-confidence.png and .pdf.

    Args:
        records: encoder -> the records of its seeds.
        styles: encoder -> its colour.
        folder: where the files are written.
        prefix: start of their names.
    """
    with style_context(styles):
        figure, alt = _confidence_figure(records, styles)
        panels = _panels(records, styles)
        return save_figure(figure, folder, f"{prefix}-confidence", alt, panels=panels)


def _panels(records: Mapping[str, Sequence[ConfidenceRecord]], styles: Styles) -> list[Panel]:
    """Return the same as panels of the page."""
    right, kept = [], []
    for encoder, found in records.items():
        measured = reliability([each.before for each in found])
        points = [Point(x, y) for x, y in zip(*(each.tolist() for each in measured), strict=True)]
        right.append(encoder_series(encoder, styles[encoder], points))
        risk = 100 * np.mean([each.entropy.risk for each in found], axis=0)
        coverage = 100 * np.array(found[0].entropy.coverage)
        curve = [Point(*pair) for pair in zip(coverage.tolist(), risk.tolist(), strict=True)]
        kept.append(encoder_series(encoder, styles[encoder], curve))
    risks = [point.y for each in kept for point in each.points]
    stated = linear_axis([0, 100], "probability of the predicted class (%)", " %", PERCENT)
    share = linear_axis([0, 100], "pixels kept, the most certain first (%)", " %", PERCENT)
    found_right = linear_axis([0, 100], "right pixels (%)", " %", PERCENT)
    wrong = linear_axis([0, *risks], "wrong among them (%)", " %", PERCENT)
    diagonal = [[(0.0, 0.0), (100.0, 100.0)]]
    return [Panel(stated, found_right, right, paths=diagonal), Panel(share, wrong, kept)]


def _confidence_figure(
    records: Mapping[str, Sequence[ConfidenceRecord]], styles: Styles
) -> tuple[Figure, str]:
    """Draw reliability and risk of every encoder, over all its seeds together."""
    figure, (left, right) = new_figure(WIDTH, 4.6, 2)
    _diagonal(left)
    for encoder, found in records.items():
        line = styles[encoder].line | {"markersize": 4}
        left.plot(*reliability([each.before for each in found]), label=encoder, **line)
        risk = 100 * np.mean([each.entropy.risk for each in found], axis=0)
        coverage = 100 * np.array(found[0].entropy.coverage)
        right.plot(coverage, risk, **line | {"marker": ""})
    _name_risk_axes(right)
    share_legend(figure, left)
    errors = [
        f"{encoder} {100 * np.mean([each.before.ece for each in found]):.1f} %"
        for encoder, found in records.items()
    ]
    return (
        figure,
        f"Reliability, and risk against coverage. Calibration error: {', '.join(errors)}.",
    )


def reliability(records: Sequence[CalibrationRecord]) -> tuple[np.ndarray, np.ndarray]:
    """Return mean probability and accuracy of the filled bins in percent, over all records."""
    pixels = np.array([record.bin_pixels for record in records], float)
    confidence = np.array([record.bin_confidence for record in records], float)
    accuracy = np.array([record.bin_accuracy for record in records], float)
    total = pixels.sum(axis=0)
    filled = total > LEAST_SHARE * total.sum()
    sums = [np.nansum(pixels * values, axis=0)[filled] for values in (confidence, accuracy)]
    mean, share = (100 * values / total[filled] for values in sums)
    return mean, share


def _legend_above(axis: Axes) -> None:
    """Put the legend over the axes, where it hides no curve."""
    axis.legend(fontsize=8, loc="lower left", bbox_to_anchor=(0, 1), borderaxespad=0.2)


def _diagonal(axis: Axes) -> None:
    """Draw where probabilities are right, and name the axes."""
    axis.plot([0, 100], [0, 100], color=INK, linewidth=0.8, linestyle=":")
    axis.set_xlabel("probability of the predicted class (%)")
    axis.set_ylabel("right pixels (%)")
    axis.set_xlim(0, 100)
    axis.set_ylim(0, 100)


def _draw_risk(axis: Axes, name: str, found: SelectiveRecord, color: str) -> None:
    label = f"{name}: AURC {100 * found.aurc:.2f} %"
    coverage, risk = 100 * np.array(found.coverage), 100 * np.array(found.risk)
    axis.plot(coverage, risk, color=color, label=label)


def _draw_ideal(axis: Axes, found: SelectiveRecord) -> None:
    """Draw the risk if the wrong pixels were the least certain ones."""
    coverage = np.array(found.coverage)
    wrong = np.maximum(0, coverage - (1 - found.error)) / coverage
    label = f"ideal: {100 * found.ideal_aurc:.2f} %"
    axis.plot(100 * coverage, 100 * wrong, color=INK, linewidth=1, linestyle=":", label=label)
    _name_risk_axes(axis)


def _name_risk_axes(axis: Axes) -> None:
    axis.set_xlabel("pixels kept, the most certain first (%)")
    axis.set_ylabel("wrong among them (%)")
    axis.set_xlim(0, 100)
    axis.set_ylim(bottom=0)
