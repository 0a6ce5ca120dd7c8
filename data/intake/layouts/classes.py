"""Which classes the values of masks are, and what they are called."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from encoder_ablations.data.datasets.sample import IGNORE, WIDE_IGNORE
from encoder_ablations.data.intake.layouts.blend_classes import add_blends, blends_in
from encoder_ablations.data.intake.layouts.choices import Reading, Unsure, Wishes
from encoder_ablations.data.intake.layouts.color_classes import classes_of_colors, coded
from encoder_ablations.data.intake.layouts.mask_values import (
    MOST_CLASSES,
    Meaning,
    class_values,
    too_many,
)
from encoder_ablations.data.intake.layouts.name_lists import unlabelled_places
from encoder_ablations.data.intake.layouts.proposal import Proposal
from encoder_ablations.data.intake.layouts.regions import view
from encoder_ablations.data.intake.layouts.relations import numbers_objects
from encoder_ablations.utils.errors import InputError
from encoder_ablations.utils.texts import plural

LONGEST_MAP = 300
"""Entries of a value map in a YAML; of more the masks are converted."""
LOOKED_AT = 8


def classes_of_masks(proposal: Proposal, wishes: Wishes) -> dict[str, Any]:
    """The part of the dataset's YAML that says what the masks hold; remarks go to the proposal.

    Raises:
        Unsure: the values allow several readings.
        InputError: names and classes differ in number, or the masks are none.
    """
    assert proposal.meaning is not None
    if wishes.objects:
        return _class_of_objects(proposal, wishes)
    if wishes.objects is None and not wishes.given:
        _require_classes(proposal.meaning)
    if proposal.meaning.colors:
        return classes_of_colors(proposal, wishes)
    return _classes_of_values(proposal, wishes)


def _require_classes(meaning: Meaning) -> None:
    """
    Raises:
        Unsure: values or colours seem to number the objects of each image.
    """
    per_mask = [_numbers(codes) for codes in coded(meaning).values()]
    sample = list(meaning.by_file)[:LOOKED_AT]
    if numbers_objects(per_mask, lambda: [seen for seen in map(view, sample) if seen is not None]):
        counts = sorted(map(len, per_mask))
        raise Unsure(
            "the masks seem to number objects and not to name classes: "
            f"{counts[0]} to {counts[-1]} values an image, nearly each in one piece.",
            [
                Reading("background and one class, the objects", "--objects", {"objects": True}),
                Reading("every value is a class all the same", "--no-objects", {"objects": False}),
            ],
        )


def _numbers(codes: Iterable[int]) -> set[int]:
    """Without 0; without 255 where that is "not labelled" and no number like 254."""
    found = set(codes) - {0}
    return found if IGNORE - 1 in found else found - {IGNORE}


def _class_of_objects(proposal: Proposal, wishes: Wishes) -> dict[str, Any]:
    """Background and one class: whatever has a number."""
    meaning = proposal.meaning
    assert meaning is not None
    names = wishes.given or ["background", "object"]
    if len(names) != 2:
        raise InputError(f"--objects makes two classes of the masks; --classes names {len(names)}.")
    proposal.remarks.append("The masks number objects: all are one class.")
    if meaning.colors:
        proposal.colors = {color: int(color != (0, 0, 0)) for color in meaning.colors}
        return {"classes": names}
    numbers = set[int]().union(*(_numbers(codes) for codes in coded(meaning).values()))
    table = {0: 0} | dict.fromkeys(sorted(numbers), 1)
    if len(table) > LONGEST_MAP:
        proposal.meaning = replace(meaning, convert=True)
    return {"classes": names, "value_map": table}


def _classes_of_values(proposal: Proposal, wishes: Wishes) -> dict[str, Any]:
    """Values of a list's names for "not labelled" are ignored; names that the person gave are classes."""
    meaning = proposal.meaning
    assert meaning is not None
    blends = blends_in(coded(meaning), 1, wishes)
    blended = set(blends.blended) if blends else set()
    real = [value for value in meaning.values if value not in blended]
    if len(real) > MOST_CLASSES + 1:
        raise too_many(len(real), "values")
    names, order = wishes.names, _order_by_palette(meaning, wishes)
    target, plain = (order, False) if order else class_values(real, len(names))
    _require_names(names, max(target.values()) + 1, meaning.values)
    if not names:
        names = _invented(target, plain)
        proposal.remarks.append("Class names are invented: write the right ones.")
    pixels: Counter[int] = Counter()
    for value, number in target.items():
        pixels[number] += meaning.values[value]
    ignored = set() if wishes.given else unlabelled_places(proposal.remarks, names, pixels)
    kept = [number for number in range(len(names)) if number not in ignored]
    content: dict[str, Any] = {"classes": [names[number] for number in kept]}
    if plain and not blended and kept == list(range(len(kept))):
        content["ignore_ids"] = [IGNORE, *sorted(ignored)]
    else:
        places = {number: place for place, number in enumerate(kept)} | dict.fromkeys(
            ignored, IGNORE
        )
        content["value_map"] = {value: places[number] for value, number in target.items()}
    _note_unlabelled(proposal, target, content, ignored)
    if blends:
        add_blends(proposal, blends, content)
    return content


def _order_by_palette(meaning: Meaning, wishes: Wishes) -> dict[int, int] | None:
    """Value -> place of its palette's colour in the table of names; None where the table lacks one, or none is there.

    Without it a table that is not in the order of the values would name every class wrongly.
    """
    if wishes.given or not wishes.colors or not meaning.palette:
        return None
    places = {color: number for number, color in enumerate(wishes.colors)}
    values = [
        value for value in meaning.values if value != IGNORE or meaning.palette.get(value) in places
    ]
    if not all(meaning.palette.get(value) in places for value in values):
        return None
    order = {value: places[meaning.palette[value]] for value in sorted(values)}
    return None if all(value == place for value, place in order.items()) else order


def _require_names(names: list[str], count: int, values: Mapping[int, int]) -> None:
    """
    Raises:
        InputError: there are fewer names than classes.
    """
    if not names or len(names) >= count:
        return
    known = plural(len(names), "class name", "is/are known")
    hint = ""
    if count == len(names) + 1 and 0 in values:
        hint = " If 0 is background put a name for it first, with --classes; if it is 'not labelled' call it void."
    raise InputError(
        f"the masks show {plural(count, 'class')}, but only {known}: {', '.join(names)}.{hint}"
    )


def _invented(target: Mapping[int, int], plain: bool) -> list[str]:
    """Names that say the value, unless there are but two and one is 0."""
    if len(set(target.values())) == 2 and target.get(0) == 0:
        return ["background", "foreground"]
    value_of = {number: number if plain else value for value, number in target.items()}
    return [f"class_{value_of[number]}" for number in sorted(value_of)]


def _note_unlabelled(
    proposal: Proposal, target: Mapping[int, int], content: dict[str, Any], ignored: set[int]
) -> None:
    """Says which values are taken for "not labelled"."""
    assert proposal.meaning is not None
    values = proposal.meaning.values
    if WIDE_IGNORE in values and WIDE_IGNORE not in target:
        content["ignore_ids"] = [
            IGNORE,
            *sorted(ignored if "value_map" not in content else ()),
            WIDE_IGNORE,
        ]
        proposal.remarks.append("65535 is taken for 'not labelled'.")
    if IGNORE in values and IGNORE not in target:
        share = 100 * values[IGNORE] / values.total()
        proposal.remarks.append(f"255 is taken for 'not labelled': {share:.3g} % of the pixels.")
