"""Which classes the values of masks are, and what they are called."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from encoder_ablations.data.datasets.sample import IGNORE, WIDE_IGNORE
from encoder_ablations.data.intake.layouts.blend_classes import add_blends, blends_in
from encoder_ablations.data.intake.layouts.choices import Reading, Unsure, Wishes
from encoder_ablations.data.intake.layouts.codes import Color
from encoder_ablations.data.intake.layouts.color_classes import BLACK, classes_of_colors, coded
from encoder_ablations.data.intake.layouts.mask_values import (
    MOST_CLASSES,
    Meaning,
    class_values,
    too_many,
)
from encoder_ablations.data.intake.layouts.name_lists import unlabelled_places
from encoder_ablations.data.intake.layouts.proposal import Proposal
from encoder_ablations.data.intake.layouts.regions import View, numbers_in, view
from encoder_ablations.data.intake.layouts.relations import numbers_objects
from encoder_ablations.utils.errors import InputError
from encoder_ablations.utils.texts import plural

LONGEST_MAP = 300
"""Largest value map in a YAML; where it would be longer the masks are converted."""
LOOKED_AT = 8
"""Number of masks whose values are checked for being in one piece."""


def classes_of_masks(proposal: Proposal, wishes: Wishes) -> dict[str, Any]:
    """Return the part of the dataset's YAML that says what the masks hold.

    Remarks go to the proposal.

    Raises:
        Unsure: the values allow several readings.
        InputError: names and classes differ in number, or the files are no masks.
    """
    assert proposal.meaning is not None
    if wishes.objects:
        return _class_of_objects(proposal, proposal.meaning, wishes)
    if wishes.objects is None and not wishes.given:
        _require_classes(proposal.meaning)
    if proposal.meaning.colors:
        return classes_of_colors(proposal, wishes)
    return _classes_of_values(proposal, proposal.meaning, wishes)


def _require_classes(meaning: Meaning) -> None:
    """Check that the values name classes.

    Raises:
        Unsure: values or colours seem to number the objects of each image.
    """
    per_mask = [numbers_in(codes) for codes in coded(meaning).values()]
    if not numbers_objects(per_mask, _views(meaning)):
        return
    counts = sorted(map(len, per_mask))
    raise Unsure(
        "the masks seem to number objects and not to name classes: "
        f"{counts[0]} to {counts[-1]} values an image, nearly each in one piece.",
        [
            Reading("background and one class, the objects", "--objects", {"objects": True}),
            Reading("every value is a class all the same", "--no-objects", {"objects": False}),
        ],
    )


def _views(meaning: Meaning) -> list[View]:
    views = map(view, list(meaning.by_file)[:LOOKED_AT])
    return [seen for seen in views if seen is not None]


def _class_of_objects(proposal: Proposal, meaning: Meaning, wishes: Wishes) -> dict[str, Any]:
    """Return background and one class of whatever has a number."""
    names = wishes.given or ["background", "object"]
    if len(names) != 2:
        raise InputError(f"--objects makes two classes of the masks; --classes names {len(names)}.")
    proposal.remarks.append("The masks number objects: all are one class.")
    if meaning.colors:
        proposal.colors = {color: int(color != BLACK) for color in meaning.colors}
        return {"classes": names}
    numbers = set[int]().union(*map(numbers_in, coded(meaning).values()))
    table = {0: 0} | dict.fromkeys(sorted(numbers), 1)
    if len(table) > LONGEST_MAP:
        proposal.meaning = replace(meaning, convert=True)
    return {"classes": names, "value_map": table}


def _classes_of_values(proposal: Proposal, meaning: Meaning, wishes: Wishes) -> dict[str, Any]:
    """Return the classes that values are.

    Values whose name in a list means "not labelled" are ignored. Names from the person are all
    classes.
    """
    blends = blends_in(coded(meaning), 1, wishes)
    blended = set(blends.blended) if blends else set()
    real = list(meaning.values.keys() - blended)
    if len(real) > MOST_CLASSES + 1:
        raise too_many(len(real), "values")
    target, plain = _target(meaning, real, wishes)
    names = wishes.names
    _require_names(names, max(target.values()) + 1, meaning.values)
    if not names:
        names = _invented(target, plain)
        proposal.remarks.append("Class names are invented: write the right ones.")
    ignored = set() if wishes.given else _unlabelled(proposal, meaning, names, target)
    kept = [number for number in range(len(names)) if number not in ignored]
    content: dict[str, Any] = {"classes": [names[number] for number in kept]}
    # ids stay as they are where nothing but the last ones is ignored
    if plain and not blended and kept == list(range(len(kept))):
        content["ignore_ids"] = [IGNORE, *sorted(ignored)]
    else:
        content["value_map"] = _value_map(target, kept)
    _note_unlabelled(proposal, target, content)
    if blends:
        add_blends(proposal, blends, content)
    return content


def _value_map(target: Mapping[int, int], kept: Sequence[int]) -> dict[int, int]:
    """Return value -> class id, where classes that are not kept are ignored.

    Args:
        target: value -> number of its class among all.
        kept: numbers of the classes that stay.
    """
    places = {number: place for place, number in enumerate(kept)}
    return {value: places.get(number, IGNORE) for value, number in target.items()}


def _target(meaning: Meaning, real: list[int], wishes: Wishes) -> tuple[dict[int, int], bool]:
    """Return value -> class id, and whether values are class ids already."""
    order = None if wishes.given else _order_by_palette(meaning, wishes.colors)
    if order:
        return order, False
    return class_values(real, len(wishes.names))


def _order_by_palette(meaning: Meaning, table: Mapping[Color, str]) -> dict[int, int] | None:
    """Return value -> place of its palette's colour in the table of names.

    Without it a table that is not in the order of the values would name every class wrongly. The
    result is None where there is no table, or it lacks a colour, or it is in order.
    """
    places: dict[Color | None, int] = {color: number for number, color in enumerate(table)}
    order = {}
    for value in sorted(meaning.values):
        place = places.get(meaning.palette.get(value))
        if place is not None:
            order[value] = place
        elif value != IGNORE:
            return None
    if all(value == place for value, place in order.items()):
        return None
    return order


def _require_names(names: list[str], count: int, values: Mapping[int, int]) -> None:
    """Check that there is a name for every class.

    Raises:
        InputError: there are fewer names than classes.
    """
    if not names or len(names) >= count:
        return
    known = plural(len(names), "class name", "is/are known")
    hint = ""
    if count == len(names) + 1 and 0 in values:
        hint = (
            " If 0 is background put a name for it first, with --classes; if it is 'not labelled' "
            "call it void."
        )
    raise InputError(
        f"the masks show {plural(count, 'class')}, but only {known}: {', '.join(names)}.{hint}"
    )


def _invented(target: Mapping[int, int], plain: bool) -> list[str]:
    """Return names that say the value; two classes with 0 are background and foreground."""
    if len(set(target.values())) == 2 and target.get(0) == 0:
        return ["background", "foreground"]
    value_of = {number: number if plain else value for value, number in target.items()}
    return [f"class_{value_of[number]}" for number in sorted(value_of)]


def _unlabelled(
    proposal: Proposal, meaning: Meaning, names: list[str], target: Mapping[int, int]
) -> set[int]:
    """Return the class ids whose name means "not labelled"; remarks go to the proposal."""
    pixels: Counter[int] = Counter()
    for value, number in target.items():
        pixels[number] += meaning.values[value]
    return unlabelled_places(proposal.remarks, names, pixels)


def _note_unlabelled(
    proposal: Proposal, target: Mapping[int, int], content: dict[str, Any]
) -> None:
    """Add remarks that say which values are taken for "not labelled"."""
    assert proposal.meaning is not None
    values = proposal.meaning.values
    if WIDE_IGNORE in values and WIDE_IGNORE not in target:
        content["ignore_ids"] = [*content.get("ignore_ids", [IGNORE]), WIDE_IGNORE]
        proposal.remarks.append("65535 is taken for 'not labelled'.")
    if IGNORE in values and IGNORE not in target:
        share = 100 * values[IGNORE] / values.total()
        proposal.remarks.append(f"255 is taken for 'not labelled': {share:.3g} % of the pixels.")
