"""How every figure looks, is saved, and comes into the page."""

import io
import re
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from textwrap import fill
from typing import Any, cast

import matplotlib
import numpy as np
from markupsafe import Markup, escape
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import LayoutEngine
from matplotlib.markers import MarkerStyle
from matplotlib.transforms import Affine2D
from PIL import Image

from encoder_ablations.experiments.reporting.figures.charts.panel import Panel
from encoder_ablations.experiments.reporting.figures.charts.svg import chart
from encoder_ablations.utils.files import write_bytes
from encoder_ablations.utils.pages.data_uri import data_uri
from encoder_ablations.utils.pages.fonts import further_families

WIDTH = 9.6
"""Inches of a figure that fills the page."""

LEGEND_LETTERS = 120
"""Most characters of a line in a legend; such a line fits into :data:`WIDTH`."""

INK = "#27313d"
FAINT = "#c3cad3"

# Okabe & Ito's colour-blind safe set without its yellow; neighbours differ in lightness, too.
COLORS = ("#0072b2", "#e69f00", "#009e73", "#a8487f", "#56b4e9", "#d55e00", "#7a7f87")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "p", "<", ">", "h")

RC: Any = {
    "font.sans-serif": ["DejaVu Sans", "Verdana", "Helvetica", "Arial"],
    "font.size": 9,
    "text.parse_math": False,  # a "$" in a name is a "$"
    "axes.titlesize": 10,
    "axes.titley": 1.0,  # else all ticks are laid out again, in search of some above the panel
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
DPI = 140
"""Pixels per inch of a PNG."""
PNG: Any = {"dpi": (DPI, DPI), "compress_level": 3}
PDF: Any = {
    "facecolor": "white",
    "metadata": {"CreationDate": None, "Creator": None, "Producer": None},
}
SVG: Any = {
    "transparent": True,
    "metadata": {"Date": None, "Creator": None, "Format": None, "Type": None},
}
"""How files are saved: without dates and names of programs, so that equal figures are equal."""


@dataclass(frozen=True)
class EncoderStyle:
    """How an encoder is drawn.

    Attributes:
        color: the same for all encoders of one architecture.
        marker: the same for all encoders of one architecture.
        dashed: random weights; lines are dashed, markers hollow.
        number: position of the encoder among all.
    """

    color: str
    marker: str
    dashed: bool
    number: int = 0

    def gid(self, part: str) -> str:
        """Return the id of one of the encoder's lines in the SVG, by which the page hides it."""
        return f"series:{self.number}:{part}"

    @property
    def line(self) -> dict[str, Any]:
        """Return arguments for ``Axes.plot``."""
        line = {"color": self.color, "marker": self.marker, "markersize": 5.5}
        if self.dashed:
            return line | {"linestyle": (0, (4, 2)), "markerfacecolor": "none"}
        return line | {"linestyle": "-", "markerfacecolor": self.color}

    @property
    def outline(self) -> str:
        """Return the marker as the points of an SVG polygon in a 14×14 box."""
        marker = MarkerStyle(self.marker)
        shape = marker.get_path().transformed(
            marker.get_transform() + Affine2D().scale(9, -9).translate(7, 7)
        )
        return " ".join(f"{x:.1f},{y:.1f}" for x, y in np.asarray(shape.to_polygons()[0]))

    @property
    def bar(self) -> dict[str, Any]:
        """Return arguments for ``Axes.barh``."""
        if self.dashed:
            return {"facecolor": "none", "edgecolor": self.color, "hatch": "////", "linewidth": 1}
        return {"facecolor": self.color, "edgecolor": self.color, "linewidth": 1}


Styles = Mapping[str, EncoderStyle]
"""Encoder -> its style."""


NOTHING = Markup("")


@dataclass(frozen=True)
class EmbeddedFigure:
    """A figure in the page.

    Attributes:
        name: name of its files, without the ending.
        alt: what it shows, for those who cannot see it.
        svg: element of the page that follows the dark mode; "" where the PNG is smaller.
        source: the PNG as a data URI, for a white ground; "" where the SVG is used.
        width: width in CSS pixels.
        chart: the figure as a chart of the page, in place of ``svg`` and ``source``; see
            :mod:`.charts`.
    """

    name: str
    alt: str
    svg: Markup
    source: str
    width: int
    chart: Markup = NOTHING


def new_figure(
    width: float, height: float, columns: int = 1, rows: int = 1, same_scale: bool = False
) -> tuple[Figure, list[Axes]]:
    """Return a figure of width×height inches and its axes, row by row.

    Args:
        width: inches.
        height: inches.
        columns: panels in a row.
        rows: rows of panels.
        same_scale: whether all panels share one vertical scale.
    """
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(rows, columns, squeeze=False, sharey=same_scale)
    return figure, list(axes.flat)


def share_legend(figure: Figure, axis: Axes) -> None:
    """Add one legend above all panels, with what ``axis`` shows.

    It has as many columns, four at most, as fit into the figure. Names that are too long for one
    column are wrapped, and a figure with many rows of names is made higher by them.
    """
    handles, names = axis.get_legend_handles_labels()
    labels = [fill(name, LEGEND_LETTERS) for name in names]
    most = min(4, len(labels))
    for columns in range(most, 0, -1):
        place: Any = {"loc": "outside upper left", "ncols": columns, "fontsize": 8.5}
        legend = figure.legend(handles, labels, **place)
        width = legend.get_window_extent().width
        if width <= figure.bbox.width or columns == 1:
            break
        legend.remove()
    if columns < most:
        height = legend.get_window_extent().height / figure.dpi
        figure.set_figheight(figure.get_figheight() + height)


def hide_unused(axes: Sequence[Axes], used: int) -> None:
    """Hide all panels after the first ``used`` ones."""
    for axis in axes[used:]:
        axis.set_visible(False)


def save_figure(
    figure: Figure,
    folder: Path,
    name: str,
    alt: str,
    raster: bool = False,
    panels: Sequence[Panel] = (),
) -> EmbeddedFigure:
    """Write NAME.png and NAME.pdf, and return what goes into the page.

    Args:
        figure: drawn, not yet laid out.
        folder: where the files are written.
        name: name of the files, without the ending.
        alt: what the figure shows.
        raster: whether the page gets the PNG; else it gets the SVG, unless the PNG is smaller.
        panels: the same as a chart of the page, which then gets neither PNG nor SVG.
    """
    # laid out once for all formats: with a layout engine left, each format draws twice
    cast(LayoutEngine, figure.get_layout_engine()).execute(figure)
    figure.set_layout_engine(None)
    png = png_bytes(figure)
    write_bytes(folder / f"{name}.png", png)
    write_bytes(folder / f"{name}.pdf", _render(figure, "pdf", **PDF))
    width = round(figure.get_figwidth() * 96)
    if panels:
        return EmbeddedFigure(name, alt, Markup(""), "", width, chart(panels, alt))
    embedded = EmbeddedFigure(name, alt, Markup(""), data_uri(png, "image/png"), width)
    if raster:
        return embedded
    svg = _inline(_render(figure, "svg", **SVG).decode(), name, alt)
    if len(svg) > 1.5 * len(png):  # more than what the PNG takes in base64
        return embedded
    return EmbeddedFigure(name, alt, Markup(svg), "", width)


@contextmanager
def style_context(texts: Iterable[str] = ()) -> Iterator[None]:
    """Set matplotlib up for the report's figures, within a ``with`` block.

    Args:
        texts: names that figures show; fonts are added that have their letters.
    """
    families = ["sans-serif", *further_families(texts)]
    with matplotlib.rc_context(RC | {"font.family": families}), warnings.catch_warnings():
        # where no font here has a letter, the reader's browser may have one
        warnings.filterwarnings("ignore", "Glyph .* missing")
        yield


def shorten(text: str, length: int) -> str:
    """Return ``text``, cut to ``length`` characters with "…" at its end where it is longer."""
    if len(text) <= length:
        return text
    return text[: length - 1] + "…"


def png_bytes(figure: Figure) -> bytes:
    """Return the PNG of a figure of :func:`new_figure`."""
    canvas: Any = figure.canvas
    before = figure.dpi
    figure.set_dpi(DPI)
    canvas.draw()
    figure.set_dpi(before)
    buffer = io.BytesIO()
    # nothing is transparent, and an alpha channel doubles the time to compress
    Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB").save(buffer, "PNG", **PNG)
    return buffer.getvalue()


def _render(figure: Figure, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format=kind, **options)
    return buffer.getvalue()


def _inline(svg: str, name: str, alt: str) -> str:
    """Return the SVG as an element of the page, without namespaces and metadata.

    Its ids become unique in the page, and lines of encoders are marked by ``data-series``.
    Matplotlib writes colours as inline styles; page.css replaces those of INK and FAINT in the
    dark mode.
    """
    # what a file of its own needs, an element of a page does not
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg[svg.index("<svg") :], flags=re.DOTALL)
    svg = re.sub(r' xmlns(:\w+)?="[^"]*"', "", svg)
    # ids that nothing refers to are left out
    used = set(re.findall(r'(?:url\(#|href="#)([^)"]+)', svg))
    svg = re.sub(r' id="series:(\d+):\w+"', r' data-series="\1"', svg)
    texts = {id: f' id="{name}-{id}"' for id in used}
    svg = re.sub(r' id="([^"]*)"', lambda match: texts.get(match[1], ""), svg)
    svg = re.sub(r'(url\(#|href="#)', rf"\g<1>{name}-", svg)
    return svg.replace("<svg", f'<svg role="img" aria-label="{escape(alt)}"', 1)
