"""``ablate tile``: rasters and their masks cut into tiles, which make a dataset."""

import argparse
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from encoder_ablations.data.datasets.decoding import class_table
from encoder_ablations.data.datasets.folder import FolderDataset, scene_of
from encoder_ablations.data.datasets.pairing import Pair
from encoder_ablations.data.datasets.preparation import prepare_dataset
from encoder_ablations.data.datasets.sample import IGNORE, WIDE_IGNORE
from encoder_ablations.data.datasets.spec import DatasetSpec
from encoder_ablations.data.datasets.tile_names import SCENE_PATTERN, tile_id
from encoder_ablations.data.intake.layouts.choices import Unsure
from encoder_ablations.data.intake.layouts.mask_folders import survey_masks
from encoder_ablations.data.intake.layouts.mask_values import class_values
from encoder_ablations.data.intake.layouts.survey import list_files
from encoder_ablations.data.intake.raster_reading import Reading
from encoder_ablations.data.intake.tiles import Outline, cut, held_ids, outline
from encoder_ablations.data.references import load_dataset
from encoder_ablations.experiments import options
from encoder_ablations.experiments.raster_options import add_raster_options, read_reading
from encoder_ablations.utils.errors import InputError
from encoder_ablations.utils.files import new_folder, require_free, together, write_text
from encoder_ablations.utils.texts import plural

EXAMPLES = """  ablate tile ~/orthophotos                       then: ablate init orthophotos_1024
  ablate tile potsdam --size 512                  then: ablate lint potsdam_512.yaml
  ablate tile ~/sentinel --range 0 3000           numbers of 16 bits: 0 becomes black, 3000 white
  ablate tile ~/sentinel --range 0 3000 --bands 4 3 2     bands 4, 3, 2 are red, green, blue"""

ABOUT = """Cuts large images and their masks into PNG tiles, because training reads whole files.
They are read some rows at a time and never whole, so that any size will do; formats are those of
GDAL, GeoTIFF first of all. Each pixel lies in exactly one tile, so that scores over tiles are
scores over images. Your files stay as they are."""

SMALLEST = 32
"""Smallest allowed longest side of a tile in pixels."""


class Work(NamedTuple):
    """A pair to be cut, and the split it belongs to; "" where nothing says so."""

    split: str
    pair: Pair


