"""The figure of confusion matrices."""

import math

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from encoder_ablations.experiments.reporting.figures.drawing import (
    FAINT,
    hide_unused,
    new_figure,
    shorten,
)
from encoder_ablations.experiments.reporting.findings.groups import RunGroup, Setting

FEW = 6
"""Most classes of a small matrix, which has larger numbers."""
NUMBERED = 12
"""Most classes for which a confusion matrix shows numbers."""
LABELLED = 24
"""Most classes, a row for all others among them, whose names a confusion matrix shows."""


def confusion_figure(groups: list[RunGroup], setting: Setting) -> tuple[Figure, str]:
    """Draw one confusion matrix for every group, counts added over seeds.

    Rows are true classes; a cell is the share of the class that is predicted as the
    column's class. With very many classes, those with most pixels have a row of their own and
    the others share one.
    """
    classes, kept = matrix_rows(setting)
    count = len(classes)
    # three matrices of few classes fit into a row
    columns = min(len(groups), 2 + (count <= FEW))
    rows = math.ceil(len(groups) / columns)
    side = _side(count)
    figure, axes = new_figure(max(columns * side + 0.6, 5), rows * (side + 0.15), columns, rows)
    figure.set_layout_engine("compressed")  # keeps square panels together
    for axis, group in zip(axes, groups, strict=False):
        shares = row_shares(group, kept)
        image = axis.imshow(shares, cmap="Blues", vmin=0, vmax=1, interpolation="nearest")
        _label_matrix(axis, group.encoder, classes, axis in axes[::columns])
        if count <= NUMBERED:
            _write_shares(axis, shares)
    hide_unused(axes, len(groups))
    percent = FuncFormatter(lambda value, _: f"{value:.0%}")
    bar = figure.colorbar(image, ax=axes, fraction=0.03, aspect=30, format=percent)
    bar.outline.set_edgecolor(FAINT)
    found = [f"{group.encoder} {_mean_found(group):.0%}" for group in groups]
    told = (
        f"Mean share of each class's {setting.metric.counted}s that is found: {'; '.join(found)}."
    )
    return figure, f"Confusion matrices. {told}"


def matrix_rows(setting: Setting) -> tuple[list[str], list[int] | None]:
    """Return the names of the rows, and the ids of the classes with a row of their own.

    Ids are None where all classes are shown.
    """
    classes = setting.classes
    if len(setting.shown_classes) == len(classes):
        return classes, None
    kept = setting.by_pixels[: LABELLED - 1]
    names = [classes[place] for place in kept]
    return [*names, f"{len(classes) - len(kept)} others"], kept


def _side(count: int) -> float:
    """Return the side of a matrix of ``count`` classes in inches."""
    if count > NUMBERED:
        return 4.6
    return 1.5 + 0.36 * max(count, 4)


def _mean_found(group: RunGroup) -> float:
    return float(np.nanmean(np.diagonal(row_shares(group))))


def row_shares(group: RunGroup, kept: list[int] | None = None) -> np.ndarray:
    """Return the confusion matrix over all seeds, as shares of each true class.

    Args:
        group: has one finished run or more.
        kept: ids of classes to keep, in this order; all others are added up in one last row and
            column. None keeps all classes in id order.

    Returns:
        K×K: a row adds up to 1; NaN for classes that do not occur in the truth.
    """
    counts = group.confusion_matrix
    if kept is not None:
        counts = _folded(counts, kept)
    totals = counts.sum(axis=1, keepdims=True)
    shares = np.full_like(counts, np.nan)
    np.divide(counts, totals, out=shares, where=totals > 0)
    return shares


def _folded(counts: np.ndarray, kept: list[int]) -> np.ndarray:
    """Return counts with all classes but the ``kept`` ones in one last row and column."""
    place = np.full(len(counts), len(kept))
    place[kept] = np.arange(len(kept))
    folded = np.zeros((len(kept) + 1, len(kept) + 1))
    np.add.at(folded, (place[:, None], place), counts)
    return folded


def _label_matrix(axis: Axes, title: str, classes: list[str], first_column: bool) -> None:
    axis.set_title(shorten(title, 36), loc="left")
    axis.grid(visible=False)
    axis.spines[:].set_visible(False)
    axis.tick_params(length=0)
    axis.set_xlabel("predicted")
    if first_column:
        axis.set_ylabel("truth")
    if len(classes) > LABELLED:
        return
    names = [shorten(name, 14) for name in classes]
    size = 8 if len(classes) <= NUMBERED else 6.5
    # longer rows of names would run into one another
    rotation = 90 * (len(classes) > 3)
    places = range(len(classes))
    axis.set_xticks(places, names, rotation=rotation, fontsize=size)
    if first_column:
        axis.set_yticks(places, names, fontsize=size)
    else:
        axis.set_yticks([])


def _write_shares(axis: Axes, shares: np.ndarray) -> None:
    size = 9 if len(shares) <= FEW else 6.5
    for row, column in np.argwhere(np.isfinite(shares)):
        share = shares[row, column]
        # legible on dark and on light blue
        color = "#ffffff" if share > 0.55 else "#1b2530"
        text = f"{100 * share:.0f}"
        axis.text(column, row, text, ha="center", va="center", color=color, fontsize=size)
