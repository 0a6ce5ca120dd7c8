"""From a folder to a proposal: what its files mean, which classes there are, and how masks are read."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from encoder_ablations.data.datasets.sample import WIDE_IGNORE, ignore_label
from encoder_ablations.data.datasets.spec import DatasetSpec
from encoder_ablations.data.intake.layouts.choices import Wishes
from encoder_ablations.data.intake.layouts.classes import classes_of_masks
from encoder_ablations.data.intake.layouts.coco import BACKGROUND, CocoSet, read_coco
from encoder_ablations.data.intake.layouts.mask_folders import survey_masks
from encoder_ablations.data.intake.layouts.mask_values import study_masks
from encoder_ablations.data.intake.layouts.name_lists import read_names
from encoder_ablations.data.intake.layouts.panoptic import PanopticSet, read_panoptic
from encoder_ablations.data.intake.layouts.proposal import Item, Progress, Proposal
from encoder_ablations.data.intake.layouts.split_assignment import is_direct, settle_splits
from encoder_ablations.data.intake.layouts.split_lists import take_lists
from encoder_ablations.data.intake.layouts.survey import Survey, list_files
from encoder_ablations.utils.config import build
from encoder_ablations.utils.errors import InputError
from encoder_ablations.utils.texts import plural


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
    """Looks at every file below a folder.

    Args:
        classes: class names in id order, where you know them.
        seed: decides which images are set apart for validation, where the folders do not say it.
        masks: the folder of the masks, or one folder for each class.
        objects: whether values number objects.
        blends: whether values that form no areas are blends of others.
            Of these three the values in the masks decide where you say nothing.

    Raises:
        Unsure: the values in the masks allow several readings.
        InputError: nothing that could be trained on is recognised.
    """
    root = root.absolute()
    files = list_files(root)
    if not files:
        raise InputError(f"the folder {root} holds no file.")
    _require_names(classes)
    masks = [_below(root, folder) for folder in masks]
    name = name or re.sub(r"[^A-Za-z0-9_.-]+", "_", root.name).strip("_.-") or "my_data"
    panoptic = read_panoptic(root, files)
    numbered = panoptic.folders if panoptic and not masks else set()
    survey = survey_masks(root, [path for path in files if path.parent not in numbered], masks)
    wishes = Wishes(list(classes), objects=objects, blends=blends)
    if survey.sources:
        if numbered:
            where = ", ".join(sorted(str(folder.relative_to(root)) for folder in numbered))
            survey.remarks.append(
                f"{where}: left out, these PNGs number the segments of panoptic annotations."
            )
        take_lists(survey, root, files)
        proposal = _from_masks(root, name, survey, files, wishes, progress)
    else:
        _refuse_unread(root, wishes, masks)
        proposal = _from_annotations(root, name, files, survey, panoptic, list(classes))
    settle_splits(proposal, seed)
    if survey.sources:
        proposal.direct = is_direct(proposal, root, survey.lists)
    return proposal


def _below(root: Path, folder: str) -> str:
    """A folder that is given as a path from here, as a path below ``root``; anything else as it is."""
    path = Path(folder).absolute()
    return str(path.relative_to(root)) if path.is_dir() and path.is_relative_to(root) else folder


def _refuse_unread(root: Path, wishes: Wishes, masks: Sequence[str] = ()) -> None:
    """
    Raises:
        InputError: the person decided something that has no meaning for what was recognised.
    """
    said = {
        "--masks": bool(masks),
        "--objects": wishes.objects is not None,
        "--blends": wishes.blends is not None,
    }
    unread = [option for option, given in said.items() if given]
    if unread:
        raise InputError(
            f"{root} holds no images with one mask file each, so that {' and '.join(unread)} decides nothing; leave "
            "it out."
        )


def _require_names(classes: Sequence[str]) -> None:
    """
    Raises:
        InputError: a name is empty.
    """
    if not all(name.strip() for name in classes):
        raise InputError(
            f"--classes {','.join(classes)}: a name is empty; write one for every class."
        )


def _from_annotations(
    root: Path,
    name: str,
    files: list[Path],
    survey: Survey,
    panoptic: PanopticSet | None,
    classes: list[str],
) -> Proposal:
    """From COCO's outlines, or its panoptic segments."""
    outlines = read_coco(root, files)
    if panoptic is None and outlines is None:
        raise _nothing(root, files, survey)
    if panoptic is None:
        assert outlines is not None
        return _from_coco(root, name, outlines, classes)
    if outlines is not None:
        raise InputError(
            f"{root} holds both COCO outlines ({len(outlines.classes)} classes with background) and panoptic segments "
            f"({len(panoptic.classes)} classes), and their classes differ. Keep the JSONs of one, and move "
            "the others out of the folder."
        )
    return _from_panoptic(root, name, panoptic, classes)


def _nothing(root: Path, files: list[Path], survey: Survey) -> InputError:
    endings = ", ".join(
        f"{count} {suffix or 'without suffix'}" for suffix, count in _endings(files).most_common(5)
    )
    if survey.without_mask or survey.without_image:
        lonely = (survey.without_mask or survey.without_image)[0].relative_to(root)
        hint = f"images, but none with a mask of the same name (e.g. {lonely})"
    else:
        hint = "neither images with masks nor a COCO file"
    return InputError(
        f"{root} holds {hint}; files: {endings}. Put images and masks of equal names into 'images' and 'masks', "
        "with sub-folders train, val and test if you have them."
    )


def _endings(files: list[Path]) -> Counter[str]:
    return Counter(path.suffix.lower() for path in files)


