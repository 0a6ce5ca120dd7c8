"""The ways to read a folder, and the options of ``ablate init`` that choose one."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from encoder_ablations.data.intake.layouts.codes import Color
from encoder_ablations.utils.errors import InputError


@dataclass(frozen=True)
class Reading:
    """One way to read a folder.

    Attributes:
        text: what it would mean, and what speaks for it.
        option: option of the command line that chooses it.
        choice: the same as arguments of ``propose``.
    """

    text: str
    option: str
    choice: dict[str, Any] = field(default_factory=dict)


def masks_reading(names: Sequence[str], text: str) -> Reading:
    """Return the reading that takes one folder for the masks, or several for classes."""
    quoted = [f"'{name}'" if "*" in name or " " in name else name for name in names]
    return Reading(text, f"--masks {' '.join(quoted)}", {"masks": tuple(names)})


class Unsure(InputError):
    """The values in the masks allow several readings; a person has to choose."""

    def __init__(self, question: str, readings: Sequence[Reading]) -> None:
        ways = "; ".join(f"{reading.option} ({reading.text})" for reading in readings)
        super().__init__(f"{question} Choose with an option of 'ablate init': {ways}.")
        self.question = question
        self.readings = tuple(readings)


@dataclass(frozen=True)
class Wishes:
    """What a person or a file says about the classes.

    Attributes:
        given: class names from the person.
        listed: class names from a file beside the data.
        colors: names by colour, from the same file.
        objects: whether values number objects; None = the values decide.
        blends: whether values that form no areas are blends; None = the values decide.
    """

    given: list[str] = field(default_factory=list)
    listed: list[str] = field(default_factory=list)
    colors: dict[Color, str] = field(default_factory=dict)
    objects: bool | None = None
    blends: bool | None = None

    @property
    def names(self) -> list[str]:
        """Class names in id order; empty if nobody says them."""
        return self.given or self.listed
