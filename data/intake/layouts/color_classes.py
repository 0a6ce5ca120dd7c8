"""Which classes the colours of masks are, and what they are called."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from encoder_ablations.data.datasets.sample import IGNORE
from encoder_ablations.data.intake.layouts.blend_classes import blends_in, note_blends
from encoder_ablations.data.intake.layouts.blending import nearest_real
from encoder_ablations.data.intake.layouts.choices import Wishes
from encoder_ablations.data.intake.layouts.codes import Color
from encoder_ablations.data.intake.layouts.mask_values import MOST_CLASSES, Meaning, too_many
from encoder_ablations.data.intake.layouts.name_lists import unlabelled_places
from encoder_ablations.data.intake.layouts.proposal import Proposal
from encoder_ablations.utils.errors import InputError
from encoder_ablations.utils.texts import plural

MOST_STRANGE = 0.5
"""Share of the pixels whose colours may stand in no table."""


def code_of(value: int | Color) -> int:
    """A value itself, or a colour as one number."""
    return value if isinstance(value, int) else (value[0] << 16) + (value[1] << 8) + value[2]


def coded(meaning: Meaning) -> dict[Path, dict[int, int]]:
    """Pixels of each code in every file."""
    return {
        path: {code_of(value): count for value, count in counts.items()}
        for path, counts in meaning.by_file.items()
    }


def classes_of_colors(proposal: Proposal, wishes: Wishes) -> dict[str, Any]:
    """Every colour is a class; those of a table have their names. What the table lacks or calls void is ignored."""
    meaning = proposal.meaning
    assert meaning is not None
    table = {} if wishes.given else wishes.colors
    nearest: dict[Color, Color] = {}
    if table:
        ordered, names = list(table), list(table.values())
        strange = _not_in_table(proposal, table)
    else:
        ordered, strange, nearest = _real_colors(proposal, wishes)
        names = _names_of_colors(proposal, ordered, wishes)
    pixels = {number: meaning.colors[color] for number, color in enumerate(ordered)}
    for number in sorted(
        set() if wishes.given else unlabelled_places(proposal.remarks, names, pixels), reverse=True
    ):
        strange.append(ordered.pop(number))
        names = names[:number] + names[number + 1 :]
    twice = Counter(names)
    names = [f"{name}_{number}" if twice[name] > 1 else name for number, name in enumerate(names)]
    proposal.colors = {color: number for number, color in enumerate(ordered)} | dict.fromkeys(
        strange, IGNORE
    )
    for color, real in nearest.items():
        proposal.colors[color] = proposal.colors[real]
    return {"classes": names, "colors": ordered}


def _not_in_table(proposal: Proposal, table: Mapping[Color, str]) -> list[Color]:
    """Colours that stand in no table.

    Raises:
        InputError: they are most of what the masks show.
    """
    assert proposal.meaning is not None
    colors = proposal.meaning.colors
    strange = [color for color in colors if color not in table]
    if not strange:
        return []
    share = sum(colors[color] for color in strange) / colors.total()
    left_out = plural(len(strange), "colour", "stands/stand in no table and is/are ignored")
    text = f"{left_out} ({100 * share:.3g} % of the pixels), e.g. {strange[0]}."
    if share > MOST_STRANGE:
        raise InputError(
            f"the table of colours does not fit the masks: {text} Correct it, or move it away."
        )
    proposal.remarks.append(text)
    return strange


def _real_colors(
    proposal: Proposal, wishes: Wishes
) -> tuple[list[Color], list[Color], dict[Color, Color]]:
    """Colours that are classes, black first and then by frequency; those that are ignored; those of blends of two."""
    assert proposal.meaning is not None
    colors = list(proposal.meaning.colors)
    blends = None
    if len(wishes.given) != len(colors):
        blends = blends_in(coded(proposal.meaning), 3, wishes)
    blended = [color for color in colors if blends and code_of(color) in blends.blended]
    nearest: dict[Color, Color] = {}
    if blends:
        note_blends(proposal, blends, 3)
        color_of = {code_of(color): color for color in colors}
        if len(blends.real) == 2:
            nearest = {
                color: color_of[nearest_real(code_of(color), blends.real, 3)] for color in blended
            }
    real = [color for color in colors if color not in set(blended)]
    if len(real) > MOST_CLASSES + 1:
        raise too_many(len(real), "colours")
    real.sort(key=lambda color: color != (0, 0, 0))
    return real, [] if nearest else blended, nearest


def _names_of_colors(proposal: Proposal, ordered: list[Color], wishes: Wishes) -> list[str]:
    if wishes.given and len(wishes.given) != len(ordered):
        shown = ", ".join(map(str, ordered[:8])) + (", …" if len(ordered) > 8 else "")
        names = plural(len(wishes.given), "class name")
        raise InputError(f"{names} for {plural(len(ordered), 'colour')} in the masks: {shown}.")
    if len(wishes.names) == len(ordered):
        return wishes.names
    proposal.remarks.append("Class names are invented from the colours: write the right ones.")
    return [
        "background" if color == (0, 0, 0) else "color_{:02x}{:02x}{:02x}".format(*color)
        for color in ordered
    ]
