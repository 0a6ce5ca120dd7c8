"""Where a folder can be read in several ways: the readings, and the option of ``ablate init`` that chooses one."""

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
        option: of the command line, as one writes it.
        choice: the same as arguments of ``propose``.
    """

    text: str
    option: str
    choice: dict[str, Any] = field(default_factory=dict)


class Unsure(InputError):
    """The values in the masks allow several readings; a person has to choose."""

    def __init__(self, question: str, readings: Sequence[Reading]) -> None:
        ways = "; ".join(f"{reading.option} ({reading.text})" for reading in readings)
        super().__init__(f"{question} Choose with an option of 'ablate init': {ways}.")
        self.question = question
        self.readings = tuple(readings)


@dataclass(frozen=True)
class Wishes:
    """What is known beforehand about the classes.

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
        return self.given or self.listed