def _from_masks(
    root: Path, name: str, survey: Survey, files: list[Path], wishes: Wishes, progress: Progress
) -> Proposal:
    remarks = [*survey.remarks, *survey.without_partner(root)]
    items = [
        Item(source.id, source.split or "train", source.image, source) for source in survey.sources
    ]
    content: dict[str, object] = {
        "name": name,
        "root": str(root),
        "scene_pattern": survey.scene_pattern,
    }
    if survey.classes:
        _refuse_unread(root, wishes)
        return _from_layers(survey, content, items, wishes.given, remarks)
    masks = [source.mask for source in survey.sources if source.mask]
    listed, by_color, origin = read_names(files, masks)
    if origin is not None and not wishes.given:
        remarks.append(f"Class names come from {origin.relative_to(root)}.")
    meaning = study_masks(masks, progress)
    for path, problem in list(meaning.problems.items())[:3]:
        remarks.append(f"{path.relative_to(root)} cannot be used: {problem}.")
    if len(meaning.problems) > 3:
        remarks.append(
            f"So it is with {plural(len(meaning.problems) - 3, 'more mask')}; 'ablate lint' names them."
        )
    proposal = Proposal(
        _placeholder(content), survey.layout, meaning.kind, items, False, remarks, meaning
    )
    found = classes_of_masks(proposal, replace(wishes, listed=listed, colors=by_color))
    proposal.spec = _spec(content | found)
    return proposal


def _from_layers(
    survey: Survey,
    content: dict[str, object],
    items: list[Item],
    given: list[str],
    remarks: list[str],
) -> Proposal:
    """Every folder is a class; one that is called background shows what no other does."""
    objects = [name for name in survey.classes if name.lower() != BACKGROUND]
    names = given or [BACKGROUND, *objects]
    if len(names) != len(objects) + 1:
        raise InputError(
            f"{plural(len(names), 'class name')} for {plural(len(objects), 'folder')} and the background: "
            f"{', '.join(objects)}."
        )
    layers = {name: objects.index(name) + 1 if name in objects else 0 for name in survey.classes}
    spec = _spec(content | {"classes": names})
    return Proposal(
        spec, survey.layout, "a file for each class", items, False, remarks, layers=layers
    )


def _spec(content: dict[str, object]) -> DatasetSpec:
    """
    Raises:
        InputError: the classes cannot be those of a dataset, e.g. a name is empty.
    """
    classes = content["classes"]
    assert isinstance(classes, list)
    empty = [number for number, name in enumerate(classes) if not name.strip()]
    if empty:
        raise InputError(
            f"class {empty[0]} of {content['root']} has an empty name; give all names with --classes."
        )
    return build(
        DatasetSpec, {"splits": {"train": "train", "val": "val"}, **content}, str(content["root"])
    )


def _placeholder(content: dict[str, object]) -> DatasetSpec:
    return _spec({**content, "classes": ["unknown"]})


def _from_panoptic(root: Path, name: str, panoptic: PanopticSet, names: list[str]) -> Proposal:
    """Every category is a class, things and stuff; what has no segment is ignored."""
    if not panoptic.images:
        raise InputError(
            f"{root} holds COCO panoptic annotations, but no image with its PNG (e.g. {panoptic.missing[0]}). Unpack "
            "panoptic_train2017.zip beside panoptic_train2017.json, and the images into train2017."
        )
    items = [Item(each.id, each.split or "train", each.image, each) for each in panoptic.images]
    classes = names or panoptic.classes
    if len(classes) != len(panoptic.classes):
        raise InputError(
            f"{plural(len(classes), 'class name')} for {len(panoptic.classes)}: {', '.join(panoptic.classes)}."
        )
    remarks = ["What belongs to no segment is ignored."]
    if panoptic.missing:
        left_out = plural(
            len(panoptic.missing), "annotated image", "is/are not there and is/are left out"
        )
        remarks.append(f"{left_out}, e.g. {panoptic.missing[0]}.")
    wide = {"ignore_ids": [WIDE_IGNORE]} if ignore_label(len(classes)) == WIDE_IGNORE else {}
    spec = _spec({"name": name, "root": str(root), "classes": classes, **wide})
    kind = "PNGs of segment numbers, by the categories in the JSON"
    return Proposal(
        spec, "COCO panoptic annotations", kind, items, False, remarks, panoptic=panoptic
    )


def _from_coco(root: Path, name: str, coco: CocoSet, names: list[str]) -> Proposal:
    items = [Item(each.id, each.split or "train", each.image, each) for each in coco.images]
    classes = names or coco.classes
    if len(classes) != len(coco.classes):
        given, found = plural(len(classes), "class name"), plural(len(coco.classes), "class")
        raise InputError(f"{given} for {found}: {', '.join(coco.classes)}.")
    remarks = []
    if coco.missing:
        left_out = plural(
            len(coco.missing), "annotated image", "is/are not there and is/are left out"
        )
        remarks.append(f"{left_out}, e.g. {coco.missing[0]}.")
    empty = sum(not each.annotations for each in coco.images)
    if empty:
        remarks.append(f"{plural(empty, 'image', 'has/have no annotation: all is background')}.")
    wide = {"ignore_ids": [WIDE_IGNORE]} if ignore_label(len(classes)) == WIDE_IGNORE else {}
    spec = _spec({"name": name, "root": str(root), "classes": classes, **wide})
    return Proposal(
        spec,
        "COCO annotations",
        "outlines, the smaller object on top",
        items,
        False,
        remarks,
        coco=coco,
    )
