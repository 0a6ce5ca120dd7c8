"""``ablate cache``: a dataset decoded once, into sets on disk that training and evaluation then read."""

import math
import shutil
from collections.abc import Sequence
from pathlib import Path

from encoder_ablations.data.datasets.folder import FolderDataset
from encoder_ablations.data.datasets.preparation import prepare_dataset
from encoder_ablations.data.loading.set_files import GIB, planned_bytes, remove_set, set_folder
from encoder_ablations.data.loading.set_writer import write_set
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
    parser = options.make_parser(
        "cache",
        "Decodes all images and masks of a dataset once. Runs on it then read the result, whatever the encoder; their "
        "numbers stay the same, bit for bit. The same command goes on after an interruption.",
        EXAMPLES,
    )
    parser.add_argument("dataset", help="a name in configs/datasets, or a YAML")
    parser.add_argument(
        "--short-side",
        type=int,
        metavar="N",
        help="store images and masks at this size of their shorter side (default: at the size of their files); "
        "evaluation uses that where short_side is N, training where resize_first is true, too",
    )
    parser.add_argument(
        "--max-gb", type=float, default=50.0, metavar="N", help="at most N GiB (default 50)"
    )
    parser.add_argument(
        "--remove", action="store_true", help="delete the sets of this dataset and size"
    )
    options.add_overrides(parser, "root=/data/camvid")
    arguments = parser.parse_intermixed_args(argv)
    if arguments.short_side is not None and arguments.short_side < 32:
        raise InputError(f"--short-side {arguments.short_side}: allowed are 32 and more.")
    if not 0 < arguments.max_gb < math.inf:
        raise InputError(f"--max-gb {arguments.max_gb:g}: allowed is more than 0.")
    spec = load_dataset(arguments.dataset, parse_overrides(arguments.overrides))
    prepare_dataset(spec)
    datasets = [FolderDataset(spec, split) for split in spec.splits]
    if arguments.remove:
        return _remove(datasets, arguments.short_side)
    total = sum(planned_bytes(dataset, arguments.short_side) for dataset in datasets)
    _require_room(total, arguments.max_gb, set_folder(datasets[0], arguments.short_side))
    for dataset in datasets:
        title = f"{spec.name}/{dataset.split}"
        with options.bar(title, "image", len(dataset)) as bar:
            folder = write_set(dataset, arguments.short_side, bar.update)
        print(f"{title}: {plural(len(dataset), 'image')} in {folder}")
    print(f"{_gib(total)} together; 'ablate cache {arguments.dataset} --remove' deletes them")
    return 0


def _require_room(needed: int, allowed: float, folder: Path) -> None:
    """``needed`` in bytes, ``allowed`` in GiB."""
    advice = "Choose a smaller --short-side, or raise --max-gb."
    if needed > allowed * GIB:
        raise InputError(f"the set takes {_gib(needed)}, more than --max-gb {allowed:g}. {advice}")
    place = next(parent for parent in folder.parents if parent.exists())
    used = sum(path.stat().st_size for path in folder.parent.glob("*/pixels.bin"))
    free = shutil.disk_usage(place).free + used
    if needed > free:
        raise InputError(
            f"the set takes {needed / GIB:.2f} GiB, but {place} has {free / GIB:.2f} GiB left. Choose a smaller "
            "--short-side, free some space, or set XDG_CACHE_HOME to another disk."
        )


def _gib(size: int) -> str:
    return f"{size / GIB:.2f} GiB" if size >= GIB / 10 else f"{size / GIB:.2g} GiB"


def _remove(datasets: Sequence[FolderDataset], short_side: int | None) -> int:
    removed = [
        str(set_folder(each, short_side)) for each in datasets if remove_set(each, short_side)
    ]
    print("\n".join(f"deleted {folder}" for folder in removed) or "there was no such set")
    return 0
