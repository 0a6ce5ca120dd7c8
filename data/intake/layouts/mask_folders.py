"""Which files are the masks, where images have several: decided by the values in them, never by names alone."""

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import combinations, permutations
from pathlib import Path

import numpy as np

from encoder_ablations.data.intake.layouts import relations
from encoder_ablations.data.intake.layouts.choices import Reading, Unsure
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

LOOKED_AT = 16
"""Images whose masks of several kinds are compared."""
LAYERS = "one folder of masks for each class"


def survey_masks(root: Path, files: Iterable[Path], masks: Sequence[str] = ()) -> Survey:
    """Pairs of images and masks; an empty ``sources`` where there are none.

    Args:
        masks: the folder of the masks, or one folder for each class; empty where their values shall decide.

    Raises:
        Unsure: the values allow several readings.
        InputError: ``masks`` names no folder of masks.
    """
    survey = survey_files(root, files, masks)
    if survey.found:
        _choose(survey, masks)
    return survey


def _choose(survey: Survey, masks: Sequence[str]) -> None:
    kinds = Counter(each.kind for found in survey.found for each in found.masks)
    if masks:
        _as_asked(survey, masks, kinds)
    elif len(kinds) == 1:
        _take(survey, kinds)
    elif all(len(found.masks) == 1 for found in survey.found):
        _require_no_classes(survey, kinds)
        _take(survey, kinds)
    else:
        _compare(survey, [name for name, _ in sorted(kinds.items())])


def _as_asked(survey: Survey, masks: Sequence[str], kinds: Iterable[str]) -> None:
    """What the person said: one folder holds all masks; of several each holds those of a class."""
    for name in masks:
        if not kinds_meant(kinds, name):
            raise InputError(
                f"--masks {name}: no such folder holds masks; there are {', '.join(sorted(kinds))}."
            )
    if len(masks) == 1:
        _take(survey, kinds_meant(kinds, masks[0]))
        return
    label_of = {each.kind: each for found in survey.found for each in found.masks}
    _stack(survey, [label_of[kind] for name in masks for kind in kinds_meant(kinds, name)])


def _take(survey: Survey, kinds: Iterable[str]) -> None:
    """One mask for each image, of any of these kinds."""
    wanted = set(kinds)
    for found in survey.found:
        own = [each for each in found.masks if each.kind in wanted]
        if len(own) > 1:
            names = sorted({each.kind for each in own})
            raise Unsure(
                f"{found.image.name} has {len(own)} masks.", [_folder(name, "") for name in names]
            )
        if own:
            survey.sources.append(Source(found.id, found.split, found.image, own[0].path))
        else:
            survey.without_mask.append(found.image)


def _stack(survey: Survey, examples: Sequence[Candidate]) -> None:
    """The files of several kinds together: each shows a class.

    Args:
        examples: a file of each kind, in the order of the classes.
    """
    survey.layout = LAYERS
    times = Counter(mask.label for mask in examples)
    label_of = {mask.kind: mask.label if times[mask.label] == 1 else mask.kind for mask in examples}
    survey.classes = list(label_of.values())
    for found in survey.found:
        layers = tuple(
            Layer(label_of[each.kind], each.path) for each in found.masks if each.kind in label_of
        )
        if layers:
            survey.sources.append(Source(found.id, found.split, found.image, None, layers))
        else:
            survey.without_mask.append(found.image)


def _require_no_classes(survey: Survey, names: Iterable[str]) -> None:
    """Every image has one mask, yet they lie in several folders.

    Raises:
        Unsure: all are binary: the folders may be classes, or merely order the files.
    """
    labels = {each.kind: each.label for found in survey.found for each in found.masks}
    kinds = [
        _look(name, [found for found in survey.found if found.masks[0].kind == name])
        for name in names
    ]
    if len(set(labels.values())) == 1 or not all(kind.binary and kind.views for kind in kinds):
        return
    shown = sorted(labels)
    above = _common_folder(shown)
    if above is None:
        return
    raise Unsure(
        f"the masks in {', '.join(shown)} hold two values each, and every image has a mask in one of them only.",
        [
            _classes(shown, "each folder shows a class: its masks are binary"),
            _folder(
                above, "one mask for each image, folders have no meaning: no image has masks in two"
            ),
        ],
    )


def _common_folder(names: Sequence[str]) -> str | None:
    """The folder that all kinds lie in; None where there is none or the kinds differ by file names."""
    first = names[0].split("/")[0]
    return (
        first if all(name.startswith(f"{first}/") and "*" not in name for name in names) else None
    )


def _folder(name: str, text: str) -> Reading:
    return Reading(text or f"the masks are {name}", f"--masks {_quoted(name)}", {"masks": (name,)})


def _classes(names: Sequence[str], text: str) -> Reading:
    return Reading(text, f"--masks {' '.join(map(_quoted, names))}", {"masks": tuple(names)})


def _quoted(name: str) -> str:
    return f"'{name}'" if "*" in name or " " in name else name


