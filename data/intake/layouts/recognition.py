"""From a folder to a proposal: what its files mean, its classes, and how masks are read."""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from encoder_ablations.data.datasets.class_names import require_names
from encoder_ablations.data.datasets.sample import ignore_label
from encoder_ablations.data.intake.layouts.annotations.annotated_set import AnnotatedSet
from encoder_ablations.data.intake.layouts.annotations.coco import BACKGROUND, read_coco
from encoder_ablations.data.intake.layouts.annotations.label_studio import read_label_studio
from encoder_ablations.data.intake.layouts.annotations.labelme import read_labelme
from encoder_ablations.data.intake.layouts.annotations.object_folders import read_object_folders
from encoder_ablations.data.intake.layouts.annotations.panoptic import PanopticSet, read_panoptic
from encoder_ablations.data.intake.layouts.annotations.supervisely_folders import read_supervisely
from encoder_ablations.data.intake.layouts.annotations.yolo import read_yolo
from encoder_ablations.data.intake.layouts.choices import Wishes
from encoder_ablations.data.intake.layouts.classes import classes_of_masks
from encoder_ablations.data.intake.layouts.mask_folders import survey_masks
from encoder_ablations.data.intake.layouts.mask_values import Meaning, study_masks
from encoder_ablations.data.intake.layouts.name_lists import read_names
from encoder_ablations.data.intake.layouts.proposal import Item, Origin, Place, Progress, Proposal
from encoder_ablations.data.intake.layouts.split_assignment import is_direct, settle_splits
from encoder_ablations.data.intake.layouts.split_lists import take_lists
from encoder_ablations.data.intake.layouts.survey import Survey, list_files
from encoder_ablations.utils.errors import InputError
from encoder_ablations.utils.texts import plural

READERS: tuple[Callable[[Path, Sequence[Path]], AnnotatedSet[Any] | None], ...] = (
    read_coco,
    read_object_folders,
    read_labelme,
    read_yolo,
    read_label_studio,
    read_supervisely,
)
"""What reads annotations below a folder; panoptic ones are read before masks are looked for."""


def propose(
    root: Path,
    name: str = "",
    classes: Sequence[str] = (),
    seed: int = 42,
    progress: Progress = lambda done, total: None,
    *,
    masks: Sequence[str] = (),
    objects: bool | None = None,
    blends: bool | None = None,
) -> Proposal:
    """Look at every file below a folder and return the dataset that it holds.

    Where ``masks``, ``objects`` and ``blends`` are left out the values in the masks decide.

    Args:
        root: the folder.
        name: of the dataset; empty for the folder's name.
        classes: class names in id order, where they are known.
        seed: decides which images are set apart for validation, where the folders do not say it.
        progress: called with the number of masks read and of all masks.
        masks: the folder of the masks, or one folder for each class.
        objects: whether values number objects.
        blends: whether values that form no areas are blends of others.

    Raises:
        Unsure: the values in the masks allow several readings.
        InputError: nothing that could be trained on is recognised.
    """
    root = root.absolute()
    files = list_files(root)
    if not files:
        raise InputError(f"the folder {root} holds no file.")
    require_names(classes, "--classes")
    masks = [_below(root, folder) for folder in masks]
    name = name or re.sub(r"[^A-Za-z0-9_.-]+", "_", root.name).strip("_.-") or "my_data"
    place = Place(root, name, files)
    wishes = Wishes(list(classes), objects=objects, blends=blends)
    panoptic = read_panoptic(root, files)
    survey = _survey(place, panoptic, masks)
    if survey.sources:
        take_lists(survey, root, files)
        proposal = _from_masks(place, survey, wishes, progress)
    else:
        _refuse_unread(root, wishes, masks)
        proposal = _from_annotations(place, survey, panoptic, wishes.given)
    settle_splits(proposal, seed)
    proposal.direct = is_direct(proposal, root, survey.lists)
    return proposal


def _survey(place: Place, panoptic: PanopticSet | None, masks: Sequence[str]) -> Survey:
    """Return pairs of images and masks; PNGs that number panoptic segments are no masks."""
    numbered: set[Path] = set()
    if panoptic is not None and not masks:
        numbered = {each.mask.parent for each in panoptic.images}
    files = [path for path in place.files if path.parent not in numbered]
    survey = survey_masks(place.root, files, masks)
    where = ", ".join(sorted(str(folder.relative_to(place.root)) for folder in numbered))
    if where:
        survey.remarks.append(
            f"{where}: left out, these PNGs number the segments of panoptic annotations."
        )
    return survey


def _below(root: Path, folder: str) -> str:
    """Return a folder's path below ``root``; anything else as it is."""
    path = Path(folder).absolute()
    if path.is_dir() and path.is_relative_to(root):
        return str(path.relative_to(root))
    return folder


def _refuse_unread(root: Path, wishes: Wishes, masks: Sequence[str] = ()) -> None:
    """Refuse options that have no meaning for what was recognised.

    Raises:
        InputError: the person gave such an option.
    """
    said = {"--masks": masks or None, "--objects": wishes.objects, "--blends": wishes.blends}
    unread = [option for option, value in said.items() if value is not None]
    if unread:
        raise InputError(
            f"{root} holds no images with one mask file each, so that {' and '.join(unread)} "
            "decides nothing; leave it out."
        )


