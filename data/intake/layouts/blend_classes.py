"""What becomes of values that are blends: decided, put into the dataset's YAML, and said."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from encoder_ablations.data.datasets.sample import IGNORE
from encoder_ablations.data.intake.layouts import blending
from encoder_ablations.data.intake.layouts.blending import Blends
from encoder_ablations.data.intake.layouts.choices import Reading, Unsure, Wishes
from encoder_ablations.data.intake.layouts.proposal import Proposal
from encoder_ablations.utils.texts import plural


def blends_in(
    by_file: Mapping[Path, Mapping[int, int]], channels: int, wishes: Wishes
) -> Blends | None:
    """Values that are blends of others; None where there are none.

    Raises:
        Unsure: there are so few that they may be thin classes.
        InputError: there are so many that the files are no masks.
    """
    codes = {code for counts in by_file.values() for code in counts}
    if wishes.blends is False or len(codes) < 3 or max(codes) - min(codes) < blending.GAP:
        return None
    blends = blending.find_blends(by_file, channels)
    what = "values" if channels == 1 else "colours"
    if not wishes.blends:
        blending.refuse_pictures(blends, len(codes), what)
    if not blends.blended:
        return None
    if blends.sure or wishes.blends or len(wishes.names) == len(blends.real):
        return blends
    if len(wishes.names) == len(codes):
        return None
    shown = ", ".join(_shown(blends.blended, channels))
    raise Unsure(
        f"the {what} {shown} form no areas in the masks and only lie between other {what}.",
        [
            Reading(
                "they are blends along smoothed edges and no classes", "--blends", {"blends": True}
            ),
            Reading("they are thin classes", "--no-blends", {"blends": False}),
        ],
    )


def add_blends(proposal: Proposal, blends: Blends, content: dict[str, Any]) -> None:
    """Blends of two values count as the nearer one; of more, what a blend is made of is unknown: it is ignored."""
    meaning = proposal.meaning
    assert meaning is not None
    if blends.real == (0, IGNORE) and content["value_map"] == {0: 0, IGNORE: 1}:
        del content["value_map"]
        content["mask_format"] = "matte"
    else:
        table = content["value_map"]
        of_two = len(blends.real) == 2 and set(blends.real) <= set(table)
        for value in blends.blended:
            table[value] = table[blending.nearest_real(value, blends.real, 1)] if of_two else IGNORE
        content["value_map"] = dict(sorted(table.items()))
    note_blends(proposal, blends, 1)


def note_blends(proposal: Proposal, blends: Blends, channels: int) -> None:
    what = "value" if channels == 1 else "colour"
    shown = _shown(blends.blended, channels)
    named = ", ".join(shown) if len(shown) <= 6 else f"{', '.join(shown[:3])}, … {shown[-1]}"
    held = plural(
        len(shown),
        what,
        "never forms/form areas and is/are no class/classes, but blends along edges",
    )
    fate = "each counts as the nearer of the two real ones"
    if len(blends.real) > 2:
        fate = "they are ignored, as it is unknown which classes they blend; along such edges ids may be wrong, too"
    proposal.remarks.append(
        f"The real {what}s are {', '.join(_shown(blends.real[:8], channels))}{', …' if len(blends.real) > 8 else ''}. "
        f"{held}: {named} ({100 * blends.share:.3g} % of the pixels); {fate}. "
        "If they are classes: --no-blends."
    )


def _shown(codes: Sequence[int], channels: int) -> list[str]:
    rows = blending.unpack(codes, channels).tolist()
    return [str(row[0]) if channels == 1 else str(tuple(row)) for row in rows]
