"""How every figure looks, is saved, and comes into the page."""

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.markers import MarkerStyle
from matplotlib.transforms import Affine2D

from encoder_ablations.experiments.reporting.collect import Study
from encoder_ablations.utils.files import write_bytes

WIDTH = 9.6
"""Inches of a figure that fills the page."""

INK = "#27313d"
FAINT = "#c3cad3"
DARK_INK = "#dde3ea"
DARK_FAINT = "#47525f"

# Okabe & Ito's colour-blind safe set without its yellow, ordered so that neighbours differ in lightness too.
COLORS = ("#0072b2", "#e69f00", "#009e73", "#a8487f", "#56b4e9", "#d55e00", "#7a7f87")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "p", "<", ">", "h")

RC: Any = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans", "Verdana", "Helvetica", "Arial"],
    "font.size": 9,
    "text.parse_math": False,  # a "$" in a name is a "$"
    "axes.titlesize": 10,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.8,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": FAINT,
    "grid.linewidth": 0.6,
    "legend.frameon": False,
    "lines.linewidth": 1.8,
    "hatch.linewidth": 0.8,
    "svg.fonttype": "none",
    "svg.hashsalt": "encoder-ablations",
    "pdf.use14corefonts": False,
}

# The page's figures follow its dark mode: matplotlib writes colours as inline styles, which only !important overrides.
DARK_MODE = f"""<style>@media (prefers-color-scheme: dark) {{
[style*="fill: {INK}"] {{ fill: {DARK_INK} !important }}
[style*="stroke: {INK}"] {{ stroke: {DARK_INK} !important }}
[style*="stroke: {FAINT}"] {{ stroke: {DARK_FAINT} !important }}
}}</style>"""


@dataclass(frozen=True)
class EncoderStyle:
    """Colour and marker tell the architecture; dashes and hollow markers tell random weights."""

    color: str
    marker: str
    dashed: bool

    @property
    def line(self) -> dict[str, Any]:
        """Arguments for ``Axes.plot``."""
        return {
            "color": self.color,
            "marker": self.marker,
            "linestyle": (0, (4, 2)) if self.dashed else "-",
            "markerfacecolor": "none" if self.dashed else self.color,
            "markersize": 5.5,
        }

    @property
    def outline(self) -> str:
        """The marker as points of an SVG polygon in a 14×14 box; a circle has many."""
        marker = MarkerStyle(self.marker)
        shape = marker.get_path().transformed(marker.get_transform() + Affine2D().scale(9, -9).translate(7, 7))
        return " ".join(f"{x:.1f},{y:.1f}" for x, y in np.asarray(shape.to_polygons()[0]))

    @property
    def bar(self) -> dict[str, Any]:
        """Arguments for ``Axes.barh``."""
        if self.dashed:
            return {"facecolor": "none", "edgecolor": self.color, "hatch": "////", "linewidth": 1}
        return {"facecolor": self.color, "edgecolor": self.color, "linewidth": 1}


@dataclass(frozen=True)
class EmbeddedFigure:
    """A figure in the page.

    Attributes:
        alt: what it shows, for those who cannot see it.
        source: data URI.
        adapts: whether it follows the dark mode (SVG) or needs a white ground (PNG).
        width: width in CSS pixels.
    """

    name: str
    alt: str
    source: str
    adapts: bool
    width: int


def encoder_styles(study: Study) -> dict[str, EncoderStyle]:
    """One style for every encoder of the study, the same in all its figures; a random control shares its colour."""
    styles: dict[str, EncoderStyle] = {}
    waiting: dict[str, int] = {}
    number = 0
    for group in sorted(study.groups, key=lambda group: (group.random_weights, group.encoder)):
        if group.encoder in styles:
            continue
        shared = waiting.pop(group.architecture, None) if group.random_weights else None
        chosen = number if shared is None else shared
        if not group.random_weights:
            waiting.setdefault(group.architecture, chosen)
        number += shared is None
        color, marker = COLORS[chosen % len(COLORS)], MARKERS[chosen % len(MARKERS)]
        styles[group.encoder] = EncoderStyle(color, marker, group.random_weights)
    return styles


def new_figure(
    width: float, height: float, columns: int = 1, rows: int = 1, same_scale: bool = False
) -> tuple[Figure, list[Axes]]:
    """A figure of width×height inches and its axes, row by row; ``same_scale``: all share one vertical scale."""
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False, sharey=same_scale)
    return figure, [axis for row in axes for axis in row]


def share_legend(figure: Figure, axis: Axes, columns: int = 4) -> None:
    """One legend above all panels, from what ``axis`` shows."""
    handles, labels = axis.get_legend_handles_labels()
    if handles:
        figure.legend(handles, labels, loc="outside upper left", ncols=min(columns, len(labels)), fontsize=8.5)


def hide_unused(axes: Sequence[Axes], used: int) -> None:
    for axis in axes[used:]:
        axis.set_visible(False)


def save_figure(figure: Figure, folder: Path, name: str, alt: str) -> EmbeddedFigure:
    """Writes NAME.png and NAME.pdf into ``folder``; the page gets the SVG or the PNG, whichever is smaller."""
    figure.draw_without_rendering()
    figure.set_layout_engine("none")  # laid out once, not again for every format
    png = _render(figure, "png", dpi=160, facecolor="white", metadata={"Software": None})
    write_bytes(folder / f"{name}.png", png)
    no_dates = {"CreationDate": None, "Creator": None, "Producer": None}
    write_bytes(folder / f"{name}.pdf", _render(figure, "pdf", facecolor="white", metadata=no_dates))
    nameless = {"Date": None, "Creator": None, "Format": None, "Type": None}
    svg = _adapting(_render(figure, "svg", transparent=True, metadata=nameless).decode())
    width = round(figure.get_figwidth() * 96)
    if len(svg) <= len(png):
        return EmbeddedFigure(name, alt, data_uri(svg.encode(), "image/svg+xml"), True, width)
    return EmbeddedFigure(name, alt, data_uri(png, "image/png"), False, width)


def style_context() -> Any:
    """matplotlib's settings for our figures, within a ``with`` block."""
    return matplotlib.rc_context(RC)


def data_uri(content: bytes, kind: str) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def _render(figure: Figure, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format=kind, **options)
    return buffer.getvalue()


def _adapting(svg: str) -> str:
    """The SVG without its prologue, with the colours of the dark mode."""
    svg = svg[svg.index("<svg") :]
    end = svg.index(">") + 1
    return svg[:end] + DARK_MODE + svg[end:]
