"""Class names and colours that lie beside the data in a text file."""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from encoder_ablations.data.datasets.class_names import require_names
from encoder_ablations.data.intake.layouts.mask_values import Color
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


def means_unlabelled(name: str) -> bool:
    """Whether a list calls pixels so that belong to no class: "Void", "__ignore__", "not labelled"."""
    return re.sub(r"[\W_]+", "", name.lower()) in UNLABELLED


def unlabelled_places(remarks: list[str], names: list[str], pixels: Mapping[int, int]) -> set[int]:
    """Positions of the names in a list that mean "not labelled", with a remark; none where under two classes are left.

    Args:
        remarks: where the remark goes.
        pixels: by position.
    """
    found = {number for number, name in enumerate(names) if means_unlabelled(name)}
    if len(names) - len(found) < 2:
        return set()
    for number in sorted(found):
        share = 100 * pixels.get(number, 0) / max(1, sum(pixels.values()))
        remarks.append(
            f"'{names[number]}' is no class here: its pixels are ignored (255), {share:.3g} % of all. "
            "Give all names with --classes if it is to be learnt."
        )
    return found


def read_names(
    files: list[Path], masks: Sequence[Path] = ()
) -> tuple[list[str], dict[Color, str], Path | None]:
    """Names in id order, names by colour, and the file they come from; empty where there is none.

    Args:
        masks: files that the names are for: ``config_v1.2.json`` belongs to masks below a folder ``v1.2``.

    Raises:
        InputError: a colour in a table has a number over 255 or no name, or a name in a list is empty or stands twice.
    """
    folders = {part.lower() for mask in masks for part in mask.parts[:-1]}
    for path in sorted(files, key=lambda path: len(path.parts)):
        name = path.name.lower()
        config = CONFIGS.fullmatch(name)
        if config and config[1] and masks and config[1] not in folders:
            continue
        if config or name in TABLES + NAMES + JSONS:
            try:
                text = path.read_text(encoding="utf-8-sig")
            except (OSError, UnicodeDecodeError):
                continue
            names, colors = _read_json(text) if name.endswith(".json") else _read_lines(text, path)
            if not colors and names[:1] == ["__ignore__"]:
                names = names[1:]  # labelme begins its lists with it and counts from -1
            if not colors:
                require_names(names, str(path))
            if names:
                return names, colors, path
    return [], {}, None


def _read_lines(text: str, path: Path) -> tuple[list[str], dict[Color, str]]:
    """Lines of a name, or of a name and three numbers in any order ("Sky 128 128 128", "sky:128,128,128::")."""
    names: list[str] = []
    colors: dict[Color, str] = {}
    unnamed = []  # in a file without any name the numbers mean something else
    beyond = []  # in a file without any colour the numbers mean something else
    for row, line in enumerate(text.splitlines(), start=1):
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        numbers = [
            int(number) for number in re.findall(r"(?<![A-Za-z_\d.])\d+(?![A-Za-z_\d.])", line)
        ]
        name = re.sub(
            r"[\s,;:]+(\d+([\s,;:]+|$))*", " ", re.sub(r"^[\d\s,;:]+(?=[^\W\d])", "", line)
        ).strip()
        if re.fullmatch(r"\d+\s*[:,;]+", line) or (
            len(numbers) == 3 and not re.search(r"[^\W_]", name)
        ):
            unnamed.append(row)
        if not name or (len(numbers) not in (0, 1) and len(numbers) < 3):
            continue
        if len(numbers) >= 3:
            red, green, blue = numbers[-3:]
            if max(red, green, blue) < 256:
                colors[red, green, blue] = name
            else:
                beyond.append(f"row {row}: the colour {red}, {green}, {blue} of '{name}'")
        elif re.search(r"(?i)\bname\b.*\b(r|red)\b", line):
            continue
        if name not in names or not numbers or len(numbers) == 1:
            names.append(name)
    if names and unnamed:
        raise InputError(
            f"{path}, row {unnamed[0]}: a class has an empty name; give it one, or remove the row."
        )
    if colors and beyond:
        raise InputError(f"{path}, {beyond[0]} has a number over 255; correct it.")
    return names, colors


def _read_json(text: str) -> tuple[list[str], dict[Color, str]]:
    """A list of names, names by id, or Mapillary Vistas' ``config.json``."""
    try:
        content = json.loads(text)
    except ValueError:
        return [], {}
    if isinstance(content, list) and all(isinstance(each, str) for each in content):
        return content, {}
    if not isinstance(content, dict):
        return [], {}
    if isinstance(content.get("labels"), list):
        return _read_vistas(content["labels"])
    if all(str(key).isdigit() and isinstance(each, str) for key, each in content.items()):
        return [content[key] for key in sorted(content, key=int)], {}
    return [], {}


def _read_vistas(labels: list[Any]) -> tuple[list[str], dict[Color, str]]:
    """Names in id order; their colours only where no two are equal, for else they tell nothing."""
    if not all(
        isinstance(label, dict) and isinstance(label.get("readable"), str) for label in labels
    ):
        return [], {}
    names = [label["readable"] for label in labels]
    rows = [label.get("color") for label in labels]
    if not all(
        isinstance(row, list) and len(row) == 3 and all(isinstance(each, int) for each in row)
        for row in rows
    ):
        return names, {}
    colors: dict[Color, str] = {
        (row[0], row[1], row[2]): name for row, name in zip(rows, names, strict=True)
    }
    return names, colors if len(colors) == len(names) else {}
