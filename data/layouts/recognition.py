"""From a folder to a proposal: what its files mean, which classes there are, and how masks are read."""

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from encoder_ablations.data.layouts.coco import CocoSet, read_coco
from encoder_ablations.data.layouts.names import means_unlabelled, read_names
from encoder_ablations.data.layouts.proposal import Item, Progress, Proposal
from encoder_ablations.data.layouts.splitting import is_direct, settle_splits
from encoder_ablations.data.layouts.survey import Survey, list_files, survey_masks
from encoder_ablations.data.layouts.values import Color, class_values, study_masks
from encoder_ablations.data.sample import IGNORE, WIDE_IGNORE, ignore_label
from encoder_ablations.data.spec import DatasetSpec
from encoder_ablations.utils.config import build
from encoder_ablations.utils.errors import InputError
from encoder_ablations.utils.wording import plural


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
    remarks = survey.without_partner(root)
    items = [Item(source.id, source.split or "train", source.image, source) for source in survey.sources]
    content: dict[str, object] = {"name": name, "root": str(root), "scene_pattern": survey.scene_pattern}
    if any(source.layers for source in survey.sources):
        found = sorted({layer.name for source in survey.sources for layer in source.layers})
        given = names or ["background", *found]
        if len(given) != len(found) + 1:
            raise InputError(
                f"{plural(len(given), 'class name')} for {plural(len(found), 'folder')} and the background: "
                f"{', '.join(found)}."
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
        remarks.append(f"So it is with {plural(len(meaning.problems) - 3, 'more mask')}; 'ablate lint' names them.")
    proposal = Proposal(_placeholder(content), survey.layout, meaning.kind, items, False, remarks, meaning)
    if meaning.colors:
        _classes_of_colors(proposal, content, names, {} if names else by_color, known)
    else:
        _classes_of_values(proposal, content, names, known)
    return proposal


def _spec(content: dict[str, object]) -> DatasetSpec:
    return build(DatasetSpec, {"splits": {"train": "train", "val": "val"}, **content}, str(content["root"]))


def _placeholder(content: dict[str, object]) -> DatasetSpec:
    return _spec({**content, "classes": ["unknown"]})


def _unlabelled(proposal: Proposal, names: list[str], pixels: dict[int, int]) -> set[int]:
    """Positions of the names in a list that mean "not labelled", with a remark; none where under two classes are left.

    Args:
        pixels: by position.
    """
    found = {number for number, name in enumerate(names) if means_unlabelled(name)}
    if len(names) - len(found) < 2:
        return set()
    for number in sorted(found):
        share = 100 * pixels.get(number, 0) / max(1, sum(pixels.values()))
        proposal.remarks.append(
            f"'{names[number]}' is no class here: its pixels are ignored (255), {share:.3g} % of all. "
            "Give all names with --classes if it is to be learnt."
        )
    return found


def _classes_of_values(proposal: Proposal, content: dict[str, object], given: list[str], known: list[str]) -> None:
    """Values of a list's names for "not labelled" are ignored; names that the person gave are classes."""
    assert proposal.meaning is not None
    names = given or known
    target, plain = class_values(proposal.meaning.values, len(names))
    count = max(target.values()) + 1
    if not names:
        names = ["background", "foreground"] if count == 2 else [f"class_{number}" for number in range(count)]
        proposal.remarks.append("Class names are invented: write the right ones.")
    elif len(names) < count:
        raise InputError(
            f"the masks show {plural(count, 'class')}, but only {plural(len(names), 'class name', 'is/are known')}: "
            f"{', '.join(names)}."
        )
    pixels: Counter[int] = Counter()
    for value, number in target.items():
        pixels[number] += proposal.meaning.values[value]
    ignored = set() if given else _unlabelled(proposal, names, pixels)
    kept = [number for number in range(len(names)) if number not in ignored]
    content["classes"] = [names[number] for number in kept]
    if plain and kept == list(range(len(kept))):
        content["ignore_ids"] = [IGNORE, *sorted(ignored)]
    else:
        places = {number: place for place, number in enumerate(kept)} | dict.fromkeys(ignored, IGNORE)
        content["value_map"] = {value: places[number] for value, number in target.items()}
    if WIDE_IGNORE in proposal.meaning.values and WIDE_IGNORE not in target:
        content["ignore_ids"] = [IGNORE, *sorted(ignored if "value_map" not in content else ()), WIDE_IGNORE]
        proposal.remarks.append("65535 is taken for 'not labelled'.")
    proposal.spec = _spec(content)


def _classes_of_colors(
    proposal: Proposal, content: dict[str, object], names: list[str], by_color: dict[Color, str], known: list[str]
) -> None:
    """Every colour is a class; those of a table have their names. What the table lacks or calls void is ignored."""
    assert proposal.meaning is not None
    given = bool(names)
    colors = list(proposal.meaning.colors)
    if by_color:
        ordered = list(by_color)
        strange = [color for color in colors if color not in by_color]
        if strange:
            share = sum(proposal.meaning.colors[color] for color in strange) / proposal.meaning.colors.total()
            proposal.remarks.append(
                f"{plural(len(strange), 'colour', 'stands/stand in no table and is/are ignored')} "
                f"({100 * share:.3g} % of the pixels), e.g. {strange[0]}."
            )
        names = list(by_color.values())
    else:
        strange = []
        ordered = sorted(colors, key=lambda color: (color != (0, 0, 0), colors.index(color)))
        if names and len(names) != len(ordered):
            shown = ", ".join(map(str, ordered[:8])) + (", …" if len(ordered) > 8 else "")
            raise InputError(
                f"{plural(len(names), 'class name')} for {plural(len(ordered), 'colour')} in the masks: {shown}."
            )
        names = names or known
        if len(names) != len(ordered):
            names = [
                "background" if color == (0, 0, 0) else "color_{:02x}{:02x}{:02x}".format(*color) for color in ordered
            ]
            proposal.remarks.append("Class names are invented from the colours: write the right ones.")
    pixels = {number: proposal.meaning.colors[color] for number, color in enumerate(ordered)}
    for number in sorted(set() if given else _unlabelled(proposal, names, pixels), reverse=True):
        strange.append(ordered.pop(number))
        names = names[:number] + names[number + 1 :]
    twice = Counter(names)
    names = [f"{name}_{number}" if twice[name] > 1 else name for number, name in enumerate(names)]
    content |= {"classes": names, "colors": ordered}
    proposal.colors = {color: number for number, color in enumerate(ordered)} | dict.fromkeys(strange, IGNORE)
    proposal.spec = _spec(content)


def _from_coco(root: Path, name: str, coco: CocoSet, names: list[str]) -> Proposal:
    items = [Item(each.id, each.split or "train", each.image, each) for each in coco.images]
    classes = names or coco.classes
    if len(classes) != len(coco.classes):
        given, found = plural(len(classes), "class name"), plural(len(coco.classes), "class")
        raise InputError(f"{given} for {found}: {', '.join(coco.classes)}.")
    remarks = []
    if coco.missing:
        left_out = plural(len(coco.missing), "annotated image", "is/are not there and is/are left out")
        remarks.append(f"{left_out}, e.g. {coco.missing[0]}.")
    empty = sum(not each.annotations for each in coco.images)
    if empty:
        remarks.append(f"{plural(empty, 'image', 'has/have no annotation: all is background')}.")
    wide = {"ignore_ids": [WIDE_IGNORE]} if ignore_label(len(classes)) == WIDE_IGNORE else {}
    spec = _spec({"name": name, "root": str(root), "classes": classes, **wide})
    return Proposal(spec, "COCO annotations", "outlines, the smaller object on top", items, False, remarks, coco=coco)
