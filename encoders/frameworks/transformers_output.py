"""What transformers writes to the terminal beside this package's own lines."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def no_transformers_bars() -> Iterator[None]:
    """Let transformers show no progress bars, such as those of models that it reads or writes.

    Afterwards it shows them if it did before.
    """
    from transformers.utils import logging

    library: Any = logging  # without types
    shown = library.is_progress_bar_enabled()
    library.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            library.enable_progress_bar()


@contextmanager
def transformers_errors_only() -> Iterator[None]:
    """Let transformers report errors only, and show no progress bars."""
    from transformers.utils import logging

    library: Any = logging  # without types
    verbosity = library.get_verbosity()
    library.set_verbosity_error()
    try:
        with no_transformers_bars():
            yield
    finally:
        library.set_verbosity(verbosity)
