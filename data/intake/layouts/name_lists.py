"""Class names and colours that lie beside the data in a text file."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

from pydantic import BaseModel, TypeAdapter, ValidationError

from encoder_ablations.data.datasets.class_names import require_names
from encoder_ablations.data.intake.layouts.codes import Color
from encoder_ablations.data.intake.layouts.survey import text_of
from encoder_ablations.utils.errors import InputError
from encoder_ablations.utils.texts import first_names

NAMES = (
    "classes.txt",
    "labels.txt",
    "class_names.txt",
    "names.txt",
    "obj.names",
    "classes.names",
    "label_names.txt",
)
ROBOFLOW = "_classes.csv"
TABLES = (
    "class_dict.csv",
    "label_colors.txt",
    "labelmap.txt",
    "label_colors.csv",
    "classes.csv",
    "class_dict_seg.csv",
    ROBOFLOW,
)
LISTS = {*NAMES, *TABLES, "classes.json", "labels.json"}
CONFIGS = re.compile(r"config(?:_(v[\d.]+))?\.json")
"""Mapillary Vistas' lists, one for each version of its labels."""
UNLABELLED = frozenset(
    {"void", "ignore", "ignored", "unlabeled", "unlabelled", "notlabeled", "notlabelled"}
)
LABELME_IGNORE = "__ignore__"
"""labelme begins its lists with it and counts from -1."""
_LINE = re.compile(r"^([\d\s,;:]*)(.*?)([\s,;:]+\d+(?![\w.]).*|[\s,;:]*)$")
"""A name with numbers before or after it: "0 sky", "Sky 128 128 128", "sky:128,128,128::"."""
_HEADER = re.compile(r"(?i)\bname\b.*\b(r|red)\b|#.*|\s*pixel value\b")
"""The head of a table of colours or of Roboflow's ``_classes.csv``, or a comment."""
_NUMBER = re.compile(r"\d+")

Names = tuple[list[str], dict[Color, str]]
"""Class names in id order, and names by colour."""


class _VistasLabel(BaseModel):
    readable: str
    color: Color


class _Vistas(BaseModel):
    labels: list[_VistasLabel]


_JSON: TypeAdapter[list[str] | dict[int, str] | _Vistas] = TypeAdapter(
    list[str] | dict[int, str] | _Vistas
)
"""A list of names, names by id, or Mapillary Vistas' ``config.json``."""


def unlabelled_places(remarks: list[str], names: list[str], pixels: Mapping[int, int]) -> set[int]:
    """Return the positions of names that mean "not labelled", and add a remark for each.

    The result is empty where fewer than two classes would be left.

    Args:
        remarks: where the remarks go.
        names: class names, e.g. "Void", "__ignore__", "not labelled".
        pixels: number of pixels by position.
    """
    plain = [re.sub(r"[\W_]+", "", name.lower()) for name in names]
    found = {number for number, name in enumerate(plain) if name in UNLABELLED}
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
        files: all files; of several lists the one in the highest folder is read.
        masks: files that the names are for. ``config_v1.2.json`` belongs to masks below a folder
            ``v1.2``.

    Raises:
        InputError: a colour in a table has a number over 255 or no name, a name in a list is
            empty or stands twice, or ids leave some out.
    """
    folders = set(chain.from_iterable(mask.parts for mask in masks))
    lists = [path for path in files if _lists_names(path, folders)]
    for path in sorted(lists, key=lambda path: len(path.parts)):
        names, colors = _parse(path)
        if names:
            return names, colors, path
    return [], {}, None


def _lists_names(path: Path, folders: set[str]) -> bool:
    """Return whether a file's name says that it lists classes, of masks in these folders."""
    name = path.name.lower()
    config = CONFIGS.fullmatch(name)
    if config is None:
        return name in LISTS
    return config[1] is None or config[1] in folders


def _parse(path: Path) -> Names:
    text = text_of(path)
    if path.suffix.lower() == ".json":
        names, colors = _read_json(text)
    else:
        names, colors = _read_lines(text, path)
    if colors:
        return list(dict.fromkeys(names)), colors
    if names[:1] == [LABELME_IGNORE]:
        names = names[1:]
    require_names(names, str(path))
    return names, {}


@dataclass
class _Rows:
    """What the rows of a list hold.

    Attributes:
        names: in the order of the rows.
        values: of rows with one number: the number -> the name.
        colors: of rows with three numbers up to 255: the colour -> the name.
        unnamed: numbers of the rows that have no name.
        beyond: what is said of rows with larger numbers.
    """

    names: list[str] = field(default_factory=list)
    values: dict[int, str] = field(default_factory=dict)
    colors: dict[Color, str] = field(default_factory=dict)
    unnamed: list[int] = field(default_factory=list)
    beyond: list[str] = field(default_factory=list)

    def add(self, row: int, name: str, numbers: tuple[int, ...]) -> None:
        """Add a row, counted from 1."""
        if name:
            self.names.append(name)
        elif numbers:
            self.unnamed.append(row)
        if name and len(numbers) == 1:
            self.values[numbers[0]] = name
        if max(numbers, default=0) > 255:
            self.beyond.append(f"row {row}: the colour {first_names(numbers)} of '{name}'")
        elif len(numbers) == 3:
            red, green, blue = numbers
            self.colors[red, green, blue] = name


def _read_lines(text: str, path: Path) -> Names:
    """Read lines of a name and perhaps an id or a colour."""
    rows = _Rows()
    for number, line in enumerate(text.splitlines(), start=1):
        if not _HEADER.match(line):
            rows.add(number, *_parse_line(line))
    # without any name, or without any colour, the numbers mean something else
    if rows.names and rows.unnamed:
        raise InputError(
            f"{path}, row {rows.unnamed[0]}: a class has an empty name; give it one, or remove the "
            "row."
        )
    if rows.colors and rows.beyond:
        raise InputError(f"{path}, {rows.beyond[0]} has a number over 255; correct it.")
    # one number beside every name is its id, whatever the order of the rows
    if rows.names and len(rows.values) == len(rows.names):
        if path.name.lower() == ROBOFLOW:
            _refuse_gaps(rows.values, path)
        return [rows.values[number] for number in sorted(rows.values)], rows.colors
    return rows.names, rows.colors


def _refuse_gaps(names: Mapping[int, str], path: Path) -> None:
    """Check that the ids of classes follow each other, because a class is known by its place.

    Raises:
        InputError: an id between 1 and the largest one has no name.
    """
    missing = set(range(1, max(names))) - names.keys()
    if missing:
        raise InputError(
            f"{path}: no class has the id {first_names(sorted(missing))}, but the ids of classes "
            "must follow each other. Add a row with a name for each; no mask need show it."
        )


def _parse_line(line: str) -> tuple[str, Any]:
    """Return the name in a line, and its last three numbers."""
    before, name, after = _LINE.findall(line.strip())[0]
    numbers = _NUMBER.findall(f"{before} {after}")
    return name, tuple(map(int, numbers[-3:]))


def _read_json(text: str) -> Names:
    """Return names in id order, with their colours where no two are equal; else none."""
    try:
        content = _JSON.validate_json(text)
    except ValidationError:
        return [], {}
    if isinstance(content, list):
        return content, {}
    if isinstance(content, dict):
        return [content[number] for number in sorted(content)], {}
    colors = {label.color: label.readable for label in content.labels}
    names = [label.readable for label in content.labels]
    if len(colors) < len(names):
        return names, {}
    return names, colors