def main(argv: Sequence[str] | None = None) -> int:
    """See ``ablate tile --help``."""
    arguments = _parser().parse_args(argv)
    if arguments.size < SMALLEST:
        raise InputError(f"--size {arguments.size}: allowed are {SMALLEST} pixels and more.")
    reading = read_reading(arguments)
    folder = options.as_folder(arguments.dataset)
    if folder is not None:
        output = arguments.output or Path(f"{folder.resolve().name}_{arguments.size}")
        work = _in_folder(folder)
        _cut_all(work, arguments.size, reading, output, lambda: _free_values(work))
        print(f"next: ablate init {output}")
        return 0
    spec = load_dataset(arguments.dataset)
    output = arguments.output or Path(f"{spec.name}_{arguments.size}")
    target = output.with_name(f"{output.name}.yaml")
    if target.exists():
        raise InputError(f"{target} exists already. Choose another --output, or remove it.")
    require_free(output)
    with together(output, target):
        _cut_all(_in_dataset(spec), arguments.size, reading, output, lambda: _ignored(spec))
        write_text(target, dataset_yaml(spec, arguments.dataset, output, arguments.size))
    print(f"dataset: {target}\nnext: ablate lint {target}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = options.make_parser("tile", ABOUT, EXAMPLES)
    parser.add_argument(
        "dataset", help="a dataset's name, its YAML, or a folder of images and masks"
    )
    parser.add_argument(
        "--size", type=int, default=1024, help="longest side of a tile in pixels (default 1024)"
    )
    add_raster_options(parser)
    parser.add_argument(
        "--output", type=Path, metavar="FOLDER", help="where to (default NAME_SIZE)"
    )
    return parser


def _cut_all(
    work: Sequence[Work],
    largest: int,
    reading: Reading,
    output: Path,
    ignored: Callable[[], tuple[int, ...]],
) -> None:
    """Write all tiles, or none.

    Args:
        work: the pairs to be cut.
        largest: longest side of a tile in pixels.
        reading: what the files do not say themselves.
        output: the new folder.
        ignored: asked for the values that mean "not labelled" where a raster declares that it has
            pixels without data.
    """
    outlines = [outline(each.pair, largest, reading) for each in work]
    total = sum(each.tiles for each in outlines)
    if not reading.bands:
        _note_spare_bands(work, outlines)
    void = [each.void for each in outlines if each.void]
    if void:
        reading = reading._replace(ignored=ignored())
        _note_void(void, bool(reading.ignored))
    with new_folder(output) as folder, options.bar("cutting", "tile", total) as bar:
        for split, pair in work:
            cut(pair, folder, split, largest, reading, bar.update)
    print(f"wrote {plural(total, 'tile')} of {plural(len(work), 'image')} to {output}")


def _note_void(void: Sequence[str], ignored: bool) -> None:
    """Say that some pixels are declared to be no data, and whether they are ignored."""
    what = "but 255 is a class in these masks, and the pixels keep their ids"
    if ignored:
        what = "these are not labelled in the tiles (255, in 16-bit masks 65535)"
    pairs = plural(len(void), "pair", "has/have")
    print(f"note: {pairs} pixels that are declared to be no data, {void[0]}; {what}.")


def _note_spare_bands(work: Sequence[Work], outlines: Sequence[Outline]) -> None:
    """Say which bands are not taken, of the first image that has such."""
    pairs = zip(work, outlines, strict=True)
    spare = [(each.pair.image, found.spare_bands) for each, found in pairs if found.spare_bands]
    if spare:
        image, bands = spare[0]
        print(
            f"note: of {plural(len(spare), 'image')} only the first bands are taken, not "
            f"{', '.join(map(str, bands))} of {image.name}; --bands takes others."
        )


def _free_values(work: Sequence[Work]) -> tuple[int, ...]:
    """Return the values that mean "not labelled", as ``ablate init`` will see it.

    255 means that unless values are spread over 0..255, or are only 0 and 255.
    """
    held = set[int]().union(*(held_ids(each.pair.mask) for each in work))
    if held <= {0, IGNORE} or IGNORE in class_values(held, 0)[0]:
        return ()
    return IGNORE, WIDE_IGNORE


def _ignored(spec: DatasetSpec) -> tuple[int, ...]:
    """Return the values that mean "not labelled" in a dataset."""
    classes = class_table(spec)
    values = {IGNORE, WIDE_IGNORE, *spec.ignore_ids}
    return tuple(value for value in values if classes[value] == spec.ignore_label)


def _in_folder(folder: Path) -> list[Work]:
    """Return the pairs that ``ablate init`` recognises.

    Raises:
        InputError: there are none, or several files may be an image's mask.
    """
    root = folder.absolute()
    try:
        survey = survey_masks(root, list_files(root))
    except Unsure as error:
        kinds = ", ".join(reading.option.removeprefix("--masks ") for reading in error.readings)
        raise InputError(
            f"{folder}: {error.question} Leave one of {kinds} in the folder, or give the YAML of a "
            "dataset."
        ) from error
    work = [
        Work(source.split or "", Pair(source.id, source.image, source.mask))
        for source in survey.sources
        if source.mask is not None
    ]
    if not work:
        raise InputError(
            f"{folder} holds no image with a mask of the same name. Put them into 'images' and "
            "'masks', with sub-folders train, val and test if you have them."
        )
    for remark in survey.without_partner(root):
        print(f"note: {remark}")
    return _distinct(work)


def _in_dataset(spec: DatasetSpec) -> list[Work]:
    """Return the pairs of a dataset.

    Raises:
        InputError: its masks cannot be cut, or its scenes would not be found in the tiles' names.
    """
    if spec.mask_format == "supervisely":
        raise InputError(
            f"dataset '{spec.name}': its masks are outlines and cannot be cut; draw them first."
        )
    prepare_dataset(spec)
    work = []
    for split in spec.splits:
        dataset = FolderDataset(spec, split)
        for pair, scene in zip(dataset.pairs, dataset.scenes, strict=True):
            name = tile_id(pair.id, 0, 0)
            if spec.scene_pattern is not None and scene_of(spec, name) != scene:
                raise InputError(
                    f"dataset '{spec.name}': scene_pattern '{spec.scene_pattern}' finds the scene "
                    f"'{scene}' in '{pair.id}', but another one in the name of its tiles, "
                    f"'{name}'. Let it end sooner."
                )
            work.append(Work(split, pair))
    return _distinct(work)


def _distinct(work: list[Work]) -> list[Work]:
    """Return the pairs after a check of the names of their tiles.

    Raises:
        InputError: two rasters would give tiles of the same names.
    """
    seen: dict[tuple[str, str], Pair] = {}
    for split, pair in work:
        other = seen.setdefault((split, tile_id(pair.id, 0, 0)), pair)
        if other is not pair:
            raise InputError(
                f"{other.image} and {pair.image} would give tiles of the same names; rename one."
            )
    return work


def dataset_yaml(spec: DatasetSpec, reference: str, output: Path, size: int) -> str:
    """Return the YAML of the tiles' dataset: that of the rasters, in another folder."""
    base = reference
    if Path(reference).exists():
        base = str(Path(reference).resolve())
    splits = ", ".join(f"{split}: {split}" for split in spec.splits)
    lines = [
        f"# {spec.name} in tiles of at most {size}×{size} pixels: written by  ablate tile",
        f"base: {json.dumps(base)}",
        f"name: {json.dumps(output.name)}",
        f"root: {json.dumps(str(output.resolve()))}",
        "images: images",
        "masks: masks",
        f"splits: {{{splits}}}",
        "# what tiles of one scene have in common in their names",
        f"scene_pattern: {json.dumps(spec.scene_pattern or SCENE_PATTERN)}",
    ]
    if spec.hub is not None:
        lines.append("hub: null")
    return "\n".join(lines) + "\n"
