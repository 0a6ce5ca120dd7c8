"""What a report has written, and what the terminal says of it."""

import sys
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class ReportFiles:
    """What was written, and texts for the terminal.

    Attributes:
        page: the HTML page.
        tables: their files.
        figures: their files.
        ranking: a small table.
        headlines: the shortest answer of every setting, and how many labels score as none.
        problems: files that could not be used, one line each.
    """

    page: Path
    tables: list[Path]
    figures: list[Path]
    ranking: str
    headlines: list[str]
    problems: list[str]

    def announce(self) -> None:
        """Print the ranking, the answer and where the report lies."""
        answers = "\n".join(self.headlines)
        print(
            f"\n{self.ranking}\n\n{answers}\n\nreport: {self.page}\ntables: {self.tables[0].parent}"
        )
        for problem in self.problems:
            print(f"left out: {problem}", file=sys.stderr)