def _look(name: str, found: Iterable[Found]) -> Kind:
    """Reads the masks of a kind that belong to some images."""
    kind = Kind(name)
    own = [(each.image, mask) for each in found for mask in each.masks if mask.kind == name]
    for image, mask in own[:LOOKED_AT]:
        seen = view(mask.path)
        if seen is not None:
            kind.views[str(image)] = seen
    return kind


def _compare(survey: Survey, names: Sequence[str]) -> None:
    """Images have several files each: folders of classes, or one kind of mask beside other things."""
    several = [found for found in survey.found if len(found.masks) > 1]
    most = max(len(found.masks) for found in several)
    # images with files of every kind say most about how the kinds hang together
    complete = [found for found in several if len(found.masks) == most]
    sample = [*_spread(complete, LOOKED_AT // 2), *_spread(several, LOOKED_AT // 2)]
    kinds = []
    for name in names:
        kind = _look(name, [*sample, *_spread(survey.found, LOOKED_AT)])
        if kind.views and not kind.picture:
            kinds.append(kind)
        else:
            survey.remarks.append(f"{name} is left out: these are pictures and no masks.")
    if not kinds:
        raise InputError(
            f"none of {', '.join(names)} holds masks: they are photographs or cannot be read."
        )
    if len(kinds) > 1 and _are_classes(kinds):
        _remember_classes(survey, kinds)
        return
    kinds = _without_renderings(survey, kinds)
    if len(kinds) > 1:
        readings = [_folder(kind.name, f"the masks hold {kind.describe()}") for kind in kinds]
        if all(kind.binary for kind in kinds):
            readings.append(
                _classes([kind.name for kind in kinds], "each folder shows a class: all are binary")
            )
        raise Unsure(
            "images have masks of several kinds, and their values do not tell which are meant.",
            readings,
        )
    _take(survey, [kinds[0].name])


def _spread(found: Sequence[Found], count: int) -> Sequence[Found]:
    """At most so many, evenly over all."""
    return found[:: max(1, len(found) // count)][:count]


def _are_classes(kinds: Sequence[Kind]) -> bool:
    """Whether each kind shows a class: masks of two values that hardly cover the same pixels."""
    if not all(kind.binary for kind in kinds):
        return False
    return all(
        relations.overlap(one, other) <= relations.MOST_OVERLAP
        for one, other in combinations(kinds, 2)
    )


def _remember_classes(survey: Survey, kinds: Sequence[Kind]) -> None:
    labels = {mask.kind: mask for found in survey.found for mask in found.masks}
    most = max(relations.overlap(one, other) for one, other in combinations(kinds, 2))
    survey.remarks.append(
        f"Folders are classes because each folder's masks hold two values and at most {100 * most:.0f} % of what two "
        f"of them cover is covered by both. If not: --masks FOLDER."
    )
    _stack(survey, sorted((labels[kind.name] for kind in kinds), key=lambda mask: mask.label))


def _without_renderings(survey: Survey, kinds: list[Kind]) -> list[Kind]:
    """Leaves out, one by one, what only shows another kind's masks again or numbers its objects."""
    official = [kind for kind in kinds if "trainids" in kind.name.lower()]
    if len(official) == 1:
        others = ", ".join(kind.name for kind in kinds if kind is not official[0])
        survey.remarks.append(
            f"{others}: left out, {official[0].name} holds the ids that are trained on."
        )
        return official
    kept = list(kinds)
    changed = True
    while changed:
        changed = False
        for one, other in permutations(kept, 2):
            reason = _reason_against(other, one)
            if reason:
                survey.remarks.append(f"{other.name} is left out: it {reason} {one.name}.")
                kept.remove(other)
                changed = True
                break
    return kept


def _reason_against(other: Kind, one: Kind) -> str:
    """Why a kind is no mask of its own beside ``one``; empty where it may be."""
    tables = relations.joint(other, one)
    if not tables:
        return ""
    together = relations.pooled(tables)
    finer = all(map(relations.tells, tables))
    finer_everywhere = relations.tells(together)
    coarser = relations.tells(relations.turned(together))
    if one.named_objects and not other.named_objects:
        return ""
    if finer_everywhere and coarser:
        later = (other.named_objects, other.color, other.name) > (
            one.named_objects,
            one.color,
            one.name,
        )
        return "shows the same as" if later else ""
    if finer and not finer_everywhere and (other.named_objects or not coarser):
        return "numbers objects (a value means something else in every image) within the classes of"
    if finer_everywhere and relations.encodes(together):
        return "holds class and object number in one, of the classes of"
    if finer_everywhere and (other.named_objects or _counts(other)):
        return "numbers the objects of"
    if coarser and other.color and not one.color and not _counts(one):
        return "shows in colours what is in"
    return ""


def _counts(kind: Kind) -> bool:
    per_mask = [set(np.unique(each.codes).tolist()) - {0, 255} for each in kind.views.values()]
    return relations.numbers_objects(per_mask, lambda: list(kind.views.values()))
