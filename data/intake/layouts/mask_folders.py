"""Which files are the masks where images have several, decided by the values in the files."""

import os
from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import chain, combinations, islice, permutations
from pathlib import Path
from typing import TypeVar

from encoder_ablations.data.intake.layouts import relations
from encoder_ablations.data.intake.layouts.choices import Unsure, masks_reading
from encoder_ablations.data.intake.layouts.folder_names import kinds_meant
from encoder_ablations.data.intake.layouts.regions import view
from encoder_ablations.data.intake.layouts.relations import Kind
from encoder_ablations.data.intake.layouts.survey import (
    Candidate,
    Found,
    Layer,
    Source,
    Survey,
    survey_files,
)
from encoder_ablations.utils.errors import InputError

Each = TypeVar("Each")
LOOKED_AT = 16
"""Number of images whose masks of several kinds are compared."""
LAYERS = "one folder of masks for each class"


def survey_masks(root: Path, files: Iterable[Path], masks: Sequence[str] = ()) -> Survey:
    """Return pairs of images and masks; ``sources`` is empty where there are none.

    Args:
        root: the folder.
        files: all files below it.
        masks: the folder of the masks, or one folder for each class; empty where the values in
            the files decide.

    Raises:
        Unsure: the values allow several readings.
        InputError: ``masks`` names no folder of masks.
    """
    survey = survey_files(root, files, masks)
    if survey.found:
        _choose(survey, masks)
    return survey


def _choose(survey: Survey, masks: Sequence[str]) -> None:
    kinds = sorted(_examples(survey))
    if masks:
        _take_asked(survey, masks, kinds)
    elif len(kinds) == 1:
        _take(survey, kinds)
    elif all(len(found.masks) == 1 for found in survey.found):
        _require_no_classes(_mask_kinds(survey, kinds))
        _take(survey, kinds)
    else:
        _compare(survey, _mask_kinds(survey, kinds))


def _examples(survey: Survey) -> dict[str, Candidate]:
    """Return one file of each kind of masks."""
    return dict(chain.from_iterable(found.masks.items() for found in survey.found))


def _take_asked(survey: Survey, masks: Sequence[str], kinds: Sequence[str]) -> None:
    """Take the masks from the folders that the person named; several folders are classes."""
    meant = {name: kinds_meant(kinds, name) for name in masks}
    for name, found in meant.items():
        if not found:
            raise InputError(
                f"--masks {name}: no such folder holds masks; there are {', '.join(kinds)}."
            )
    every = list(chain.from_iterable(meant.values()))
    if len(masks) == 1:
        _take(survey, every)
    else:
        _stack(survey, every)


def _take(survey: Survey, kinds: Collection[str]) -> None:
    """Give each image its one mask of any of these kinds.

    Raises:
        Unsure: an image has several.
    """
    for found, own in _masks_of(survey, kinds):
        if len(own) > 1:
            readings = [masks_reading([each.kind], f"the masks are {each.kind}") for each in own]
            raise Unsure(f"{found.image.name} has {len(own)} masks.", readings)
        survey.sources.append(Source(found.id, found.split, found.image, own[0].path))


def _stack(survey: Survey, kinds: Sequence[str]) -> None:
    """Give each image all its files of several kinds, each of which shows a class.

    Args:
        survey: gets the sources.
        kinds: in the order of the classes.
    """
    examples = _examples(survey)
    survey.layout = LAYERS
    survey.classes = {kind: examples[kind].label for kind in kinds}
    for found, own in _masks_of(survey, kinds):
        layers = tuple(Layer(each.kind, each.path) for each in own)
        survey.sources.append(Source(found.id, found.split, found.image, None, layers))


def _masks_of(survey: Survey, kinds: Collection[str]) -> Iterator[tuple[Found, list[Candidate]]]:
    """Yield images with their masks of some kinds; images without any go to the survey."""
    for found in survey.found:
        own = found.masks_of(kinds)
        if own:
            yield found, own
        else:
            survey.without_mask.append(found.image)


