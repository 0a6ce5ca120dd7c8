"""One description of a table, written as CSV, Markdown and LaTeX, and shown in the page."""

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass, replace
from html import escape

LATEX = str.maketrans(
    {c: f"\\{c}" for c in "&%$#_{}"}
    | {
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "\\": r"\textbackslash{}",
        "<": r"\textless{}",
    }
    | {
        ">": r"\textgreater{}",
        "±": r"$\pm$",
        "–": "--",
        "−": "$-$",
        "·": r"$\cdot$",
        "×": r"$\times$",
    }
)


@dataclass(frozen=True)
class Table:
    """Texts in rows under a header; the first ``names`` columns are names, the others numbers."""

    caption: str
    header: list[str]
    rows: list[list[str]]
    names: int = 1

    def only(self, first: str) -> "Table":
        """The rows whose first cell is ``first``, without that column."""
        rows = [row[1:] for row in self.rows if row[0] == first]
        return replace(self, header=self.header[1:], rows=rows, names=self.names - 1)

    def csv(self) -> str:
        buffer = io.StringIO()
        csv.writer(buffer, lineterminator="\n").writerows([self.header, *self.rows])
        return buffer.getvalue()

    def markdown(self) -> str:
        def line(cells: Sequence[str]) -> str:
            return (
                "| "
                + " | ".join(escape(cell, quote=False).replace("|", r"\|") for cell in cells)
                + " |"
            )

        marks = ["---" if column < self.names else "---:" for column in range(len(self.header))]
        return "\n".join([line(self.header), line(marks), *map(line, self.rows)]) + "\n"

    def latex(self) -> str:
        """A booktabs table: needs ``\\usepackage{booktabs}``."""
        columns = "l" * self.names + "r" * (len(self.header) - self.names)
        lines = [
            " & ".join(cell.translate(LATEX) for cell in row) + r" \\"
            for row in [self.header, *self.rows]
        ]
        body = [r"\toprule", lines[0], r"\midrule", *lines[1:], r"\bottomrule"]
        start = [r"\begin{table}", r"\centering", rf"\caption{{{self.caption.translate(LATEX)}}}"]
        return (
            "\n".join(
                [
                    *start,
                    rf"\begin{{tabular}}{{{columns}}}",
                    *body,
                    r"\end{tabular}",
                    r"\end{table}",
                ]
            )
            + "\n"
        )
