"""What becomes of values that are blends: decided, put into the dataset's YAML, and said."""

from collections.abc import Mapping, Sequence

from encoder_ablations.data.intake.layouts import blending
from encoder_ablations.data.intake.layouts.blending import Blends
from encoder_ablations.data.intake.layouts.choices import Reading, Unsure, Wishes
from encoder_ablations.data.intake.layouts.codes import unpack
from encoder_ablations.data.intake.layouts.mask_values import Meaning
from encoder_ablations.data.intake.layouts.proposal import Proposal
from encoder_ablations.utils.texts import first_names, plural

NAMED = 6
"""Largest number of blended values that are all named."""
NOUNS = {1: "value", 3: "colour"}
"""What a code of one or of three channels is called."""


def blends_in(meaning: Meaning, wishes: Wishes) -> Blends | None:
    """Return which values or colours are blends of others; None where there are none.

    Raises:
        Unsure: there are so few that they may be thin classes.
        InputError: there are so many that the files are no masks.
    """
    codes = meaning.pixels
    if wishes.blends is False or len(wishes.names) == len(codes):
        return None
    if len(codes) < 3 or max(codes) - min(codes) < blending.GAP:
        return None
    blends = blending.find_blends(meaning)
    if not wishes.blends:
        blending.refuse_pictures(blends, len(codes), f"{NOUNS[meaning.channels]}s")
    if not blends.blended:
        return None
    # as many names as real values decide it, too
    if blends.sure or wishes.blends or len(wishes.names) == len(blends.real):
        return blends
    raise _doubt(blends, meaning.channels)


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


def nearest_classes(blends: Blends, classes: Mapping[int, int], channels: int) -> dict[int, int]:
    """Return the class of every blend, -1 = ignored.

    A blend of two values counts as the nearer one. Among more values it is unknown which ones it
    blends, so it is ignored.

    Args:
        blends: the blends.
        classes: class of each of the others.
        channels: 1 for values, 3 for colours.
    """
    if len(blends.real) > 2:
        return dict.fromkeys(blends.blended, -1)
    nearest = {code: blending.nearest_real(code, blends.real, channels) for code in blends.blended}
    return {code: classes.get(real, -1) for code, real in nearest.items()}


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
