"""``ablate cache``: a dataset decoded once, into sets on disk that runs then read."""

import argparse
import math
import shutil
from collections.abc import Sequence
from pathlib import Path

from encoder_ablations.data.datasets.folder import FolderDataset
from encoder_ablations.data.datasets.preparation import prepare_dataset
from encoder_ablations.data.loading.set_files import GIB, planned_bytes, remove_set, set_folder
from encoder_ablations.data.references import load_dataset
from encoder_ablations.experiments import options
from encoder_ablations.utils.config import parse_overrides
from encoder_ablations.utils.errors import InputError
from encoder_ablations.utils.texts import plural

RESUMES = True
"""The same command goes on where Ctrl-C has stopped it."""

EXAMPLES = """  ablate cache camvid
  ablate cache ade20k --short-side 512    for studies with short_side 512 and resize_first true
  ablate cache my_data.yaml --max-gb 200
  ablate cache camvid --remove"""


def main(argv: Sequence[str] | None = None) -> int:
    """See ``ablate cache --help``."""
    arguments = _parser().parse_intermixed_args(argv)
    short_side, most = arguments.short_side, arguments.max_gb
    if short_side is not None and short_side < 32:
        raise InputError(f"--short-side {short_side}: allowed are 32 and more.")
    if not 0 < most < math.inf:
        raise InputError(f"--max-gb {most:g}: allowed is more than 0.")
    spec = load_dataset(arguments.dataset, parse_overrides(arguments.overrides))
    prepare_dataset(spec)
    datasets = [FolderDataset(spec, split) for split in spec.splits]
    if arguments.remove:
        _remove(datasets, short_side)
        return 0
    from encoder_ablations.data.loading.set_writer import write_set

    total = sum(planned_bytes(dataset, short_side) for dataset in datasets)
    _require_room(total, most, set_folder(datasets[0], short_side))
    for dataset in datasets:
        title = f"{spec.name}/{dataset.split}"
        with options.bar(title, "image", len(dataset)) as bar:
            folder = write_set(dataset, short_side, bar.update)
        print(f"{title}: {plural(len(dataset), 'image')} in {folder}")
    print(f"{_gib(total)} together; 'ablate cache {arguments.dataset} --remove' deletes them")
    return 0


def _parser() -> argparse.ArgumentParser:
    about = (
        "Decodes all images and masks of a dataset once. Runs on it then read the result, whatever "
        "the encoder; their numbers stay the same, bit for bit. The same command goes on after an "
        "interruption."
    )
    parser = options.make_parser("cache", about, EXAMPLES)
    parser.add_argument("dataset", help="a name in configs/datasets, or a YAML")
    parser.add_argument(
        "--short-side",
        type=int,
        metavar="N",
        help="store images and masks at this size of their shorter side (default: at the size of "
        "their files); evaluation uses that where short_side is N, training where resize_first is "
        "true, too",
    )
    parser.add_argument(
        "--max-gb", type=float, default=50.0, metavar="N", help="at most N GiB (default 50)"
    )
    parser.add_argument(
        "--remove", action="store_true", help="delete the sets of this dataset and size"
    )
    options.add_overrides(parser, "root=/data/camvid")
    return parser


def _require_room(needed: int, allowed: float, folder: Path) -> None:
    """Check that a set fits.

    Args:
        needed: bytes.
        allowed: GiB.
        folder: of one of its splits; none need exist yet.

    Raises:
        InputError: it needs more than is allowed, or than the disk has.
    """
    if needed > allowed * GIB:
        raise InputError(
            f"the set takes {_gib(needed)}, more than --max-gb {allowed:g}. Choose a smaller "
            "--short-side, or raise --max-gb."
        )
    place = next(parent for parent in folder.parents if parent.exists())
    used = sum(path.stat().st_size for path in folder.parent.glob("*/pixels.bin"))
    free = shutil.disk_usage(place).free + used
    if needed > free:
        raise InputError(
            f"the set takes {needed / GIB:.2f} GiB, but {place} has {free / GIB:.2f} GiB left. "
            "Choose a smaller --short-side, free some space, or set XDG_CACHE_HOME to another disk."
        )


def _gib(size: int) -> str:
    if size < GIB / 10:
        return f"{size / GIB:.2g} GiB"
    return f"{size / GIB:.2f} GiB"


def _remove(datasets: Sequence[FolderDataset], short_side: int | None) -> None:
    removed = [
        f"deleted {set_folder(each, short_side)}"
        for each in datasets
        if remove_set(each, short_side)
    ]
    print("\n".join(removed) or "there was no such set")
