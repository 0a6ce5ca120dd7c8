"""Which files are the masks where images have several, decided by the values in the files."""

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import chain, combinations, permutations
from pathlib import Path

from encoder_ablations.data.intake.layouts import relations
from encoder_ablations.data.intake.layouts.choices import Unsure, masks_reading
from encoder_ablations.data.intake.layouts.codes import add_counts
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
"""Number of images whose masks of several kinds are compared."""
LAYERS = "one folder of masks for each class"


def survey_masks(root: Path, files: Iterable[Path], masks: Sequence[str] = ()) -> Survey:
    """Return pairs of images and masks; ``sources`` is empty where there are none.

    Args:
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
    kinds = list(_examples(survey))
    if masks:
        _as_asked(survey, masks, kinds)
    elif len(kinds) == 1:
        _take(survey, kinds)
    elif all(len(found.masks) == 1 for found in survey.found):
        _require_no_classes(survey, kinds)
        _take(survey, kinds)
    else:
        _compare(survey, sorted(kinds))


def _examples(survey: Survey) -> dict[str, Candidate]:
    """Return one file of each kind of masks."""
    return {mask.kind: mask for mask in chain.from_iterable(each.masks for each in survey.found)}


def _as_asked(survey: Survey, masks: Sequence[str], kinds: Sequence[str]) -> None:
    """Take the masks from the folders that the person named; several folders are classes."""
    meant = {name: kinds_meant(kinds, name) for name in masks}
    for name, found in meant.items():
        if not found:
            raise InputError(
                f"--masks {name}: no such folder holds masks; there are {', '.join(sorted(kinds))}."
            )
    if len(masks) == 1:
        _take(survey, meant[masks[0]])
        return
    examples = _examples(survey)
    _stack(survey, [examples[kind] for name in masks for kind in meant[name]])


def _take(survey: Survey, kinds: Iterable[str]) -> None:
    """Give each image its one mask of any of these kinds.

    Raises:
        Unsure: an image has several.
    """
    wanted = set(kinds)
    for found in survey.found:
        own = [each for each in found.masks if each.kind in wanted]
        if not own:
            survey.without_mask.append(found.image)
            continue
        if len(own) > 1:
            names = sorted({each.kind for each in own})
            readings = [masks_reading([name], f"the masks are {name}") for name in names]
            raise Unsure(f"{found.image.name} has {len(own)} masks.", readings)
        survey.sources.append(Source(found.id, found.split, found.image, own[0].path))


def _stack(survey: Survey, examples: Sequence[Candidate]) -> None:
    """Give each image all its files of several kinds, each of which shows a class.

    Args:
        examples: a file of each kind, in the order of the classes.
    """
    times = Counter(mask.label for mask in examples)
    # classes of one name are told apart by their whole path
    name_of = {mask.kind: mask.label if times[mask.label] == 1 else mask.kind for mask in examples}
    survey.layout = LAYERS
    survey.classes = list(name_of.values())
    for found in survey.found:
        own = [each for each in found.masks if each.kind in name_of]
        if own:
            layers = tuple(Layer(name_of[each.kind], each.path) for each in own)
            survey.sources.append(Source(found.id, found.split, found.image, None, layers))
        else:
            survey.without_mask.append(found.image)


def _require_no_classes(survey: Survey, names: Iterable[str]) -> None:
    """Check masks in several folders, where every image has only one.

    Raises:
        Unsure: all masks are binary: the folders may be classes, or merely order the files.
    """
    kinds = []
    for name in names:
        own = [found for found in survey.found if found.masks[0].kind == name]
        kinds.append(_look(name, own))
    if not all(kind.binary and kind.views for kind in kinds):
        return
    examples = _examples(survey)
    shown = sorted(examples)
    above = _common_folder(shown)
    if above is None or len({each.label for each in examples.values()}) == 1:
        return
    raise Unsure(
        f"the masks in {', '.join(shown)} hold two values each, and every image has a mask in one "
        "of them only.",
        [
            masks_reading(shown, "each folder shows a class: its masks are binary"),
            masks_reading(
                [above],
                "one mask for each image, folders have no meaning: no image has masks in two",
            ),
        ],
    )


def _common_folder(names: Sequence[str]) -> str | None:
    """Return the folder that all kinds lie in; None where they differ by the names of files."""
    first = names[0].split("/")[0]
    if any("*" in name or not name.startswith(f"{first}/") for name in names):
        return None
    return first


def _look(name: str, found: Iterable[Found]) -> Kind:
    """Read the first masks of a kind that belong to some images."""
    kind = Kind(name)
    own = [(each.image, mask) for each in found for mask in each.masks if mask.kind == name]
    for image, mask in own[:LOOKED_AT]:
        seen = view(mask.path)
        if seen is not None:
            kind.views[str(image)] = seen
    return kind


def _compare(survey: Survey, names: Sequence[str]) -> None:
    """Decide what several files for one image are: classes, or masks beside other things.

    Raises:
        Unsure: several kinds may be the masks.
        InputError: no kind holds masks.
    """
    kinds = _mask_kinds(survey, names)
    if len(kinds) > 1 and _are_classes(kinds):
        _stack_classes(survey, kinds)
        return
    kinds = _without_renderings(survey, kinds)
    if len(kinds) == 1:
        _take(survey, [kinds[0].name])
        return
    readings = [masks_reading([kind.name], f"the masks hold {kind.describe()}") for kind in kinds]
    if all(kind.binary for kind in kinds):
        every = [kind.name for kind in kinds]
        readings.append(masks_reading(every, "each folder shows a class: all are binary"))
    raise Unsure(
        "images have masks of several kinds, and their values do not tell which are meant.",
        readings,
    )


def _mask_kinds(survey: Survey, names: Sequence[str]) -> list[Kind]:
    """Return the kinds that are no pictures, with some of their files read.

    Raises:
        InputError: there are none.
    """
    several = [found for found in survey.found if len(found.masks) > 1]
    most = max(len(found.masks) for found in several)
    # images with files of every kind say most about how the kinds are related
    complete = [found for found in several if len(found.masks) == most]
    sample = [*_spread(complete, LOOKED_AT // 2), *_spread(several, LOOKED_AT // 2)]
    kinds = []
    for name in names:
        kind = _look(name, [*sample, *_spread(survey.found, LOOKED_AT)])
        if kind.picture:
            survey.remarks.append(f"{name} is left out: these are pictures and no masks.")
        else:
            kinds.append(kind)
    if not kinds:
        raise InputError(
            f"none of {', '.join(names)} holds masks: they are photographs or cannot be read."
        )
    return kinds


def _spread(found: Sequence[Found], count: int) -> Sequence[Found]:
    """Return at most ``count`` of them, spread evenly over all."""
    return found[:: max(1, len(found) // count)][:count]


def _most_overlap(kinds: Sequence[Kind]) -> float:
    return max(relations.overlap(one, other) for one, other in combinations(kinds, 2))


def _are_classes(kinds: Sequence[Kind]) -> bool:
    """Return whether each kind shows a class: binary masks that hardly cover the same pixels."""
    return all(kind.binary for kind in kinds) and _most_overlap(kinds) <= relations.MOST_OVERLAP


def _stack_classes(survey: Survey, kinds: Sequence[Kind]) -> None:
    survey.remarks.append(
        "Folders are classes because each folder's masks hold two values and at most "
        f"{100 * _most_overlap(kinds):.0f} % of what two of them cover is covered by both. "
        "If not: --masks FOLDER."
    )
    examples = _examples(survey)
    _stack(survey, sorted((examples[kind.name] for kind in kinds), key=lambda mask: mask.label))


def _without_renderings(survey: Survey, kinds: list[Kind]) -> list[Kind]:
    """Leave out what only shows another kind's masks again or numbers its objects."""
    official = [kind for kind in kinds if "trainids" in kind.name.lower()]
    if len(official) == 1:
        others = ", ".join(kind.name for kind in kinds if kind is not official[0])
        survey.remarks.append(
            f"{others}: left out, {official[0].name} holds the ids that are trained on."
        )
        return official
    kept = list(kinds)
    while (found := _rendering(kept)) is not None:
        kind, reason = found
        survey.remarks.append(f"{kind.name} is left out: it {reason}.")
        kept.remove(kind)
    return kept


