"""What becomes of values that are blends: decided, put into the dataset's YAML, and said."""

from collections.abc import Sequence
from typing import Any

from encoder_ablations.data.datasets.sample import IGNORE
from encoder_ablations.data.intake.layouts import blending
from encoder_ablations.data.intake.layouts.blending import Blends, ByFile
from encoder_ablations.data.intake.layouts.choices import Reading, Unsure, Wishes
from encoder_ablations.data.intake.layouts.codes import unpack
from encoder_ablations.data.intake.layouts.proposal import Proposal
from encoder_ablations.utils.texts import first_names, plural

NAMED = 6
"""Largest number of blended values that are all named."""
NOUNS = {1: "value", 3: "colour"}
"""What a code of one or of three channels is called."""


def blends_in(by_file: ByFile, channels: int, wishes: Wishes) -> Blends | None:
    """Return which values are blends of others; None where there are none.

    Args:
        by_file: pixels of each code in every file.
        channels: 1 for values, 3 for colours.

    Raises:
        Unsure: there are so few that they may be thin classes.
        InputError: there are so many that the files are no masks.
    """
    codes = set[int]().union(*by_file.values())
    if wishes.blends is False or len(codes) < 3 or max(codes) - min(codes) < blending.GAP:
        return None
    blends = blending.find_blends(by_file, channels)
    if not wishes.blends:
        blending.refuse_pictures(blends, len(codes), f"{NOUNS[channels]}s")
    if not blends.blended:
        return None
    # as many names as real values, or as all values, decide it, too
    if blends.sure or wishes.blends or len(wishes.names) == len(blends.real):
        return blends
    if len(wishes.names) == len(codes):
        return None
    raise _doubt(blends, channels)


def _doubt(blends: Blends, channels: int) -> Unsure:
    what = f"{NOUNS[channels]}s"
    shown = ", ".join(_shown(blends.blended, channels))
    return Unsure(
        f"the {what} {shown} form no areas in the masks and only lie between other {what}.",
        [
            Reading(
                "they are blends along smoothed edges and no classes", "--blends", {"blends": True}
            ),
            Reading("they are thin classes", "--no-blends", {"blends": False}),
        ],
    )


def add_blends(proposal: Proposal, blends: Blends, content: dict[str, Any]) -> None:
    """Add what blends count as to the YAML's content, and a remark to the proposal.

    A blend of two values counts as the nearer one. Among more values it is unknown which ones it
    blends, so it is ignored.
    """
    table = content["value_map"]
    if blends.real == (0, IGNORE) and table == {0: 0, IGNORE: 1}:
        del content["value_map"]
        content["mask_format"] = "matte"
    else:
        of_two = len(blends.real) == 2 and set(blends.real) <= set(table)
        for value in blends.blended:
            table[value] = IGNORE
            if of_two:
                table[value] = table[blending.nearest_real(value, blends.real, 1)]
        content["value_map"] = dict(sorted(table.items()))
    note_blends(proposal, blends, 1)


def note_blends(proposal: Proposal, blends: Blends, channels: int) -> None:
    """Add a remark to the proposal: which values are blends, and what they count as."""
    what = NOUNS[channels]
    real, blended = _shown(blends.real, channels), _shown(blends.blended, channels)
    if len(blended) > NAMED:
        blended[3:] = [f"… {blended[-1]}"]
    held = plural(
        len(blends.blended),
        what,
        "never forms/form areas and is/are no class/classes, but blends along edges",
    )
    fate = "each counts as the nearer of the two real ones"
    if len(blends.real) > 2:
        fate = (
            "they are ignored, as it is unknown which classes they blend; along such edges ids "
            "may be wrong, too"
        )
    proposal.remarks.append(
        f"The real {what}s are {first_names(real, 8)}. {held}: {', '.join(blended)} "
        f"({100 * blends.share:.3g} % of the pixels); {fate}. If they are classes: --no-blends."
    )


def _shown(codes: Sequence[int], channels: int) -> list[str]:
    rows = unpack(codes, channels).tolist()
    if channels == 1:
        return [str(value) for (value,) in rows]
    return [str(tuple(row)) for row in rows]
