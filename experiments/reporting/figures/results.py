"""Figures of the results, and the one function that makes all figures of a setting."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from encoder_ablations.experiments.reporting.figures.curves import (
    Styles,
    fraction_curves,
    learning_curves,
    loss_curves,
    pretraining_curves,
)
from encoder_ablations.experiments.reporting.figures.drawing import (
    FAINT,
    INK,
    WIDTH,
    EmbeddedFigure,
    hide_unused,
    new_figure,
    save_figure,
    share_legend,
    style_context,
)
from encoder_ablations.experiments.reporting.findings.collection import RunGroup, Setting, class_iou
from encoder_ablations.experiments.reporting.findings.ranking import (
    Standing,
    pretraining,
    standings,
)
from encoder_ablations.utils.texts import plural

NUMBERED = 12
"""Most classes for which a confusion matrix shows numbers."""
PANELS = 4
"""Most encoders with a confusion matrix: the best ones."""
BARS = 24
"""Most classes in the bar chart; with more, those on which the encoders differ most."""
BARS_OF = 10
"""Most encoders in the bar chart: the best ones."""


def draw_setting(
    setting: Setting, styles: Styles, folder: Path, prefix: str
) -> dict[str, EmbeddedFigure]:
    """Draws and saves everything that the setting's runs allow.

    Args:
        styles: see :func:`encoder_ablations.experiments.reporting.figures.drawing.encoder_styles`.
        folder: gets PREFIX-NAME.png and .pdf.

    Returns:
        "fractions", "pretraining", "learning", "loss", "cost", "classes", "confusion" -> figure; what has no data
        is left out.
    """
    ranked = standings(setting, setting.reference)
    drawn = {}
    with style_context([*setting.classes, *styles]):
        for name, figure, alt in _figures(setting, ranked, styles):
            drawn[name] = save_figure(
                figure, folder, f"{prefix}-{name}", alt, raster=name == "confusion"
            )
    return drawn


def _figures(
    setting: Setting, ranked: list[Standing], styles: Styles
) -> Iterator[tuple[str, Figure, str]]:
    encoders = [standing.encoder for standing in ranked]
    others = {group.encoder for group in setting.groups if group.values()} - set(encoders)
    encoders += sorted(others)
    curves = [run.curves for run in setting.runs if run.curves]
    if (
        encoders
        and sum(any(group.values() for group in setting.at(f)) for f in setting.fractions) > 1
    ):
        yield "fractions", *fraction_curves(setting, encoders, styles)
        if any(pretraining(setting, fraction) for fraction in setting.fractions):
            yield "pretraining", *pretraining_curves(setting, styles)
    if any(len(curve.val_steps) > 1 for curve in curves):
        yield "learning", *learning_curves(setting, encoders, styles)
    if any(len(curve.loss_steps) > 1 for curve in curves):
        yield "loss", *loss_curves(setting, encoders, styles)
    if len([standing for standing in ranked if standing.cost]) > 1:
        yield "cost", *cost_figure(ranked, styles)
    if ranked:
        yield (
            "classes",
            *class_bars(
                [standing.group for standing in ranked],
                setting.shown_classes,
                styles,
                len(setting.classes),
            ),
        )
    counted = [s.group for s in ranked if any(run.confusion_matrix for run in s.group.runs)]
    if counted:
        kept = (
            None
            if len(setting.shown_classes) == len(setting.classes)
            else setting.by_pixels[: BARS - 1]
        )
        yield "confusion", *confusion_figure(counted[:PANELS], setting.classes, kept)


def cost_figure(ranked: list[Standing], styles: Styles) -> tuple[Figure, str]:
    """mIoU against FLOPs and against latency; the line joins encoders that no mean beats on both."""
    timed = any(standing.cost and standing.cost.latency for standing in ranked)
    figure, axes = new_figure(WIDTH if timed else 6.4, 4.1, 2 if timed else 1, same_scale=True)
    flops = {s.encoder: s.cost.flops / 1e9 for s in ranked if s.cost}
    _cost_panel(axes[0], ranked, flops, {s.encoder for s in ranked if s.on_flops_front}, styles)
    axes[0].set_xlabel("GFLOPs for one image")
    if timed:
        latency = {s.encoder: s.cost.latency[1] for s in ranked if s.cost and s.cost.latency}
        _cost_panel(
            axes[1], ranked, latency, {s.encoder for s in ranked if s.on_latency_front}, styles
        )
        axes[1].set_ylabel("")
        axes[1].set_xlabel("milliseconds for one image")
    share_legend(figure, axes[0])
    front = ", ".join(standing.encoder for standing in ranked if standing.on_flops_front)
    return (
        figure,
        f"Accuracy against computation. None is cheaper and has a higher mean score than these: {front}.",
    )


def _cost_panel(
    axis: Axes, ranked: list[Standing], costs: Mapping[str, float], front: set[str], styles: Styles
) -> None:
    quality = {standing.encoder: 100 * (standing.miou.mean or 0) for standing in ranked}
    line = sorted((costs[encoder], quality[encoder]) for encoder in front if encoder in costs)
    axis.plot(
        [x for x, _ in line], [y for _, y in line], color=INK, linewidth=1, linestyle=":", zorder=1
    )
    for standing in ranked:
        if standing.encoder not in costs:
            continue
        x, y = costs[standing.encoder], quality[standing.encoder]
        if standing.miou.n > 1:
            axis.plot(
                [x, x],
                [100 * (standing.miou.low or 0), 100 * (standing.miou.high or 0)],
                color=INK,
                linewidth=0.8,
            )
        style = {
            **styles[standing.encoder].line,
            "markersize": 9,
            "linestyle": "",
            "markeredgewidth": 1.6,
        }
        axis.plot([x], [y], label=standing.encoder, **style)
    if max(costs.values()) > 3 * min(costs.values()):
        axis.set_xscale("log")
        axis.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axis.xaxis.set_minor_locator(NullLocator())
    axis.margins(0.12)
    axis.set_ylabel("mIoU (%)")


def class_bars(
    groups: list[RunGroup], classes: list[str], styles: Styles, total: int | None = None
) -> tuple[Figure, str]:
    """IoU of every class, a bar per encoder (``groups`` are ranked): means over seeds with a point for every seed.

    Args:
        total: number of the dataset's classes, if ``classes`` are only some of them.
    """
    whose = (
        "each encoder"
        if len(groups) <= BARS_OF
        else f"the {BARS_OF} best of {len(groups)} encoders"
    )
    groups = groups[:BARS_OF]
    shown, means = (
        classes,
        {(group.encoder, c): class_mean(group, c) for group in groups for c in classes},
    )
    if len(classes) > BARS:
        differing = sorted(
            classes, key=lambda c: -_spread([means[group.encoder, c] for group in groups])
        )[:BARS]
        shown = [c for c in classes if c in differing]
    thickness = 0.8 / len(groups)
    figure, (axis,) = new_figure(WIDTH, 1.1 + len(shown) * max(0.34, 0.13 * len(groups)))
    for position, group in enumerate(groups):
        style = styles[group.encoder]
        places = np.arange(len(shown)) + (position - (len(groups) - 1) / 2) * thickness
        values = [100 * (means[group.encoder, c] or 0) for c in shown]
        axis.barh(places, values, height=thickness * 0.86, label=group.encoder, **style.bar)
        if len(group.runs) > 1:
            pairs = zip(places, shown, strict=True)
            seeds = [
                (100 * v, place) for place, c in pairs for v in group.values(class_iou(c)).values()
            ]
            axis.plot(
                [v for v, _ in seeds],
                [p for _, p in seeds],
                "|",
                color=INK,
                markersize=4,
                markeredgewidth=0.8,
            )
    axis.set_yticks(range(len(shown)), [_short(c, 28) for c in shown])
    axis.set_ylim(len(shown) - 0.45, -0.55)
    axis.set_xlim(0, 100)
    axis.grid(visible=False, axis="y")
    axis.set_xlabel("IoU (%)")
    share_legend(figure, axis)
    counted = plural(total or len(classes), "class")
    return figure, f"IoU of {len(shown)} of {counted} for {whose}; the table below has the numbers."


def class_mean(group: RunGroup, name: str) -> float | None:
    """Mean IoU of one class over the group's seeds."""
    return group.summary(class_iou(name)).mean


