"""From a folder to a proposal: what its files mean, which classes there are, and how masks are read."""

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from encoder_ablations.data.layouts.coco import CocoSet, read_coco
from encoder_ablations.data.layouts.names import read_names
from encoder_ablations.data.layouts.proposal import Item, Progress, Proposal
from encoder_ablations.data.layouts.splitting import is_direct, settle_splits
from encoder_ablations.data.layouts.survey import Survey, list_files, survey_masks
from encoder_ablations.data.layouts.values import Color, class_values, study_masks
from encoder_ablations.data.sample import IGNORE, WIDE_IGNORE, ignore_label
from encoder_ablations.data.spec import DatasetSpec
from encoder_ablations.utils.config import build
from encoder_ablations.utils.errors import InputError


def propose(
    root: Path,
    name: str = "",
    classes: Sequence[str] = (),
    seed: int = 42,
    progress: Progress = lambda done, total: None,
) -> Proposal:
    """Looks at every file below a folder.

    Args:
        classes: class names in id order, where you know them.
        seed: decides which images are set apart for validation, where the folders do not say it.

    Raises:
        InputError: nothing that could be trained on is recognised.
    """
    root = root.absolute()
    files = list_files(root)
    if not files:
        raise InputError(f"the folder {root} holds no file.")
    name = name or re.sub(r"[^A-Za-z0-9_.-]+", "_", root.name).strip("_.-") or "my_data"
    survey = survey_masks(root, files)
    if survey.sources:
        proposal = _from_masks(root, name, survey, files, list(classes), progress)
    else:
        coco = read_coco(root, files)
        if coco is None:
            raise _nothing(root, files, survey)
        proposal = _from_coco(root, name, coco, list(classes))
    settle_splits(proposal, seed)
    if survey.sources:
        proposal.direct = is_direct(proposal, root)
    return proposal


def _nothing(root: Path, files: list[Path], survey: Survey) -> InputError:
    endings = ", ".join(f"{count} {suffix or 'without suffix'}" for suffix, count in _endings(files).most_common(5))
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
    root: Path, name: str, survey: Survey, files: list[Path], names: list[str], progress: Progress
) -> Proposal:
    remarks = []
    for paths, what in ((survey.without_mask, "image"), (survey.without_image, "mask")):
        if paths:
            other = "mask" if what == "image" else "image"
            remarks.append(f"{len(paths)} {what}s have no {other} and are left out, e.g. {paths[0].relative_to(root)}.")
    items = [Item(source.id, source.split or "train", source.image, source) for source in survey.sources]
    content: dict[str, object] = {"name": name, "root": str(root), "scene_pattern": survey.scene_pattern}
    if any(source.layers for source in survey.sources):
        found = sorted({layer.name for source in survey.sources for layer in source.layers})
        given = names or ["background", *found]
        if len(given) != len(found) + 1:
            raise InputError(
                f"{len(given)} class names for {len(found)} folders and the background: {', '.join(found)}."
            )
        spec = _spec(content | {"classes": given})
        layers = {layer: number for number, layer in enumerate(found, start=1)}
        return Proposal(spec, survey.layout, "a file for each class", items, False, remarks, layers=layers)
    known, by_color, origin = read_names(files)
    if origin is not None and not names:
        remarks.append(f"Class names come from {origin.relative_to(root)}.")
    meaning = study_masks([source.mask for source in survey.sources if source.mask], progress)
    for path, problem in list(meaning.problems.items())[:3]:
        remarks.append(f"{path.relative_to(root)} cannot be used: {problem}.")
    if len(meaning.problems) > 3:
        remarks.append(f"So it is with {len(meaning.problems) - 3} more masks; 'ablate lint' names them.")
    proposal = Proposal(_placeholder(content), survey.layout, meaning.kind, items, False, remarks, meaning)
    if meaning.colors:
        _classes_of_colors(proposal, content, names, {} if names else by_color, known)
    else:
        _classes_of_values(proposal, content, names or known)
    return proposal


def _spec(content: dict[str, object]) -> DatasetSpec:
    return build(DatasetSpec, {"splits": {"train": "train", "val": "val"}, **content}, str(content["root"]))


def _placeholder(content: dict[str, object]) -> DatasetSpec:
    return _spec({**content, "classes": ["unknown"]})


def _classes_of_values(proposal: Proposal, content: dict[str, object], names: list[str]) -> None:
    assert proposal.meaning is not None
    target, plain = class_values(proposal.meaning.values, len(names))
    count = max(target.values()) + 1
    if not names:
        names = ["background", "foreground"] if count == 2 else [f"class_{number}" for number in range(count)]
        proposal.remarks.append("Class names are invented: write the right ones.")
    elif len(names) < count:
        raise InputError(
            f"the masks show {count} classes, but only {len(names)} class names are known: {', '.join(names)}."
        )
    content["classes"] = names
    if not plain:
        content["value_map"] = target
    proposal.spec = _spec(content)


def _classes_of_colors(
    proposal: Proposal, content: dict[str, object], names: list[str], by_color: dict[Color, str], known: list[str]
) -> None:
    """Every colour is a class; those of a table have their names, and what the table lacks is ignored."""
    assert proposal.meaning is not None
    colors = list(proposal.meaning.colors)
    if by_color:
        ordered = list(by_color)
        strange = [color for color in colors if color not in by_color]
        if strange:
            share = sum(proposal.meaning.colors[color] for color in strange) / proposal.meaning.colors.total()
            proposal.remarks.append(
                f"{len(strange)} colours stand in no table and are ignored ({100 * share:.3g} % of the pixels), "
                f"e.g. {strange[0]}."
            )
        names = list(by_color.values())
    else:
        strange = []
        ordered = sorted(colors, key=lambda color: (color != (0, 0, 0), colors.index(color)))
        if names and len(names) != len(ordered):
            shown = ", ".join(map(str, ordered[:8])) + (", …" if len(ordered) > 8 else "")
            raise InputError(f"{len(names)} class names for {len(ordered)} colours in the masks: {shown}.")
        names = names or known
        if len(names) != len(ordered):
            names = [
                "background" if color == (0, 0, 0) else "color_{:02x}{:02x}{:02x}".format(*color) for color in ordered
            ]
            proposal.remarks.append("Class names are invented from the colours: write the right ones.")
    twice = Counter(names)
    names = [f"{name}_{number}" if twice[name] > 1 else name for number, name in enumerate(names)]
    content |= {"classes": names, "colors": ordered}
    proposal.colors = {color: number for number, color in enumerate(ordered)} | dict.fromkeys(strange, IGNORE)
    proposal.spec = _spec(content)


def _from_coco(root: Path, name: str, coco: CocoSet, names: list[str]) -> Proposal:
    items = [Item(each.id, each.split or "train", each.image, each) for each in coco.images]
    classes = names or coco.classes
    if len(classes) != len(coco.classes):
        raise InputError(f"{len(classes)} class names for {len(coco.classes)} classes: {', '.join(coco.classes)}.")
    remarks = []
    if coco.missing:
        remarks.append(f"{len(coco.missing)} annotated images are not there and are left out, e.g. {coco.missing[0]}.")
    empty = sum(not each.annotations for each in coco.images)
    if empty:
        remarks.append(f"{empty} images have no annotation; their masks are background.")
    wide = {"ignore_ids": [WIDE_IGNORE]} if ignore_label(len(classes)) == WIDE_IGNORE else {}
    spec = _spec({"name": name, "root": str(root), "classes": classes, **wide})
    return Proposal(spec, "COCO annotations", "outlines, the smaller object on top", items, False, remarks, coco=coco)
