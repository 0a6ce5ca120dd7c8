"""Progress on the terminal: a bar, or plain lines where the output is a file or a pipe."""

import math
import sys
import time
from typing import Any

from tqdm import tqdm

from encoder_ablations.utils.texts import duration

LINE_SECONDS = 30.0
"""Seconds between two plain lines, at least."""


class Bar(tqdm):  # type: ignore[misc] # tqdm has no types
    """A bar of tqdm on a terminal; elsewhere at most one plain line every 30 s.

    It appears after a second and leaves nothing behind, unless ``delay`` and ``leave`` say
    something else. With ``leave`` the last line of the plain ones says where it ended.

    Args:
        arguments: those of tqdm.
        settings: those of tqdm.
    """

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        self.plain = not sys.stderr.isatty()
        self.next_line = time.monotonic() + LINE_SECONDS
        self.last_line = ""
        defaults = {"delay": 1, "leave": False, "dynamic_ncols": True, "mininterval": 0.2}
        super().__init__(*arguments, **defaults | settings)
        # tqdm asks the wall clock: set back or forward, it would spoil the times shown
        self._time = time.monotonic
        self.start_t = self.last_print_t = time.monotonic()

    def display(self, *arguments: Any, **settings: Any) -> None:
        """Show how far it is; plain lines only when the last one is old enough."""
        if not self.plain:
            super().display(*arguments, **settings)
        elif time.monotonic() >= self.next_line:
            self._print_line()

    def clear(self, *arguments: Any, **settings: Any) -> None:
        """Remove the bar from the screen; plain lines stay."""
        if not self.plain:
            super().clear(*arguments, **settings)

    def close(self) -> None:
        """End the bar."""
        if self.plain and not self.disable:
            if self.leave:
                self._print_line()
            # a bar that has not yet appeared is not cleared with a carriage return
            self.delay = math.inf
        super().close()

    def tell(self, text: str) -> None:
        """Show at once what is being done, also where plain lines are printed."""
        self.set_postfix_str(text, refresh=False)
        self.next_line = time.monotonic()
        self.refresh()

    def _print_line(self) -> None:
        self.next_line = time.monotonic() + LINE_SECONDS
        line = plain_line(self)
        if line != self.last_line:
            print(line, file=self.fp, flush=True)
        self.last_line = line


def plain_line(bar: Bar) -> str:
    """Return how far a bar is, in words: title, count, share, time left, postfix."""
    parts = [f"{bar.n} {bar.unit}s"]
    rate = bar.format_dict["rate"]
    if bar.total:
        parts = [f"{bar.n} of {bar.total} {bar.unit}s", f"{bar.n / bar.total:.0%}"]
    if bar.total and rate and bar.n < bar.total:
        parts.append(f"about {duration((bar.total - bar.n) / rate)} left")
    if bar.postfix:
        parts.append(bar.postfix)
    title = bar.desc.removesuffix(": ")
    return ": ".join(text for text in (title, ", ".join(parts)) if text)