def _from_annotations(
    place: Place, survey: Survey, panoptic: PanopticSet | None, given: list[str]
) -> Proposal:
    """Return the dataset of annotations: outlines, segments, or a mask for each object.

    Raises:
        InputError: there are none or several kinds, or names and classes differ in number.
    """
    read = [reader(place.root, place.files) for reader in READERS]
    held: list[AnnotatedSet[Any]] = [each for each in [*read, panoptic] if each is not None]
    if not held:
        raise _nothing(place, survey)
    if len(held) > 1:
        raise InputError(
            f"{place.root} holds {' and '.join(map(_in_words, held))}. Keep the files of one, and "
            "move the others out of the folder."
        )
    (found,) = held
    if not found.images:
        raise InputError(
            f"{place.root} holds {found.layout}, but no image with its PNG (e.g. "
            f"{found.missing[0]}). Unpack panoptic_train2017.zip beside "
            "panoptic_train2017.json, and the images into train2017."
        )
    names = given or found.classes
    if len(names) != len(found.classes):
        raise InputError(
            f"{plural(len(names), 'class name')} for {plural(len(found.classes), 'class')}: "
            f"{', '.join(found.classes)}."
        )
    spec = place.spec({"classes": names, "ignore_ids": [ignore_label(len(names))]})
    remarks = list(found.remarks)
    if found.missing:
        rest = "is/are not there and is/are left out"
        left_out = plural(len(found.missing), "annotated image", rest)
        remarks.append(f"{left_out}, e.g. {found.missing[0]}.")
    return Proposal(
        spec,
        found.layout,
        found.kind,
        _items(found.images),
        remarks=remarks,
        class_of=found.class_of,
    )


def _in_words(found: AnnotatedSet[Any]) -> str:
    return f"{found.layout} ({plural(len(found.classes), 'class')})"


def _items(sources: Iterable[Origin]) -> list[Item]:
    return [Item(each.id, each.split or "train", each.image, each) for each in sources]


def _nothing(place: Place, survey: Survey) -> InputError:
    """Return the error for a folder in which nothing is recognised."""
    times = Counter(path.suffix.lower() or "without suffix" for path in place.files)
    endings = ", ".join(f"{count} {suffix}" for suffix, count in times.most_common(5))
    hint = "neither images with masks nor annotations of them"
    lonely = [*survey.without_mask, *survey.without_image]
    if lonely:
        example = lonely[0].relative_to(place.root)
        hint = f"images, but none with a mask of the same name (e.g. {example})"
    return InputError(
        f"{place.root} holds {hint}; files: {endings}. Put images and masks of equal names into "
        "'images' and 'masks', with sub-folders train, val and test if you have them."
    )


def _from_masks(place: Place, survey: Survey, wishes: Wishes, progress: Progress) -> Proposal:
    """Return the dataset of mask files."""
    remarks = [*survey.remarks, *survey.without_partner(place.root)]
    items = _items(survey.sources)
    content: dict[str, object] = {"scene_pattern": survey.scene_pattern}
    if survey.classes:
        _refuse_unread(place.root, wishes)
        return _from_layers(place, survey, content, items, wishes.given, remarks)
    masks = [source.mask for source in survey.sources if source.mask]
    listed, by_color, origin = read_names(place.files, masks)
    if origin is not None and not wishes.given:
        remarks.append(f"Class names come from {origin.relative_to(place.root)}.")
    meaning = study_masks(masks, progress)
    remarks += _problems(place.root, meaning)
    # the classes are found with a proposal at hand, and replace this one
    unknown = place.spec(content | {"classes": ["unknown"]})
    proposal = Proposal(
        unknown, survey.layout, meaning.kind, items, remarks=remarks, meaning=meaning
    )
    found = classes_of_masks(proposal, replace(wishes, listed=listed, colors=by_color))
    proposal.spec = place.spec(content | found)
    return proposal


def _problems(root: Path, meaning: Meaning) -> list[str]:
    """Return sentences about the masks that cannot be used."""
    problems = [
        f"{path.relative_to(root)} cannot be used: {problem}."
        for path, problem in meaning.problems.items()
    ]
    if problems[3:]:
        more = plural(len(problems[3:]), "more mask")
        problems[3:] = [f"The same is true for {more}; 'ablate lint' names them."]
    return problems


def _from_layers(
    place: Place,
    survey: Survey,
    content: dict[str, object],
    items: list[Item],
    given: list[str],
    remarks: list[str],
) -> Proposal:
    """Return the dataset of a folder for each class.

    A class that is called background shows what no other does.
    """
    objects = [kind for kind, name in survey.classes.items() if name.lower() != BACKGROUND]
    names = given or [BACKGROUND, *(survey.classes[kind] for kind in objects)]
    if len(names) != len(objects) + 1:
        raise InputError(
            f"{plural(len(names), 'class name')} for {plural(len(objects), 'folder')} and the "
            f"background: {', '.join(objects)}."
        )
    layers = dict.fromkeys(survey.classes, 0)
    layers |= {kind: number for number, kind in enumerate(objects, start=1)}
    return Proposal(
        place.spec(content | {"classes": names}),
        survey.layout,
        "a file for each class",
        items,
        remarks=remarks,
        layers=layers,
    )
