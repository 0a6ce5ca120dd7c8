"""``ablate tile``: cuts rasters and their masks into tiles, as a dataset that everything else here takes."""

import argparse
import json
import sys
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
from encoder_ablations.data.intake.raster import Range, Reading
from encoder_ablations.data.intake.tiles import cut, held_ids, outline
from encoder_ablations.data.references import load_dataset
from encoder_ablations.experiments import options
from encoder_ablations.experiments.cli import command
from encoder_ablations.utils.errors import InputError
from encoder_ablations.utils.files import new_folder, require_free, together, write_text
from encoder_ablations.utils.texts import plural

EXAMPLES = """  ablate tile ~/orthophotos                       then: ablate init orthophotos_1024
  ablate tile potsdam --size 512                  then: ablate lint potsdam_512.yaml
  ablate tile ~/sentinel --range 0 3000           numbers of 16 bits: 0 becomes black, 3000 white
  ablate tile ~/sentinel --range 0 3000 --bands 4 3 2     bands 4, 3, 2 are red, green, blue"""

ABOUT = """Cuts large images and their masks into PNG tiles, because training reads whole files. They are read some
rows at a time and never whole, so that any size will do; formats are those of GDAL, GeoTIFF first of all. Each
pixel lies in exactly one tile, so that scores over tiles are scores over images. Your files stay as they are."""

SMALLEST = 32


class Work(NamedTuple):
    """A pair to be cut, and the split it belongs to; "" where nothing says so."""

    split: str
    pair: Pair


def main(argv: Sequence[str] | None = None) -> int:
    """See ``ablate tile --help``."""
    arguments = _parser().parse_args(argv)
    if arguments.size < SMALLEST:
        raise InputError(f"--size {arguments.size}: allowed are {SMALLEST} pixels and more.")
    scale = Range(*arguments.range) if arguments.range else None
    if scale is not None and not scale.low < scale.high:
        raise InputError(f"--range {scale.low:g} {scale.high:g}: LOW must be less than HIGH.")
    if len(arguments.bands) not in (0, 1, 3):
        raise InputError(
            f"--bands names {plural(len(arguments.bands), 'band')}: allowed are three, or one of grey."
        )
    reading = Reading(scale, tuple(arguments.bands))

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
    parser.add_argument(
        "--range",
        type=float,
        nargs=2,
        metavar=("LOW", "HIGH"),
        help="the numbers that become black and white, for images of more than 8 bits",
    )
    parser.add_argument(
        "--bands",
        type=int,
        nargs="+",
        default=[],
        metavar="N",
        help="an image's red, green and blue band, or the one that is grey, counted from 1 (default 1 2 3)",
    )
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
    """Writes all tiles, or none.

    Args:
        ignored: asked for the values that mean "not labelled" where a raster declares that it has pixels without data.
    """
    outlines = [outline(each.pair, largest, reading) for each in work]
    total = sum(each.tiles for each in outlines)
    spare = [
        (each.pair, found.spare_bands)
        for each, found in zip(work, outlines, strict=True)
        if found.spare_bands
    ]
    if spare and not reading.bands:
        pair, bands = spare[0]
        taken = f"of {plural(len(spare), 'image')} only the first bands are taken"
        print(
            f"note: {taken}, not {', '.join(map(str, bands))} of {pair.image.name}; --bands takes others."
        )
    void = [each.void for each in outlines if each.void]
    if void:
        reading = reading._replace(ignored=ignored())
        what = "these are not labelled in the tiles (255, in 16-bit masks 65535)"
        if not reading.ignored:
            what = "but 255 is a class in these masks, and the pixels keep their ids"
        print(
            f"note: {plural(len(void), 'pair', 'has/have')} pixels that are declared to be no data, {void[0]}; {what}."
        )
    with new_folder(output) as folder, options.bar("cutting", "tile", total) as bar:
        for split, pair in work:
            cut(pair, folder, split, largest, reading, bar.update)
    print(f"wrote {plural(total, 'tile')} of {plural(len(work), 'image')} to {output}")


def _free_values(work: Sequence[Work]) -> tuple[int, ...]:
    """As ``ablate init`` will see it: 255 is "not labelled" unless values are spread over 0..255 or only these two."""
    held = {value for each in work for value in held_ids(each.pair.mask)}
    is_class = held <= {0, IGNORE} or IGNORE in class_values(held, 0)[0]
    return () if is_class else (IGNORE, WIDE_IGNORE)


def _ignored(spec: DatasetSpec) -> tuple[int, ...]:
    classes = class_table(spec)
    return tuple(
        value
        for value in {IGNORE, WIDE_IGNORE, *spec.ignore_ids}
        if classes[value] == spec.ignore_label
    )


def _in_folder(folder: Path) -> list[Work]:
    """The pairs that ``ablate init`` would recognise."""
    root = folder.absolute()
    try:
        survey = survey_masks(root, list_files(root))
    except Unsure as error:
        kinds = ", ".join(reading.option.removeprefix("--masks ") for reading in error.readings)
        raise InputError(
            f"{folder}: {error.question} Leave one of {kinds} in the folder, or give the YAML of a dataset."
        ) from error
    work = [
        Work(source.split or "", Pair(source.id, source.image, source.mask))
        for source in survey.sources
        if source.mask is not None
    ]
    if not work:
        raise InputError(
            f"{folder} holds no image with a mask of the same name. Put them into 'images' and 'masks', with "
            "sub-folders train, val and test if you have them."
        )
    for remark in survey.without_partner(root):
        print(f"note: {remark}")
    return _distinct(work)


def _in_dataset(spec: DatasetSpec) -> list[Work]:
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
                    f"dataset '{spec.name}': scene_pattern '{spec.scene_pattern}' finds the scene '{scene}' in "
                    f"'{pair.id}', but another one in the name of its tiles, '{name}'. Let it end sooner."
                )
            work.append(Work(split, pair))
    return _distinct(work)


def _distinct(work: list[Work]) -> list[Work]:
    """
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
    """The dataset of the tiles: that of the rasters, elsewhere."""
    base = str(Path(reference).resolve()) if Path(reference).exists() else reference
    return "\n".join(
        [
            f"# {spec.name} in tiles of at most {size}×{size} pixels: written by  ablate tile",
            f"base: {json.dumps(base)}",
            f"name: {json.dumps(output.name)}",
            f"root: {json.dumps(str(output.resolve()))}",
            "images: images",
            "masks: masks",
            f"splits: {{{', '.join(f'{split}: {split}' for split in spec.splits)}}}",
            "# what tiles of one scene have in common in their names",
            f"scene_pattern: {json.dumps(spec.scene_pattern or SCENE_PATTERN)}",
            *(["hub: null"] if spec.hub is not None else []),
            "",
        ]
    )


if __name__ == "__main__":
    sys.exit(command(main, resumes=False))
