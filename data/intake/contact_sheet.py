"""A contact sheet: images beside their masks, for a person who checks the masks."""

import io
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from encoder_ablations.data.datasets.folder import FolderDataset
from encoder_ablations.data.datasets.palette import colorize, colors_of
from encoder_ablations.data.datasets.sample import Sample, mask_type
from encoder_ablations.data.datasets.spec import DatasetSpec
from encoder_ablations.data.datasets.subsets import nested_order
from encoder_ablations.utils.errors import InputError
from encoder_ablations.utils.files import write_bytes
from encoder_ablations.utils.pages.fonts import font_for, legible

LOOKED_AT = 48
"""Number of pairs that are read."""
SHOWN = 12
"""Number of pairs on the sheet."""
COLUMNS = 3
SIDE = 230
"""Longest side of a picture; each tile holds two, the image and the image under its mask."""
GAP, LINE = 12, 20
TILE = 2 * SIDE + 2 * GAP
WIDTH = GAP + COLUMNS * TILE
INK, SOFT, PAPER = (29, 38, 48), (86, 98, 112), (255, 255, 255)
HATCH = ((0, 0, 0), (255, 255, 255))
"""Ignored pixels are striped: no class has such a colour."""


class _Shown(NamedTuple):
    sample: Sample
    split: str


def write_sheet(spec: DatasetSpec, path: Path, title: str) -> list[str]:
    """Draw up to twelve pairs that show as many classes as can be, each with its mask over it.

    Returns:
        Names of classes whose letters no font here has; their ids stand in the legend.

    Raises:
        InputError: no pair can be read.
    """
    shown = _choose(spec)
    colors = colors_of(spec)
    words = _legend_words(spec)
    _, top = _legend_places(words)
    rows = [shown[start : start + COLUMNS] for start in range(0, len(shown), COLUMNS)]
    heights = [max(_fit(each.sample)[1] for each in row) + LINE + GAP for row in rows]
    sheet = Image.new("RGB", (WIDTH, top + sum(heights) + GAP), PAPER)
    draw = ImageDraw.Draw(sheet)
    text, font = legible(title, 16)
    draw.text((GAP, GAP), text, INK, font)
    _draw_legend(sheet, draw, words, colors)
    for row, height in zip(rows, heights, strict=True):
        for column, each in enumerate(row):
            _draw_pair(sheet, draw, each, (GAP + column * TILE, top), colors)
        top += height
    file = io.BytesIO()
    sheet.save(file, "PNG")
    write_bytes(path, file.getvalue())
    return [name for name in spec.classes if font_for(name, 13) is None]