def _rendering(kinds: Sequence[Kind]) -> tuple[Kind, str] | None:
    """Return a kind that is no mask of its own beside another one, and why."""
    for one, other in permutations(kinds, 2):
        reason = _reason_against(other, one)
        if reason:
            return other, f"{reason} {one.name}"
    return None


def _reason_against(other: Kind, one: Kind) -> str:
    """Return why a kind is no mask of its own beside ``one``; empty where it may be."""
    tables = relations.joint(other, one)
    if not tables or (one.named_objects and not other.named_objects):
        return ""
    together = add_counts(tables)
    finer_everywhere = relations.tells(together)
    coarser = relations.tells(relations.turned(together))
    if finer_everywhere and coarser:
        return "shows the same as" if _rank(other) > _rank(one) else ""
    if finer_everywhere:
        return _reason_against_finer(other, together)
    finer_in_each = all(map(relations.tells, tables))
    if finer_in_each and (other.named_objects or not coarser):
        return "numbers objects (a value means something else in every image) within the classes of"
    return _reason_against_coarser(other, one) if coarser else ""


def _reason_against_finer(other: Kind, together: relations.Table) -> str:
    """Return why a kind is no mask beside one whose values follow from its own."""
    if relations.encodes(together):
        return "holds class and object number in one, of the classes of"
    if other.named_objects or other.numbers_objects:
        return "numbers the objects of"
    return ""


def _reason_against_coarser(other: Kind, one: Kind) -> str:
    """Return why a kind is no mask beside ``one``, whose values its own follow from."""
    if other.color and not one.color and not one.numbers_objects:
        return "shows in colours what is in"
    return ""


def _rank(kind: Kind) -> tuple[bool, bool, str]:
    """Return what is lower for the better one of two kinds that show the same."""
    return kind.named_objects, kind.color, kind.name
