"""One description of a table, written as CSV, Markdown and LaTeX, and shown in the page."""

import csv
import io
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from html import escape
from typing import Any

from encoder_ablations.utils.texts import as_cell

FORMULA = ("=", "+", "-", "@")
NUMBER = re.compile(r"[-+](\d[\d.]*|inf|nan)(e[-+]?\d+)?( ± [\d.]+)?")

LATEX = str.maketrans(
    {character: f"\\{character}" for character in "&%$#_{}"}
    | {"~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "\\": r"\textbackslash{}"}
    | {"<": r"\textless{}", ">": r"\textgreater{}", "–": "--", "−": "$-$"}
    | {"±": r"$\pm$", "·": r"$\cdot$", "×": r"$\times$"}
)


@dataclass(frozen=True)
class Table:
    """Texts in rows under a header.

    Attributes:
        caption: what the table shows.
        header: a name for each column.
        rows: as many cells each.
        names: number of columns at the start that hold names; all others hold numbers.
        last_names: number of columns at the end that hold names, where these are long and the
            numbers are what readers look for.
    """

    caption: str
    header: list[str]
    rows: list[list[Any]]
    names: int = 1
    last_names: int = 0

    @property
    def numeric(self) -> list[bool]:
        """Return for each column whether it holds numbers."""
        numbers = len(self.header) - self.names - self.last_names
        return [False] * self.names + [True] * numbers + [False] * self.last_names

    def cells(self) -> list[list[str]]:
        """Return header and rows as texts of one line each."""
        return [list(map(as_cell, row)) for row in [self.header, *self.rows]]

    def only(self, first: str) -> "Table":
        """Return the rows whose first cell is ``first``, without that column."""
        rows = [row[1:] for row in self.rows if row[0] == first]
        return replace(self, header=self.header[1:], rows=rows, names=self.names - 1)

    def csv(self) -> str:
        """Return the table as CSV, which spreadsheets read as values and not as formulas."""
        return csv_text([self.header, *self.rows])

    def markdown(self) -> str:
        """Return the table as Markdown; numbers are aligned to the right."""
        marks = [{True: "---:", False: "---"}[numeric] for numeric in self.numeric]
        header, *body = map(_escaped, self.cells())
        lines = [header, marks, *body]
        return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)

    def latex(self) -> str:
        r"""Return the table as LaTeX; it needs ``\usepackage{booktabs}``."""
        columns = "".join({True: "r", False: "l"}[numeric] for numeric in self.numeric)
        rows = [[cell.translate(LATEX) for cell in row] for row in self.cells()]
        header, *body = [" & ".join(cells) + r" \\" for cells in rows]
        lines = [
            r"\begin{table}",
            r"\centering",
            rf"\caption{{{self.caption.translate(LATEX)}}}",
            rf"\begin{{tabular}}{{{columns}}}",
            r"\toprule",
            header,
            r"\midrule",
            *body,
            r"\bottomrule",
            r"\end{tabular}",
            r"\end{table}",
        ]
        return "\n".join(lines) + "\n"


def csv_text(rows: Iterable[Sequence[Any]]) -> str:
    """Return rows as CSV, which spreadsheets read as values and not as formulas."""
    buffer = io.StringIO()
    texts = ([_as_value(as_cell(cell)) for cell in row] for row in rows)
    csv.writer(buffer, lineterminator="\n").writerows(texts)
    return buffer.getvalue()


def _as_value(cell: str) -> str:
    """Return a cell with an apostrophe before what a spreadsheet would compute (OWASP).

    Numbers keep their sign.
    """
    if cell.lstrip().startswith(FORMULA) and not NUMBER.fullmatch(cell):
        return f"'{cell}"
    return cell


def _escaped(cells: Sequence[str]) -> list[str]:
    return [escape(cell, quote=False).replace("|", r"\|") for cell in cells]
