"""How every figure looks, is saved, and comes into the page."""

import base64
import io
import re
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from markupsafe import Markup, escape
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.markers import MarkerStyle
from matplotlib.transforms import Affine2D

from encoder_ablations.experiments.reporting.findings.collection import Study
from encoder_ablations.utils.files import write_bytes
from encoder_ablations.utils.fonts import further_families

WIDTH = 9.6
"""Inches of a figure that fills the page."""

INK = "#27313d"
FAINT = "#c3cad3"

# Okabe & Ito's colour-blind safe set without its yellow, ordered so that neighbours differ in lightness too.
COLORS = ("#0072b2", "#e69f00", "#009e73", "#a8487f", "#56b4e9", "#d55e00", "#7a7f87")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "p", "<", ">", "h")

RC: Any = {
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


@dataclass(frozen=True)
class EncoderStyle:
    """Colour and marker tell the architecture, dashes and hollow markers random weights, ``number`` the encoder."""

    color: str
    marker: str
    dashed: bool
    number: int = 0

    def gid(self, part: str) -> str:
        """Names one of the encoder's lines in the SVG, so that the page can hide it."""
        return f"series:{self.number}:{part}"

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
        shape = marker.get_path().transformed(
            marker.get_transform() + Affine2D().scale(9, -9).translate(7, 7)
        )
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
        svg: goes into the page as it is and follows its dark mode; "" where the PNG is smaller.
        source: the PNG as a data URI, for a white ground; "" where there is the SVG.
        width: width in CSS pixels.
    """

    name: str
    alt: str
    svg: Markup
    source: str
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
        styles[group.encoder] = EncoderStyle(color, marker, group.random_weights, len(styles))
    return styles


def new_figure(
    width: float, height: float, columns: int = 1, rows: int = 1, same_scale: bool = False
) -> tuple[Figure, list[Axes]]:
    """A figure of width×height inches and its axes, row by row; ``same_scale``: all share one vertical scale."""
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False, sharey=same_scale)
    return figure, [axis for row in axes for axis in row]


def share_legend(figure: Figure, axis: Axes) -> None:
    """One legend above all panels, from what ``axis`` shows."""
    handles, labels = axis.get_legend_handles_labels()
    if handles:
        figure.legend(
            handles, labels, loc="outside upper left", ncols=min(4, len(labels)), fontsize=8.5
        )


def hide_unused(axes: Sequence[Axes], used: int) -> None:
    for axis in axes[used:]:
        axis.set_visible(False)


def save_figure(
    figure: Figure, folder: Path, name: str, alt: str, raster: bool = False
) -> EmbeddedFigure:
    """Writes NAME.png and NAME.pdf; the page gets the SVG, or the PNG where that is smaller or ``raster``."""
    engine = figure.get_layout_engine()
    if (
        engine is not None
    ):  # laid out once, not again for every format; with any engine left, each format draws twice
        engine.execute(figure)
        figure.set_layout_engine(None)
    quick = {"compress_level": 4}
    png = _render(
        figure, "png", dpi=140, facecolor="white", metadata={"Software": None}, pil_kwargs=quick
    )
    write_bytes(folder / f"{name}.png", png)
    no_dates = {"CreationDate": None, "Creator": None, "Producer": None}
    write_bytes(
        folder / f"{name}.pdf", _render(figure, "pdf", facecolor="white", metadata=no_dates)
    )
    width = round(figure.get_figwidth() * 96)
    embedded = EmbeddedFigure(name, alt, Markup(""), data_uri(png, "image/png"), width)
    if raster:
        return embedded
    nameless = {"Date": None, "Creator": None, "Format": None, "Type": None}
    svg = _inline(_render(figure, "svg", transparent=True, metadata=nameless).decode(), name, alt)
    if len(svg) > 1.5 * len(png):  # more than what the PNG takes in base64
        return embedded
    return EmbeddedFigure(name, alt, Markup(svg), "", width)


@contextmanager
def style_context(texts: Iterable[str] = ()) -> Iterator[None]:
    """matplotlib's settings for our figures, within a ``with`` block.

    Args:
        texts: names that figures show; fonts are added that have their letters.
    """
    families = ["sans-serif", *further_families(texts)]
    with matplotlib.rc_context(RC | {"font.family": families}), warnings.catch_warnings():
        warnings.filterwarnings(
            "ignore", "Glyph .* missing"
        )  # no font here has it; the page's reader may
        yield


def data_uri(content: bytes, kind: str) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def _render(figure: Figure, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format=kind, **options)
    return buffer.getvalue()


def _inline(svg: str, name: str, alt: str) -> str:
    """The SVG as an element of the page: ids unique in it, series marked, no namespaces or metadata.

    matplotlib writes colours as inline styles; page.css replaces those of INK and FAINT in the dark mode.
    """
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg[svg.index("<svg") :], flags=re.DOTALL)
    svg = re.sub(r' xmlns(:\w+)?="[^"]*"', "", svg)
    used = set(re.findall(r'(?:url\(#|href="#)([^)"]+)', svg))

    def rename(match: re.Match[str]) -> str:
        found = match[1]
        if found.startswith("series:"):
            return f' data-series="{found.split(":")[1]}"'
        return f' id="{name}-{found}"' if found in used else ""

    svg = re.sub(r' id="([^"]*)"', rename, svg)
    svg = re.sub(r'(url\(#|href="#)', rf"\g<1>{name}-", svg)
    return svg.replace("<svg", f'<svg role="img" aria-label="{escape(alt)}"', 1)
