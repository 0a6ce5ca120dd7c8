"""The parts of the page, in their order: the one place where they are listed.

A part is a template in ``of_settings/`` (repeated for every setting, which it finds as ``section``)
or in ``of_study/``. What it shows is a value that :mod:`.page` hands to the template by the name in
``shows``; without a value the part is left out. To add a part: make its value there, write its
template, and add a line here.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Part:
    """A part of the page.

    Attributes:
        id: its anchor, and the name of its template.
        title: in the list of contents.
        shows: names of values of which one at least must hold something; () = always shown.
    """

    id: str
    title: str
    shows: tuple[str, ...] = ()

    def is_shown(self, values: Mapping[str, Any]) -> bool:
        """Return whether there is something to show."""
        return not self.shows or any(_holds(values[name]) for name in self.shows)


def _holds(value: Any) -> bool:
    """Return whether a table has rows, or another value is not empty."""
    return bool(getattr(value, "rows", value))


OF_SETTINGS = (
    Part("ranking", "Ranking"),
    Part("data", "Training data"),
    Part("pretraining", "Pretraining", ("pretraining",)),
    Part("protocols", "What learns", ("protocols",)),
    Part("cost", "Cost", ("costs",)),
    Part("convergence", "Convergence"),
    Part("stability", "Stability", ("stability", "deviations")),
    Part("classes", "Classes"),
    Part("confusion", "Confusion", ("confusions",)),
    Part("confidence", "Confidence", ("measured",)),
    Part("pictures", "Pictures"),
)
"""Parts of every setting that has a result."""

OF_STUDY = (
    Part("federated", "Federated training", ("federated",)),
    Part("labels", "Labels needed", ("labels",)),
    Part("taught", "Predicted masks", ("taught",)),
    Part("folds", "Over the folds", ("folds",)),
    Part("between", "Other heads and datasets", ("between",)),
    Part("privacy", "Privacy", ("private",)),
    Part("tuning", "Tuning", ("tuning",)),
    Part("cross", "Other datasets", ("matrices",)),
    Part("runs", "All runs", ("runs",)),
    Part("failures", "Failures"),
    Part("method", "Method"),
    Part("environment", "Environment"),
    Part("repeat", "Repeat"),
)
"""Parts of the whole study, after those of the settings."""


def shown_parts(parts: Sequence[Part], values: Mapping[str, Any]) -> list[Part]:
    """Return the parts that have something to show."""
    return [part for part in parts if part.is_shown(values)]
