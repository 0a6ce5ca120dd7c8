"""Which classes the values or colours of masks are, and what they are called."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from encoder_ablations.data.datasets.sample import IGNORE, WIDE_IGNORE
from encoder_ablations.data.intake.layouts.blend_classes import (
    NOUNS,
    blends_in,
    nearest_classes,
    note_blends,
)
from encoder_ablations.data.intake.layouts.choices import Reading, Unsure, Wishes
from encoder_ablations.data.intake.layouts.codes import Color, code_of, color_of
from encoder_ablations.data.intake.layouts.mask_values import (
    MOST_CLASSES,
    Meaning,
    class_values,
    too_many,
)
from encoder_ablations.data.intake.layouts.name_lists import unlabelled_places
from encoder_ablations.data.intake.layouts.proposal import Proposal
from encoder_ablations.data.intake.layouts.regions import numbers_in, view
from encoder_ablations.data.intake.layouts.relations import numbers_objects
from encoder_ablations.utils.errors import InputError
from encoder_ablations.utils.texts import first_names, plural

LONGEST_MAP = 300
"""Largest value map in a YAML; where it would be longer the masks are converted."""
LOOKED_AT = 8
"""Number of masks whose values are checked for being in one piece."""
MOST_STRANGE = 0.5
"""Largest share of the pixels whose colours stand in no table."""
MATTE = {0: 0, IGNORE: 1}
BLACK = 0
"""The code of black."""


@dataclass
class _Classes:
    """The classes that codes are.

    Attributes:
        target: code -> number of its class.
        names: of the classes.
        plain: whether values are class ids already.
        matte: whether values are those of an alpha matte.
    """

    target: dict[int, int]
    names: list[str]
    plain: bool = False
    matte: bool = False


def classes_of_masks(proposal: Proposal, wishes: Wishes) -> dict[str, Any]:
    """Return the part of the dataset's YAML that says what the masks hold.

    Names that mean "not labelled" are no classes, unless the person gave them. The proposal gets
    remarks, and the class id of every colour.

    Raises:
        Unsure: the values allow several readings.
        InputError: names and classes differ in number, or the files are no masks.
    """
    meaning = proposal.studied
    if wishes.objects:
        return _class_of_objects(proposal, meaning, wishes)
    if wishes.objects is None and not wishes.given:
        _require_classes(meaning)
    found = _find(proposal, meaning, wishes)
    kept = list(range(len(found.names)))
    if not wishes.given:
        pixels: Counter[int] = Counter()
        for code, number in found.target.items():
            pixels[number] += meaning.pixels[code]
        ignored = unlabelled_places(proposal.remarks, found.names, pixels)
        kept = [number for number in kept if number not in ignored]
    return _content(proposal, found, kept)


def _find(proposal: Proposal, meaning: Meaning, wishes: Wishes) -> _Classes:
    if meaning.channels == 3 and wishes.colors and not wishes.given:
        return _from_table(proposal, meaning, wishes.colors)
    blends = blends_in(meaning, wishes)
    if blends is None:
        return _from_codes(proposal, meaning, wishes, set(meaning.pixels))
    found = _from_codes(proposal, meaning, wishes, meaning.pixels.keys() - set(blends.blended))
    found.plain = False
    found.matte = blends.real == (0, IGNORE) and found.target == MATTE
    found.target |= nearest_classes(blends, found.target, meaning.channels)
    note_blends(proposal, blends, meaning.channels)
    return found


def _content(proposal: Proposal, found: _Classes, kept: list[int]) -> dict[str, Any]:
    """Return the part of the YAML that says what codes are; colours go to the proposal.

    Args:
        proposal: gets the remarks.
        found: all classes.
        kept: numbers of those that stay; the others are ignored.
    """
    pixels = proposal.studied.pixels
    # the classes that stay are numbered anew
    places = {number: place for place, number in enumerate(kept)}
    table = {code: places.get(number, IGNORE) for code, number in found.target.items()}
    content: dict[str, Any] = {"classes": [found.names[number] for number in kept]}
    if proposal.studied.channels == 3:
        proposal.colors = dict.fromkeys(pixels, IGNORE) | table
        # of several colours of a class the first one is shown
        first = {number: code for code, number in reversed(found.target.items())}
        return content | {"colors": [color_of(first[number]) for number in kept]}
    # ids stay as they are where nothing but the last ones is ignored
    if found.plain and kept == list(range(len(kept))):
        content["ignore_ids"] = [IGNORE, *range(len(kept), len(found.names))]
    elif found.matte:
        content["mask_format"] = "matte"
    else:
        content["value_map"] = dict(sorted(table.items()))
    _note_unlabelled(proposal, pixels.keys() - table.keys(), content)
    return content


def _require_classes(meaning: Meaning) -> None:
    """Check that the values name classes.

    Raises:
        Unsure: values or colours seem to number the objects of each image.
    """
    per_mask = list(map(numbers_in, meaning.by_file.values()))
    views = filter(None, map(view, list(meaning.by_file)[:LOOKED_AT]))
    if not numbers_objects(per_mask, list(views)):
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


def _class_of_objects(proposal: Proposal, meaning: Meaning, wishes: Wishes) -> dict[str, Any]:
    """Return background and one class of whatever has a number."""
    names = wishes.given or ["background", "object"]
    if len(names) != 2:
        raise InputError(f"--objects makes two classes of the masks; --classes names {len(names)}.")
    proposal.remarks.append("The masks number objects: all are one class.")
    if meaning.channels == 3:
        proposal.colors = dict.fromkeys(meaning.pixels, 1) | {BLACK: 0}
        return {"classes": names}
    numbers = set[int]().union(*map(numbers_in, meaning.by_file.values()))
    table = {0: 0} | dict.fromkeys(sorted(numbers), 1)
    if len(table) > LONGEST_MAP:
        proposal.meaning = replace(meaning, convert=True)
    return {"classes": names, "value_map": table}


def _from_table(proposal: Proposal, meaning: Meaning, table: Mapping[Color, str]) -> _Classes:
    """Return the classes of a table: colours of one name are one, and others are ignored.

    Raises:
        InputError: these are most of what the masks show.
    """
    names = list(dict.fromkeys(table.values()))
    target = {code_of(color): names.index(name) for color, name in table.items()}
    strange = [code for code in meaning.pixels if code not in target]
    if strange:
        share = sum(meaning.pixels[code] for code in strange) / meaning.pixels.total()
        left_out = plural(len(strange), "colour", "stands/stand in no table and is/are ignored")
        example = color_of(strange[0])
        text = f"{left_out} ({100 * share:.3g} % of the pixels), e.g. {example}."
        if share > MOST_STRANGE:
            raise InputError(
                f"the table of colours does not fit the masks: {text} Correct it, or move it away."
            )
        proposal.remarks.append(text)
    return _Classes(target, names)


def _from_codes(proposal: Proposal, meaning: Meaning, wishes: Wishes, real: set[int]) -> _Classes:
    """Return the classes that values or colours are.

    Args:
        proposal: gets the remarks.
        meaning: of the masks.
        wishes: the names, if they are known.
        real: all codes that are no blends.

    Raises:
        InputError: there are too many, or fewer names than classes.
    """
    if len(real) > MOST_CLASSES + 1:
        raise too_many(len(real), f"{NOUNS[meaning.channels]}s")
    if meaning.channels == 3:
        return _from_colors(proposal, [code for code in meaning.pixels if code in real], wishes)
    target, plain = _order_by_palette(meaning, wishes), False
    if not target:
        target, plain = class_values(real, len(wishes.names))
    _require_names(wishes.names, max(target.values()) + 1, meaning.pixels)
    if wishes.names:
        return _Classes(target, wishes.names, plain)
    proposal.remarks.append("Class names are invented: write the right ones.")
    return _Classes(target, _invented(target, plain), plain)


def _from_colors(proposal: Proposal, codes: list[int], wishes: Wishes) -> _Classes:
    """Return a class for each colour: black first, then by frequency."""
    codes.sort(key=lambda code: code != BLACK)
    target = {code: number for number, code in enumerate(codes)}
    if len(wishes.names) == len(codes):
        return _Classes(target, wishes.names)
    if wishes.given:
        names = plural(len(wishes.given), "class name")
        colors = first_names(list(map(color_of, codes)), 8)
        raise InputError(f"{names} for {plural(len(codes), 'colour')} in the masks: {colors}.")
    proposal.remarks.append("Class names are invented from the colours: write the right ones.")
    invented = {code: f"color_{code:06x}" for code in codes}
    names_of = invented | {BLACK: "background"}
    return _Classes(target, [names_of[code] for code in codes])


def _order_by_palette(meaning: Meaning, wishes: Wishes) -> dict[int, int]:
    """Return value -> place of its palette's colour in the table of names.

    Without it a table that is not in the order of the values would name every class wrongly. The
    result is empty where there is no table, or it lacks a colour, or it is in order.
    """
    places = {code_of(color): number for number, color in enumerate(wishes.colors)}
    palette = sorted(meaning.palette.items())
    order = {value: places[code] for value, code in palette if code in places}
    complete = meaning.pixels.keys() - {IGNORE} <= order.keys()
    if wishes.given or not complete or list(order) == list(order.values()):
        return {}
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
    value_of = {number: value for value, number in target.items()}
    if plain:
        value_of = {number: number for number in value_of}
    if len(value_of) == 2 and target.get(0) == 0:
        return ["background", "foreground"]
    return [f"class_{value_of[number]}" for number in sorted(value_of)]


def _note_unlabelled(proposal: Proposal, unlabelled: set[int], content: dict[str, Any]) -> None:
    """Add remarks that say which values are taken for "not labelled"."""
    if WIDE_IGNORE in unlabelled:
        content["ignore_ids"] = [*content.get("ignore_ids", [IGNORE]), WIDE_IGNORE]
        proposal.remarks.append("65535 is taken for 'not labelled'.")
    if IGNORE in unlabelled:
        pixels = proposal.studied.pixels
        share = 100 * pixels[IGNORE] / pixels.total()
        proposal.remarks.append(f"255 is taken for 'not labelled': {share:.3g} % of the pixels.")
