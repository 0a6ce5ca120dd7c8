"""``ablate tile``: cuts rasters and their masks into tiles, as a dataset that everything else here takes."""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from encoder_ablations.data.folder import FolderDataset, scene_of
from encoder_ablations.data.layouts.survey import list_files, survey_masks
from encoder_ablations.data.pairing import Pair
from encoder_ablations.data.raster import Range
from encoder_ablations.data.references import load_dataset
from encoder_ablations.data.spec import DatasetSpec
from encoder_ablations.data.tile_names import SCENE_PATTERN, tile_id
from encoder_ablations.data.tiles import cut, tile_count
from encoder_ablations.experiments import options
from encoder_ablations.experiments.cli import command
from encoder_ablations.utils.errors import InputError
from encoder_ablations.utils.files import new_folder, require_free, together, write_text
from encoder_ablations.utils.wording import plural

EXAMPLES = """  ablate tile ~/orthophotos                       then: ablate init orthophotos_1024
  ablate tile potsdam --size 512                  then: ablate lint potsdam_512.yaml
  ablate tile ~/sentinel --range 0 3000           numbers of 16 bits: 0 becomes black, 3000 white"""

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

    folder = options.as_folder(arguments.dataset)
    if folder is not None:
        output = arguments.output or Path(f"{folder.resolve().name}_{arguments.size}")
        _cut_all(_in_folder(folder), arguments.size, scale, output)
        print(f"next: ablate init {output}")
        return 0
    spec = load_dataset(arguments.dataset)
    output = arguments.output or Path(f"{spec.name}_{arguments.size}")
    target = output.with_name(f"{output.name}.yaml")
    if target.exists():
        raise InputError(f"{target} exists already. Choose another --output, or remove it.")
    require_free(output)
    with together(output, target):
        _cut_all(_in_dataset(spec), arguments.size, scale, output)
        write_text(target, dataset_yaml(spec, arguments.dataset, output, arguments.size))
    print(f"dataset: {target}\nnext: ablate lint {target}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = options.make_parser("tile", ABOUT, EXAMPLES)
    parser.add_argument("dataset", help="a dataset's name, its YAML, or a folder of images and masks")
    parser.add_argument("--size", type=int, default=1024, help="longest side of a tile in pixels (default 1024)")
    parser.add_argument(
        "--range",
        type=float,
        nargs=2,
        metavar=("LOW", "HIGH"),
        help="the numbers that become black and white, for images of more than 8 bits",
    )
    parser.add_argument("--output", type=Path, metavar="FOLDER", help="where to (default NAME_SIZE)")
    return parser


def _cut_all(work: Sequence[Work], largest: int, scale: Range | None, output: Path) -> None:
    """Writes all tiles, or none."""
    total = sum(tile_count(each.pair, largest, scale) for each in work)
    with new_folder(output) as folder, options.bar("cutting", "tile", total) as bar:
        for split, pair in work:
            cut(pair, folder, split, largest, scale, bar.update)
    print(f"wrote {plural(total, 'tile')} of {plural(len(work), 'image')} to {output}")


def _in_folder(folder: Path) -> list[Work]:
    """The pairs that ``ablate init`` would recognise."""
    root = folder.absolute()
    survey = survey_masks(root, list_files(root))
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
    return _distinct(work)


def _in_dataset(spec: DatasetSpec) -> list[Work]:
    if spec.mask_format == "supervisely":
        raise InputError(f"dataset '{spec.name}': its masks are outlines and cannot be cut; draw them first.")
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
            raise InputError(f"{other.image} and {pair.image} would give tiles of the same names; rename one.")
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