def _choose(spec: DatasetSpec) -> list[_Shown]:
    """Return those pairs that add most classes, out of pairs spread evenly over all splits."""
    found, presence = _read(spec)
    order = nested_order(np.array(presence), 0)
    chosen: set[int] = set()
    # up to a quarter are validation images, another quarter test images
    for split, most in (("val", SHOWN // 4), ("test", SHOWN // 4), ("train", SHOWN)):
        free = min(most, SHOWN - len(chosen))
        chosen.update([place for place in order if found[place].split == split][:free])
    return [found[place] for place in order if place in chosen]


def _read(spec: DatasetSpec) -> tuple[list[_Shown], list[np.ndarray]]:
    """Return pairs spread evenly over all splits, and the pixels of each class in them.

    Raises:
        InputError: no pair can be read.
    """
    datasets = [FolderDataset(spec, split) for split in spec.splits]
    places = [(dataset, number) for dataset in datasets for number in range(len(dataset))]
    found, presence = [], []
    problem: InputError | None = None
    for dataset, number in places[:: max(1, len(places) // LOOKED_AT)]:
        try:
            sample = dataset[number]
        except InputError as error:
            problem = error
            continue
        assert sample.mask is not None
        labelled = sample.mask[sample.mask != sample.ignore]
        presence.append(np.bincount(labelled, minlength=len(spec.classes)))
        # of large images only every n-th pixel is kept
        step = sample.image.shape[0] // (4 * SIDE) + 1
        thin = replace(sample, image=sample.image[::step, ::step], mask=sample.mask[::step, ::step])
        found.append(_Shown(thin, dataset.split))
    if not found:
        raise InputError(
            f"no pair of '{spec.name}' can be drawn: {problem} 'ablate lint' names all such files."
        )
    return found, presence


def _legend_words(spec: DatasetSpec) -> list[tuple[str, ImageFont.FreeTypeFont]]:
    """Return the name of each class and "ignored", each with its font.

    A class whose letters no font has is shown by its id.
    """
    names = list(spec.classes)
    for number, name in enumerate(names):
        if font_for(name, 13) is None:
            names[number] = str(number)
    return [legible(name, 13) for name in (*names, "ignored")]


def _legend_places(
    words: list[tuple[str, ImageFont.FreeTypeFont]],
) -> tuple[list[tuple[int, int]], int]:
    """Return where each class and "ignored" stand, and where the pictures begin."""
    places, x, y = [], GAP, GAP + 28
    for word, font in words:
        needed = int(font.getlength(word)) + 36
        if x + needed > WIDTH:
            x, y = GAP, y + LINE
        places.append((x, y))
        x += needed
    return places, y + LINE + GAP


def _draw_legend(
    sheet: Image.Image,
    draw: ImageDraw.ImageDraw,
    words: list[tuple[str, ImageFont.FreeTypeFont]],
    colors: tuple[tuple[int, int, int], ...],
) -> None:
    legend, _ = _legend_places(words)
    boxes = [*(np.full((13, 13, 3), color, np.uint8) for color in colors), _stripes(13, 13)]
    for (x, y), (word, font), box in zip(legend, words, boxes, strict=True):
        sheet.paste(Image.fromarray(box), (x, y + 3))
        draw.rectangle((x, y + 3, x + 12, y + 15), outline=SOFT)
        draw.text((x + 18, y + 1), word, INK, font)


def _stripes(height: int, width: int) -> np.ndarray:
    """Return H×W×3 uint8: diagonal stripes."""
    place = np.arange(height)[:, None] + np.arange(width)
    return np.take(np.array(HATCH, np.uint8), place // 4 % 2, axis=0)


def _fit(sample: Sample) -> tuple[int, int]:
    """Return (width, height) in pixels of a picture on the sheet."""
    height, width = sample.image.shape[:2]
    scale = SIDE / max(height, width)
    return max(1, round(width * scale)), max(1, round(height * scale))


def _draw_pair(
    sheet: Image.Image,
    draw: ImageDraw.ImageDraw,
    each: _Shown,
    corner: tuple[int, int],
    colors: tuple[tuple[int, int, int], ...],
) -> None:
    sample, size = each.sample, _fit(each.sample)
    assert sample.mask is not None
    image = Image.fromarray(np.ascontiguousarray(sample.image))
    image = image.resize(size, Image.Resampling.BILINEAR)
    ids = Image.fromarray(sample.mask.astype(mask_type(sample.ignore)))
    mask = np.asarray(ids.resize(size, Image.Resampling.NEAREST))
    painted = colorize(mask, colors)
    ignored = mask == sample.ignore
    painted[ignored] = _stripes(*mask.shape)[ignored]
    overlay = Image.blend(image, Image.fromarray(painted), 0.55)
    sheet.paste(image, corner)
    sheet.paste(overlay, (corner[0] + SIDE + GAP // 2, corner[1]))
    name = sample.id
    if len(name) > 34:
        name = f"{name[:16]}…{name[-17:]}"
    text, font = legible(f"{each.split}  {name}  {sample.size[1]}×{sample.size[0]}", 12)
    draw.text((corner[0], corner[1] + size[1] + 3), text, SOFT, font)
