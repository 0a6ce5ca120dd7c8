"""A contact sheet: images beside their masks, so that a person sees at once whether the masks are right."""

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
from encoder_ablations.utils.fonts import font_for, legible

LOOKED_AT = 48
SHOWN = 12
COLUMNS = 3
SIDE = 230
"""Longest side of a picture; each tile holds two, the image and the image under its mask."""
GAP, LINE = 12, 20
INK, SOFT, PAPER = (29, 38, 48), (86, 98, 112), (255, 255, 255)
HATCH = ((0, 0, 0), (255, 255, 255))
"""Ignored pixels are striped: no class has such a colour."""


class _Shown(NamedTuple):
    sample: Sample
    split: str


def write_sheet(spec: DatasetSpec, path: Path, title: str) -> list[str]:
    """Draws up to twelve pairs that together show as many classes as can be, each with its mask over it.

    Returns:
        Names of classes whose letters no font here has; their ids stand in the legend.

    Raises:
        InputError: no pair can be read.
    """
    shown = _choose(spec)
    colors = colors_of(spec)
    width = GAP + COLUMNS * (2 * SIDE + 2 * GAP)
    words = _legend_words(spec)
    legend, bottom = _legend_places(words, width)
    rows = [shown[start : start + COLUMNS] for start in range(0, len(shown), COLUMNS)]
    heights = [max(_fit(each.sample)[1] for each in row) for row in rows]
    sheet = Image.new("RGB", (width, bottom + sum(heights) + len(rows) * (LINE + GAP) + GAP), PAPER)
    draw = ImageDraw.Draw(sheet)
    text, font = legible(title, 16)
    draw.text((GAP, GAP), text, INK, font)
    for (x, y), (word, font), color in zip(legend, words, [*colors, None], strict=True):
        box = Image.new("RGB", (13, 13), color) if color else Image.fromarray(_stripes(13, 13))
        sheet.paste(box, (x, y + 3))
        draw.rectangle((x, y + 3, x + 12, y + 15), outline=SOFT)
        draw.text((x + 18, y + 1), word, INK, font)
    top = bottom
    for row, height in zip(rows, heights, strict=True):
        for column, each in enumerate(row):
            _draw_pair(sheet, draw, each, (GAP + column * (2 * SIDE + 2 * GAP), top), colors)
        top += height + LINE + GAP
    file = io.BytesIO()
    sheet.save(file, "PNG")
    write_bytes(path, file.getvalue())
    return [name for name in spec.classes if font_for(name, 13) is None]


def _choose(spec: DatasetSpec) -> list[_Shown]:
    """Of pairs spread evenly over all splits, those that add most classes."""
    datasets = [FolderDataset(spec, split) for split in spec.splits]
    total = sum(map(len, datasets))
    step = max(1, total // LOOKED_AT)
    places = [(dataset, number) for dataset in datasets for number in range(len(dataset))][::step]
    found, presence, problem = [], [], None
    for dataset, number in places:
        try:
            sample = dataset[number]
        except InputError as error:
            problem = error
            continue
        assert sample.mask is not None
        small = sample.image.shape[0] // (4 * SIDE) + 1  # of rasters only every n-th pixel is kept
        mask = sample.mask
        presence.append(np.bincount(mask[mask != sample.ignore], minlength=len(spec.classes)))
        thin = replace(sample, image=sample.image[::small, ::small], mask=mask[::small, ::small])
        found.append(_Shown(thin, dataset.split))
    if not found:
        raise InputError(
            f"no pair of '{spec.name}' can be drawn: {problem} 'ablate lint' names all such files."
        )
    order = nested_order(np.array(presence), 0)
    chosen: list[int] = []
    for split in ("val", "test", "train"):  # of validation and test images up to a quarter each
        most = SHOWN - len(chosen) if split == "train" else SHOWN // 4
        chosen += [position for position in order if found[position].split == split][:most]
    return [found[position] for position in order if position in chosen]


def _legend_words(spec: DatasetSpec) -> list[tuple[str, ImageFont.FreeTypeFont]]:
    """The name of each class (its id where no font has the letters) and "ignored", each with its font."""
    names = [
        name if font_for(name, 13) else str(number) for number, name in enumerate(spec.classes)
    ]
    return [legible(name, 13) for name in (*names, "ignored")]


def _legend_places(
    words: list[tuple[str, ImageFont.FreeTypeFont]], width: int
) -> tuple[list[tuple[int, int]], int]:
    """Where each class and "ignored" stand, and where the pictures begin."""
    places, x, y = [], GAP, GAP + 28
    for word, font in words:
        needed = int(font.getlength(word)) + 36
        if x + needed > width:
            x, y = GAP, y + LINE
        places.append((x, y))
        x += needed
    return places, y + LINE + GAP


def _stripes(height: int, width: int) -> np.ndarray:
    """H×W×3 uint8, diagonal."""
    place = np.arange(height)[:, None] + np.arange(width)
    return np.array(HATCH, np.uint8)[place // 4 % 2]


def _fit(sample: Sample) -> tuple[int, int]:
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
    image = Image.fromarray(np.ascontiguousarray(sample.image)).resize(
        size, Image.Resampling.BILINEAR
    )
    ids = Image.fromarray(sample.mask.astype(mask_type(sample.ignore))).resize(
        size, Image.Resampling.NEAREST
    )
    mask = np.asarray(ids)
    painted = colorize(mask, colors)
    ignored = mask == sample.ignore
    painted[ignored] = _stripes(*mask.shape)[ignored]
    overlay = Image.blend(image, Image.fromarray(painted), 0.55)
    sheet.paste(image, corner)
    sheet.paste(overlay, (corner[0] + SIDE + GAP // 2, corner[1]))
    name = sample.id if len(sample.id) <= 34 else f"{sample.id[:16]}…{sample.id[-17:]}"
    text, font = legible(f"{each.split}  {name}  {sample.size[1]}×{sample.size[0]}", 12)
    draw.text((corner[0], corner[1] + size[1] + 3), text, SOFT, font)
