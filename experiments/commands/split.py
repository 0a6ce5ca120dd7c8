"""``ablate split``: index files for train, val and test, or for k folds and one test set."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from encoder_ablations.data.datasets.folder import FolderDataset
from encoder_ablations.data.datasets.pairing import Pair, find_all_pairs, find_pairs
from encoder_ablations.data.datasets.pixel_counts import scan_masks
from encoder_ablations.data.datasets.preparation import prepare_dataset
from encoder_ablations.data.datasets.scene_names import LikelyScenes, likely_scenes
from encoder_ablations.data.datasets.spec import DatasetSpec, Split
from encoder_ablations.data.datasets.subsets import fingerprint, subset, training_order
from encoder_ablations.data.datasets.tile_names import INDEPENDENT
from encoder_ablations.data.intake.division_files import write_division
from encoder_ablations.data.intake.division_text import division_table, division_yaml
from encoder_ablations.data.intake.splits import RULE, Ratios, divide, files_of
from encoder_ablations.data.references import resolve_dataset
from encoder_ablations.experiments import options
from encoder_ablations.utils.config import build, merge
from encoder_ablations.utils.errors import InputError, unknown
from encoder_ablations.utils.texts import plural

EXAMPLES = """  ablate split my_data.yaml
  ablate split my_data.yaml --folds 5 --test 0.2
  ablate split my_data.yaml --val 0.1 --test 0.1 --fractions 0.01 0.1
  ablate split my_data.yaml --scenes '^([^_]+)_'     what stands before the first _ is the scene
  ablate split oxford_pet --of train --val 0.1 --output splits/pet"""

ABOUT = """Divides a dataset's images into train, val and test, or into k folds with one shared
test set. Scenes (scene_pattern in the YAML) stay whole, and every part gets its share of every
class's pixels."""

SHARE = 0.15
"""Share of the images for val, and for test, where nothing is said."""
LATER = {"train": "splits/train_images.txt", "val": "splits/val_images.txt"}
"""Stands for the splits of a YAML that has none yet."""


def main(argv: Sequence[str] | None = None) -> int:
    """See ``ablate split --help``."""
    arguments = _parser().parse_args(argv)
    content, source = resolve_dataset(arguments.dataset)
    spec = build(DatasetSpec, merge({"splits": LATER}, content), source)
    spec = _with_scenes(spec, arguments.scenes)
    pool = _pool(spec, arguments.of)
    ratios = _ratios(arguments, spec)
    folder = _folder(spec, arguments.output)

    dataset = FolderDataset(spec, "train", pool)
    counts = _counts(dataset, ratios, by_pixels=arguments.by == "pixels")
    parts = divide(dataset.scenes, counts, ratios, arguments.seed)
    files = files_of(parts, ratios)
    files |= _subsets(files, dataset, counts, arguments.fractions, arguments.fraction_seed)
    settings = _settings(arguments, ratios, dataset)
    written = write_division(dataset, files, folder, settings, arguments.replace)
    print(division_table(spec, parts, dataset.scenes, counts))
    print(f"\nwrote {written} files to {folder}. In a study or a dataset's YAML:")
    with_scenes = arguments.scenes is not None
    print(division_yaml(spec, arguments.dataset, ratios, folder, with_scenes=with_scenes))
    return 0


def _ratios(arguments: argparse.Namespace, spec: DatasetSpec) -> Ratios:
    """Return how much goes where; a test set that is not divided stays the only one.

    Raises:
        InputError: the options contradict each other, or the shares are impossible.
    """
    val, test = SHARE, SHARE
    if arguments.of and "test" in spec.splits and "test" not in arguments.of:
        test = 0.0
    if arguments.val is not None:
        if arguments.folds > 1:
            raise InputError(
                "--val is not needed with --folds: each fold is once val. Leave one of them out."
            )
        val = arguments.val
    if arguments.test is not None:
        test = arguments.test
    return Ratios(arguments.folds, val, test)


def _counts(dataset: FolderDataset, ratios: Ratios, *, by_pixels: bool) -> np.ndarray | None:
    """Return N×K pixels of each class; None where images are divided by number alone.

    Raises:
        InputError: names show scenes that nobody has named.
    """
    doubt = counts = None
    scenes_known = dataset.spec.scene_pattern is not None
    # by names alone first, before masks are read in vain
    if not scenes_known:
        doubt = _refuse_likely_scenes(dataset.ids, None, ratios)
    if by_pixels:
        counts = scan_masks(dataset, progress=True).counts
    if by_pixels and not scenes_known:
        doubt = _refuse_likely_scenes(dataset.ids, counts, ratios)
    if doubt:
        print(f"note: {doubt}", file=sys.stderr)
    return counts


