"""Class names and colours that lie beside the data in a text file."""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from encoder_ablations.data.datasets.class_names import require_names
from encoder_ablations.data.intake.layouts.codes import Color
from encoder_ablations.utils.errors import InputError

NAMES = (
    "classes.txt",
    "labels.txt",
    "class_names.txt",
    "names.txt",
    "obj.names",
    "classes.names",
    "label_names.txt",
)
TABLES = (
    "class_dict.csv",
    "label_colors.txt",
    "labelmap.txt",
    "label_colors.csv",
    "classes.csv",
    "class_dict_seg.csv",
)
JSONS = ("classes.json", "labels.json")
CONFIGS = re.compile(r"config(?:_(v[\d.]+))?\.json")
"""Mapillary Vistas' lists, one for each version of its labels."""
UNLABELLED = frozenset(
    {"void", "ignore", "ignored", "unlabeled", "unlabelled", "notlabeled", "notlabelled"}
)
LABELME_IGNORE = "__ignore__"
"""labelme begins its lists with it and counts from -1."""
NUMBER = re.compile(r"(?<![A-Za-z_\d.])\d+(?![A-Za-z_\d.])")
LEADING_NUMBERS = re.compile(r"^[\d\s,;:]+(?=[^\W\d])")
LATER_NUMBERS = re.compile(r"[\s,;:]+(\d+([\s,;:]+|$))*")
LONE_NUMBER = re.compile(r"\d+\s*[:,;]+")
HEADER = re.compile(r"(?i)\bname\b.*\b(r|red)\b")

Names = tuple[list[str], dict[Color, str]]
"""Class names in id order, and names by colour."""


def means_unlabelled(name: str) -> bool:
    """Return whether a name is for pixels without a class: "Void", "__ignore__", "not labelled"."""
    return re.sub(r"[\W_]+", "", name.lower()) in UNLABELLED


def unlabelled_places(remarks: list[str], names: list[str], pixels: Mapping[int, int]) -> set[int]:
    """Return the positions of names that mean "not labelled", and add a remark for each.

    The result is empty where fewer than two classes would be left.

    Args:
        remarks: where the remarks go.
        pixels: number of pixels by position.
    """
    found = {number for number, name in enumerate(names) if means_unlabelled(name)}
    if len(names) - len(found) < 2:
        return set()
    for number in sorted(found):
        share = 100 * pixels.get(number, 0) / max(1, sum(pixels.values()))
        remarks.append(
            f"'{names[number]}' is no class here: its pixels are ignored (255), {share:.3g} % of "
            "all. Give all names with --classes if it is to be learnt."
        )
    return found


def read_names(
    files: list[Path], masks: Sequence[Path] = ()
) -> tuple[list[str], dict[Color, str], Path | None]:
    """Return names in id order, names by colour, and the file they come from.

    All three are empty where no file lists classes.

    Args:
        masks: files that the names are for. ``config_v1.2.json`` belongs to masks below a folder
            ``v1.2``.

    Raises:
        InputError: a colour in a table has a number over 255 or no name, or a name in a list is
            empty or stands twice.
    """
    for path in sorted(files, key=lambda path: len(path.parts)):
        if not _lists_names(path, masks):
            continue
        try:
            text = path.read_text(encoding="utf-8-sig")
        except (OSError, UnicodeDecodeError):
            continue
        names, colors = _parse(text, path)
        if names:
            return names, colors, path
    return [], {}, None


def _lists_names(path: Path, masks: Sequence[Path]) -> bool:
    """Return whether a file's name says that it lists the classes of these masks."""
    name = path.name.lower()
    config = CONFIGS.fullmatch(name)
    if config is None:
        return name in TABLES + NAMES + JSONS
    version = config[1]
    if version is None or not masks:
        return True
    return any(version == part.lower() for mask in masks for part in mask.parts[:-1])


def _parse(text: str, path: Path) -> Names:
    if path.suffix.lower() == ".json":
        names, colors = _read_json(text)
    else:
        names, colors = _read_lines(text, path)
    if colors:
        return names, colors
    if names[:1] == [LABELME_IGNORE]:
        names = names[1:]
    require_names(names, str(path))
    return names, {}


def _read_lines(text: str, path: Path) -> Names:
    """Read lines of a name and perhaps three numbers ("Sky 128 128 128", "sky:128,128,128::")."""
    names: list[str] = []
    colors: dict[Color, str] = {}
    # without any name, or without any colour, the numbers mean something else: complain at the end
    unnamed: list[int] = []
    beyond: list[str] = []
    for row, line in enumerate(map(str.strip, text.splitlines()), start=1):
        if not line or line.startswith("#"):
            continue
        numbers = [int(number) for number in NUMBER.findall(line)]
        name = LATER_NUMBERS.sub(" ", LEADING_NUMBERS.sub("", line)).strip()
        if _lacks_name(line, name, numbers):
            unnamed.append(row)
        if not _is_class(line, name, numbers):
            continue
        if len(numbers) < 3:
            names.append(name)
            continue
        red, green, blue = numbers[-3:]
        if max(red, green, blue) > 255:
            beyond.append(f"row {row}: the colour {red}, {green}, {blue} of '{name}'")
        else:
            colors[red, green, blue] = name
        if name not in names:
            names.append(name)
    if names and unnamed:
        raise InputError(
            f"{path}, row {unnamed[0]}: a class has an empty name; give it one, or remove the row."
        )
    if colors and beyond:
        raise InputError(f"{path}, {beyond[0]} has a number over 255; correct it.")
    return names, colors


def _lacks_name(line: str, name: str, numbers: list[int]) -> bool:
    """Return whether a line gives an id or a colour, but no name."""
    if len(numbers) == 3 and not re.search(r"[^\W_]", name):
        return True
    return LONE_NUMBER.fullmatch(line) is not None


def _is_class(line: str, name: str, numbers: list[int]) -> bool:
    """Return whether a line names a class; the head of a table does not."""
    if not name or len(numbers) == 2:
        return False
    return len(numbers) > 2 or not HEADER.search(line)


def _read_json(text: str) -> Names:
    """Read a list of names, names by id, or Mapillary Vistas' ``config.json``."""
    try:
        content = json.loads(text)
    except ValueError:
        return [], {}
    if _are_all(content, str):
        return content, {}
    if not isinstance(content, dict):
        return [], {}
    labels = content.get("labels")
    if isinstance(labels, list):
        return _read_vistas(labels)
    if all(map(str.isdigit, content)) and _are_all(list(content.values()), str):
        return [content[key] for key in sorted(content, key=int)], {}
    return [], {}


def _read_vistas(labels: list[Any]) -> Names:
    """Read names in id order, with their colours where no two are equal."""
    if not _are_all(labels, dict):
        return [], {}
    names = [label.get("readable") for label in labels]
    if not _are_all(names, str):
        return [], {}
    rows = [label.get("color") for label in labels]
    if not all(_are_all(row, int) and len(row) == 3 for row in rows):
        return names, {}
    colors = {tuple(row): name for row, name in zip(rows, names, strict=True)}
    if len(colors) < len(names):
        return names, {}
    return names, colors


def _are_all(values: Any, kind: type) -> bool:
    return isinstance(values, list) and all(isinstance(each, kind) for each in values)
