"""A text that changes in place on a terminal; plain lines where the output is a file or a pipe."""

import shutil
import sys
import textwrap
import time
from collections.abc import Sequence

from encoder_ablations.utils.progress import LINE_SECONDS

UP_AND_CLEAR = "\x1b[{lines}F\x1b[J"
"""Moves to the beginning of a line further up, and clears what is below (ECMA-48: CPL, ED)."""


class Live:
    """Shows a text that changes.

    Attributes:
        plain: whether the output is no terminal.
    """

    def __init__(self) -> None:
        self.plain = not sys.stdout.isatty()
        self.shown = 0
        self.last_line = ""
        self.next_line = -float("inf")

    @property
    def height(self) -> int:
        """How many lines the terminal has room for."""
        return shutil.get_terminal_size().lines - 1

    @property
    def width(self) -> int:
        """How many characters a line of the terminal has room for."""
        return shutil.get_terminal_size().columns

    def wrapped(self, lines: Sequence[str]) -> list[str]:
        """Return sentences in lines that the terminal has room for."""
        return [part for line in lines for part in textwrap.wrap(line, self.width)]

    def show(self, lines: Sequence[str], line: str, last: bool = False) -> None:
        """Replace the text of the terminal by ``lines``; elsewhere print one ``line`` now and then.

        Args:
            lines: what a terminal shows; what does not fit is cut.
            line: the same in one line. It is printed if it has changed, at most every 30 s.
            last: whether nothing follows; then the line is printed in any case.
        """
        if self.plain:
            self._print(line, last)
        else:
            self._draw(lines)

    def _draw(self, lines: Sequence[str]) -> None:
        kept = [line[: self.width] for line in lines[: self.height]]
        back = ""
        if self.shown:
            back = UP_AND_CLEAR.format(lines=self.shown)
        # one write, so that the screen does not flicker
        sys.stdout.write(back + "".join(f"{line}\n" for line in kept))
        sys.stdout.flush()
        self.shown = len(kept)

    def _print(self, line: str, last: bool) -> None:
        due = last or time.monotonic() >= self.next_line
        if due and line != self.last_line:
            print(line, flush=True)
            self.last_line = line
            self.next_line = time.monotonic() + LINE_SECONDS
