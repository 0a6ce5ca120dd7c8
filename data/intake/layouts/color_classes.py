"""Which classes the colours of masks are, and what they are called."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from encoder_ablations.data.datasets.sample import IGNORE
from encoder_ablations.data.intake.layouts.blend_classes import blends_in, note_blends
from encoder_ablations.data.intake.layouts.blending import nearest_real
from encoder_ablations.data.intake.layouts.choices import Wishes
from encoder_ablations.data.intake.layouts.codes import Color, code_of, color_of
from encoder_ablations.data.intake.layouts.mask_values import MOST_CLASSES, Meaning, too_many
from encoder_ablations.data.intake.layouts.name_lists import unlabelled_places
from encoder_ablations.data.intake.layouts.proposal import Proposal
from encoder_ablations.utils.errors import InputError
from encoder_ablations.utils.texts import first_names, plural

MOST_STRANGE = 0.5
"""Largest share of the pixels whose colours stand in no table."""
BLACK = (0, 0, 0)


@dataclass
class ColorClasses:
    """The classes that colours are.

    Attributes:
        colors: of each class.
        names: of each class.
        ignored: colours whose pixels are ignored.
        nearest: blended colour -> the colour of a class that it counts as.
    """

    colors: list[Color]
    names: list[str]
    ignored: list[Color]
    nearest: dict[Color, Color] = field(default_factory=dict)


def coded(meaning: Meaning) -> dict[Path, dict[int, int]]:
    """Return the pixels of each code in every file."""
    return {
        path: {code_of(value): count for value, count in counts.items()}
        for path, counts in meaning.by_file.items()
    }


def classes_of_colors(proposal: Proposal, wishes: Wishes) -> dict[str, Any]:
    """Return the part of the dataset's YAML about masks of colours.

    Every colour is a class. The colours of a table have the table's names, and what the table
    lacks or calls void is ignored. The proposal gets the class id of every colour.
    """
    meaning = _meaning(proposal)
    found = _find_classes(proposal, wishes)
    if not wishes.given:
        pixels = {number: meaning.colors[color] for number, color in enumerate(found.colors)}
        places = unlabelled_places(proposal.remarks, found.names, pixels)
        for number in sorted(places, reverse=True):
            found.ignored.append(found.colors.pop(number))
            del found.names[number]
    ids = {color: number for number, color in enumerate(found.colors)}
    ids |= dict.fromkeys(found.ignored, IGNORE)
    ids |= {color: ids[real] for color, real in found.nearest.items()}
    proposal.colors = ids
    return {"classes": _distinct(found.names), "colors": found.colors}


def _meaning(proposal: Proposal) -> Meaning:
    assert proposal.meaning is not None
    return proposal.meaning


def _distinct(names: list[str]) -> list[str]:
    """Return the names; those that stand several times get their class id."""
    times = Counter(names)
    return [f"{name}_{number}" if times[name] > 1 else name for number, name in enumerate(names)]


def _find_classes(proposal: Proposal, wishes: Wishes) -> ColorClasses:
    if wishes.colors and not wishes.given:
        return _from_table(proposal, wishes.colors)
    return _from_masks(proposal, wishes)


def _from_table(proposal: Proposal, table: Mapping[Color, str]) -> ColorClasses:
    """Return the classes of a table; colours that it lacks are ignored.

    Raises:
        InputError: these are most of what the masks show.
    """
    colors = _meaning(proposal).colors
    classes = ColorClasses(list(table), list(table.values()), ignored=[])
    strange = [color for color in colors if color not in table]
    if not strange:
        return classes
    share = sum(colors[color] for color in strange) / colors.total()
    left_out = plural(len(strange), "colour", "stands/stand in no table and is/are ignored")
    text = f"{left_out} ({100 * share:.3g} % of the pixels), e.g. {strange[0]}."
    if share > MOST_STRANGE:
        raise InputError(
            f"the table of colours does not fit the masks: {text} Correct it, or move it away."
        )
    proposal.remarks.append(text)
    classes.ignored = strange
    return classes


def _from_masks(proposal: Proposal, wishes: Wishes) -> ColorClasses:
    """Return a class for each colour that is no blend: black first, then by frequency."""
    meaning = _meaning(proposal)
    blends = None
    if len(wishes.given) != len(meaning.colors):
        blends = blends_in(coded(meaning), 3, wishes)
    blended = set(map(color_of, blends.blended)) if blends else set()
    real = [color for color in meaning.colors if color not in blended]
    if len(real) > MOST_CLASSES + 1:
        raise too_many(len(real), "colours")
    real.sort(key=lambda color: color != BLACK)
    if blends:
        note_blends(proposal, blends, 3)
    classes = ColorClasses(real, _names_of_colors(proposal, real, wishes), ignored=[])
    if blends and len(blends.real) == 2:
        for code in blends.blended:
            nearest = nearest_real(code, blends.real, 3)
            classes.nearest[color_of(code)] = color_of(nearest)
    else:
        # among more than two colours it is unknown which ones a blend is made of
        classes.ignored = [color for color in meaning.colors if color in blended]
    return classes


def _names_of_colors(proposal: Proposal, ordered: list[Color], wishes: Wishes) -> list[str]:
    if wishes.given and len(wishes.given) != len(ordered):
        names = plural(len(wishes.given), "class name")
        raise InputError(
            f"{names} for {plural(len(ordered), 'colour')} in the masks: {first_names(ordered, 8)}."
        )
    if len(wishes.names) == len(ordered):
        return list(wishes.names)
    proposal.remarks.append("Class names are invented from the colours: write the right ones.")
    return ["background" if color == BLACK else f"color_{code_of(color):06x}" for color in ordered]