def _spread(values: list[float | None]) -> float:
    known = [value for value in values if value is not None]
    return max(known) - min(known) if known else -1.0


def confusion_figure(
    groups: list[RunGroup], classes: list[str], kept: list[int] | None = None
) -> tuple[Figure, str]:
    """Confusion matrices, counts added over seeds: of each true class's pixels, the share predicted as each class.

    Args:
        kept: ids of the classes that get a row of their own; the others are put together. None = all.
    """
    if kept is not None:
        classes = [*(classes[place] for place in kept), f"{len(classes) - len(kept)} others"]
    count = len(classes)
    columns = min(len(groups), 3 if count <= 6 else 2)
    rows = -(-len(groups) // columns)
    side = 1.5 + 0.36 * min(max(count, 4), 14) if count <= NUMBERED else 4.6
    figure, axes = new_figure(max(columns * side + 0.6, 5), rows * (side + 0.15), columns, rows)
    figure.set_layout_engine("compressed")  # keeps square panels together
    image = None
    for axis, group in zip(axes, groups, strict=False):
        shares = row_shares(group, kept)
        image = axis.imshow(shares, cmap="Blues", vmin=0, vmax=1, interpolation="nearest")
        _label_matrix(axis, group.encoder, classes, first_column=axes.index(axis) % columns == 0)
        if count <= NUMBERED:
            _write_shares(axis, shares)
    hide_unused(axes, len(groups))
    if image is not None:
        bar = figure.colorbar(
            image, ax=axes, fraction=0.03, aspect=30, format=FuncFormatter(lambda v, _: f"{v:.0%}")
        )
        bar.outline.set_edgecolor(FAINT)
    diagonal = "; ".join(
        f"{g.encoder} {np.nanmean(np.diagonal(row_shares(g))):.0%}" for g in groups
    )
    return (
        figure,
        f"Confusion matrices. Mean share of each class's pixels that is found: {diagonal}.",
    )


def row_shares(group: RunGroup, kept: list[int] | None = None) -> np.ndarray:
    """K×K: counts added over seeds, divided by each true class's pixels (rows add up to 1); NaN for absent classes.

    Args:
        kept: these classes in this order, and as the last one all others together; None = all as they are.
    """
    counts = np.sum(
        [run.confusion_matrix for run in group.runs if run.confusion_matrix],
        axis=0,
        dtype=np.float64,
    )
    if kept is not None:
        place = np.full(counts.shape[0], len(kept))
        place[kept] = np.arange(len(kept))
        folded = np.zeros((len(kept) + 1, len(kept) + 1))
        np.add.at(folded, (place[:, None], place), counts)
        counts = folded
    totals = counts.sum(axis=1, keepdims=True)
    return np.divide(counts, totals, out=np.full_like(counts, np.nan), where=totals > 0)


def _label_matrix(axis: Axes, title: str, classes: list[str], first_column: bool) -> None:
    axis.set_title(_short(title, 36), loc="left")
    axis.grid(visible=False)
    axis.spines[:].set_visible(False)
    axis.tick_params(length=0)
    axis.set_xlabel("predicted")
    if first_column:
        axis.set_ylabel("truth")
    if len(classes) > BARS:
        return
    size = 8 if len(classes) <= 12 else 6.5
    labels = [_short(name, 14) for name in classes]
    rotation = 0 if len(classes) <= 3 else 90
    axis.set_xticks(range(len(classes)), labels, rotation=rotation, fontsize=size)
    axis.set_yticks(
        range(len(classes)), labels if first_column else [""] * len(classes), fontsize=size
    )


def _write_shares(axis: Axes, shares: np.ndarray) -> None:
    size = 9 if len(shares) <= 6 else 6.5 if len(shares) <= 12 else 5
    for (row, column), share in np.ndenumerate(shares):
        if np.isfinite(share):
            color = "#ffffff" if share > 0.55 else "#1b2530"
            axis.text(
                column,
                row,
                f"{100 * share:.0f}",
                ha="center",
                va="center",
                color=color,
                fontsize=size,
            )


def _short(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"
