"""Class names and colours that lie beside the data in a text file."""

import json
import re
from pathlib import Path

from encoder_ablations.data.class_names import require_names
from encoder_ablations.data.layouts.values import Color
from encoder_ablations.utils.errors import InputError

NAMES = ("classes.txt", "labels.txt", "class_names.txt", "names.txt", "obj.names", "classes.names", "label_names.txt")
TABLES = ("class_dict.csv", "label_colors.txt", "labelmap.txt", "label_colors.csv", "classes.csv", "class_dict_seg.csv")
JSONS = ("classes.json", "labels.json")
UNLABELLED = frozenset({"void", "ignore", "ignored", "unlabeled", "unlabelled", "notlabeled", "notlabelled"})


def means_unlabelled(name: str) -> bool:
    """Whether a list calls pixels so that belong to no class: "Void", "__ignore__", "not labelled"."""
    return re.sub(r"[\W_]+", "", name.lower()) in UNLABELLED


def read_names(files: list[Path]) -> tuple[list[str], dict[Color, str], Path | None]:
    """Names in id order, names by colour, and the file they come from; empty where there is none.

    Raises:
        InputError: a colour in a table has a number over 255 or no name, or a name in a list is empty or stands twice.
    """
    for path in sorted(files, key=lambda path: len(path.parts)):
        name = path.name.lower()
        if name in TABLES + NAMES + JSONS:
            try:
                text = path.read_text(encoding="utf-8-sig")
            except (OSError, UnicodeDecodeError):
                continue
            names, colors = _read_json(text) if name in JSONS else _read_lines(text, path)
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
        numbers = [int(number) for number in re.findall(r"(?<![A-Za-z_\d.])\d+(?![A-Za-z_\d.])", line)]
        name = re.sub(r"[\s,;:]+(\d+([\s,;:]+|$))*", " ", re.sub(r"^[\d\s,;:]+(?=[^\W\d])", "", line)).strip()
        if re.fullmatch(r"\d+\s*[:,;]+", line) or (len(numbers) == 3 and not re.search(r"[^\W_]", name)):
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
        raise InputError(f"{path}, row {unnamed[0]}: a class has an empty name; give it one, or remove the row.")
    if colors and beyond:
        raise InputError(f"{path}, {beyond[0]} has a number over 255; correct it.")
    return names, colors


def _read_json(text: str) -> tuple[list[str], dict[Color, str]]:
    try:
        content = json.loads(text)
    except ValueError:
        return [], {}
    if isinstance(content, list) and all(isinstance(each, str) for each in content):
        return content, {}
    if isinstance(content, dict) and all(str(key).isdigit() and isinstance(each, str) for key, each in content.items()):
        return [content[key] for key in sorted(content, key=int)], {}
    return [], {}