def _parser() -> argparse.ArgumentParser:
    parser = options.make_parser("split", ABOUT, EXAMPLES)
    parser.add_argument("dataset", help="a dataset's name or YAML; it need not have 'splits' yet")
    parser.add_argument(
        "--folds", type=int, default=1, help="number of folds (default 1: one train and one val)"
    )
    parser.add_argument(
        "--val", type=float, help="share of the images for val (default 0.15; not with --folds)"
    )
    parser.add_argument(
        "--test", type=float, help="share of the images for test (default 0.15; 0 = none)"
    )
    parser.add_argument(
        "--seed", type=int, default=42, help="another seed gives another division (default 42)"
    )
    parser.add_argument(
        "--scenes",
        metavar="PATTERN",
        help="regular expression whose first group names an image's scene (default: the YAML's "
        f"scene_pattern); '{INDEPENDENT}' = the images are independent",
    )
    parser.add_argument(
        "--of", nargs="+", metavar="SPLIT", help="divide only these splits (default: all images)"
    )
    parser.add_argument(
        "--by", choices=["pixels", "count"], default="pixels", help="count does not read the masks"
    )
    parser.add_argument(
        "--fractions",
        type=float,
        nargs="+",
        default=[],
        help="also nested parts of train, e.g. 0.01",
    )
    parser.add_argument(
        "--fraction-seed", type=int, default=0, help="the seed of a run that takes the same images"
    )
    parser.add_argument(
        "--output",
        type=Path,
        default=Path("splits"),
        help="folder in the dataset's (default splits)",
    )
    parser.add_argument(
        "--replace", action="store_true", help="write over another division in that folder"
    )
    return parser


def _with_scenes(spec: DatasetSpec, scenes: str | None) -> DatasetSpec:
    """Return the dataset with the scenes that ``--scenes`` names."""
    if scenes is None:
        return spec
    content = spec.model_dump(mode="json") | {"scene_pattern": scenes}
    return build(DatasetSpec, content, f"--scenes {scenes}")


def _refuse_likely_scenes(ids: list[str], counts: np.ndarray | None, ratios: Ratios) -> str | None:
    """Return one line about scenes that names make possible; None where there is no sign of any.

    Args:
        ids: names of the N images.
        counts: N×K pixels of each class; None = not known yet.
        ratios: what they are divided into.

    Raises:
        InputError: scenes are likely.
    """
    found = likely_scenes(ids, counts)
    if found is None:
        return None
    way_out = _ways_out(found, ratios)
    if found.sure:
        raise InputError(
            f"the images look like {found.about}. Parts that share a scene make scores too good: "
            f"{way_out}."
        )
    return (
        f"the images may be {found.about}, and every image is taken for independent. If they are, "
        f"{way_out}."
    )


def _ways_out(found: LikelyScenes, ratios: Ratios) -> str:
    """Return what to do about likely scenes; only what gives every part a scene."""
    independent = f"say --scenes '{INDEPENDENT}' if the images are independent"
    parts = list(ratios.parts)
    without_test = [part for part in parts if part != "test"]
    for options_too, needed in (("", parts), (" --test 0", without_test)):
        if found.scenes >= len(needed):
            return (
                f"keep each scene in one part with --scenes '{found.pattern}'{options_too} (in the "
                f"YAML: scene_pattern), or {independent}"
            )
    return (
        f"{plural(found.scenes, 'scene')} cannot be divided into {len(parts)} parts "
        f"({', '.join(parts)}). Ask for fewer parts or add images of other scenes, or {independent}"
    )


def _folder(spec: DatasetSpec, output: Path) -> Path:
    """Return where the lists go, inside the dataset's folder.

    Raises:
        InputError: ``output`` leads out of it, where no dataset's YAML may name a list.
    """
    root = spec.folder.resolve()
    folder = (root / output).resolve()
    if not folder.is_relative_to(root):
        raise InputError(
            f"--output {output} leads out of the dataset's folder {root}, where no YAML could name "
            "the lists; allowed is a folder inside it, e.g. --output splits/second."
        )
    return folder


def _pool(spec: DatasetSpec, names: list[Split] | None) -> list[Pair]:
    """Return the pairs that are divided: those of the named splits, or all.

    Raises:
        InputError: there is no such split, or two images have one id.
    """
    prepare_dataset(spec)
    if names is None:
        return find_all_pairs(spec)
    pool: dict[str, Pair] = {}
    for name in names:
        if name not in spec.splits:
            raise unknown(f"split of {spec.name}", name, spec.splits)
        for pair in find_pairs(spec, name):
            if pool.setdefault(pair.id, pair) != pair:
                raise InputError(
                    f"dataset '{spec.name}': {pool[pair.id].image} and {pair.image} share a stem, "
                    "so that an index file cannot tell them apart; rename one."
                )
    return [pool[key] for key in sorted(pool)]


def _subsets(
    files: dict[str, list[int]],
    dataset: FolderDataset,
    counts: np.ndarray | None,
    fractions: list[float],
    seed: int,
) -> dict[str, list[int]]:
    """Return the images that a run with this fraction and seed takes of each training part."""
    if not fractions:
        return {}
    if counts is None:
        raise InputError(
            "--fractions needs the masks, so that small parts show every class; leave out "
            "--by count."
        )
    found = {}
    for name in (name for name in files if name.endswith("train")):
        # a run sees its images in the order of their ids
        positions = sorted(files[name], key=dataset.ids.__getitem__)
        order = training_order(dataset.spec.task, counts[positions] > 0, seed)
        for fraction in fractions:
            chosen = [positions[index] for index in subset(order, fraction)]
            found[f"{name}_{100 * fraction:g}pct_seed{seed}"] = chosen
    return found


def _settings(
    arguments: argparse.Namespace, ratios: Ratios, dataset: FolderDataset
) -> dict[str, Any]:
    return {
        "dataset": dataset.spec.name,
        "images_sha256": fingerprint(dataset.ids),
        "rule": RULE,
        "folds": ratios.folds,
        **ratios.parts,
        "seed": arguments.seed,
        "by": arguments.by,
        "scene_pattern": dataset.spec.scene_pattern,
        "fractions": arguments.fractions,
        "fraction_seed": arguments.fraction_seed,
    }