def _compare(survey: Survey, kinds: list[Kind]) -> None:
    """Decide what several files for one image are: classes, or masks beside other things.

    Raises:
        Unsure: several kinds may be the masks.
    """
    binary = all(kind.binary for kind in kinds)
    if binary and len(kinds) > 1 and _most_overlap(kinds) <= relations.MOST_OVERLAP:
        _stack_classes(survey, kinds)
        return
    kinds = _without_renderings(survey, kinds)
    names = [kind.name for kind in kinds]
    if len(names) == 1:
        _take(survey, names)
        return
    readings = [masks_reading([kind.name], f"the masks hold {kind.describe()}") for kind in kinds]
    if binary:
        readings.append(masks_reading(names, "each folder shows a class: all are binary"))
    raise Unsure(
        "images have masks of several kinds, and their values do not tell which are meant.",
        readings,
    )


def _require_no_classes(kinds: Sequence[Kind]) -> None:
    """Check several folders of masks, where every image has a mask in one of them only.

    Raises:
        Unsure: all are binary: they may be classes, or merely order the files below one folder.
    """
    names = [kind.name for kind in kinds]
    above = os.path.commonpath(names)
    if not all(kind.binary for kind in kinds) or above in ("", *names) or "*" in "".join(names):
        return
    one_folder = "one mask for each image, folders have no meaning: no image has masks in two"
    raise Unsure(
        f"the masks in {', '.join(names)} hold two values each, and every image has a mask in one "
        "of them only.",
        [
            masks_reading(names, "each folder shows a class: its masks are binary"),
            masks_reading([above], one_folder),
        ],
    )


def _mask_kinds(survey: Survey, names: Sequence[str]) -> list[Kind]:
    """Return the kinds that are no pictures, with some of their files read.

    Raises:
        InputError: there are none.
    """
    # images with files of every kind say most about how the kinds are related
    most = max(len(found.masks) for found in survey.found)
    complete = [found for found in survey.found if len(found.masks) == most]
    kinds = []
    for name in names:
        kind = _look(name, [*_spread(complete), *survey.found])
        if kind.picture:
            survey.remarks.append(f"{name} is left out: these are pictures and no masks.")
        else:
            kinds.append(kind)
    if not kinds:
        raise InputError(
            f"none of {', '.join(names)} holds masks: they are photographs or cannot be read."
        )
    return kinds


def _look(name: str, found: Iterable[Found]) -> Kind:
    """Read some masks of a kind: those of the first images that have one."""
    own = {str(each.image): each.masks[name] for each in found if name in each.masks}
    views = {image: view(mask.path) for image, mask in islice(own.items(), LOOKED_AT)}
    return Kind(name, {image: seen for image, seen in views.items() if seen})


def _spread(every: Sequence[Each]) -> Sequence[Each]:
    """Return some of them, spread evenly over all."""
    return every[:: max(1, len(every) // LOOKED_AT)][:LOOKED_AT]


def _most_overlap(kinds: Sequence[Kind]) -> float:
    return max(relations.overlap(one, other) for one, other in combinations(kinds, 2))


def _stack_classes(survey: Survey, kinds: Sequence[Kind]) -> None:
    survey.remarks.append(
        "Folders are classes because each folder's masks hold two values and at most "
        f"{100 * _most_overlap(kinds):.0f} % of what two of them cover is covered by both. "
        "If not: --masks FOLDER."
    )
    examples = _examples(survey)
    _stack(survey, sorted((kind.name for kind in kinds), key=lambda name: examples[name].label))


def _without_renderings(survey: Survey, kinds: Sequence[Kind]) -> list[Kind]:
    """Leave out what only shows another kind's masks again or numbers its objects."""
    kept = list(kinds)
    for one, other in permutations(kinds, 2):
        reason = relations.reason_against(other, one)
        if reason and one in kept and other in kept:
            survey.remarks.append(f"{other.name} is left out: it {reason} {one.name}.")
            kept.remove(other)
    return kept
