"""Listing, dividing and caching datasets of many small images."""

import os
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from shutil import rmtree

import numpy as np
from PIL import Image
from scaling_fit import Growth, growth, silent

from encoder_ablations.data.datasets.folder import FolderDataset
from encoder_ablations.data.datasets.spec import DatasetSpec
from encoder_ablations.data.loading.set_files import SetFiles
from encoder_ablations.data.loading.set_writer import write_set
from encoder_ablations.data.references import load_dataset
from encoder_ablations.experiments.commands import split
from encoder_ablations.utils.cache_folder import cache_folder

SIDE, CLASSES, DIFFERENT = 16, 5, 500
"""Pixels along a side, and how many images and masks differ; the others are copies."""


def images_growth(sizes: Sequence[int], folder: Path) -> Iterator[Growth]:
    """One row for each job."""
    for size in sizes:
        make_images(folder / str(size), size)
    jobs: dict[str, Callable[[DatasetSpec], object]] = {
        "list images": lambda spec: len(FolderDataset(spec, "train")),
        "split images": divide,
        "cache images": cache,
    }
    for name, job in jobs.items():
        prepare = lambda size, job=job: partial(job, spec_of(folder / str(size)))  # noqa: E731
        # once: the least of many short times is lower than a single long one
        yield growth(name, sizes, prepare, most=1)


def make_images(folder: Path, count: int) -> None:
    """Write so many images and masks, and the dataset's YAML."""
    stream = np.random.default_rng(0)
    for kind in ("images", "masks"):
        (folder / kind / "train").mkdir(parents=True)
    for number in range(count):
        image, mask = (folder / kind / "train" / f"{number:06}.png" for kind in ("images", "masks"))
        if number < DIFFERENT:
            Image.fromarray(stream.integers(0, 256, (SIDE, SIDE, 3), np.uint8)).save(image)
            Image.fromarray(stream.integers(0, CLASSES, (SIDE, SIDE), np.uint8)).save(mask)
        else:
            # few links to each file, because file systems limit them
            for path in (image, mask):
                os.link(path.with_name(f"{number % DIFFERENT:06}.png"), path)
    names = [f"class {number}" for number in range(CLASSES)]
    (folder / "data.yaml").write_text(
        f"name: many\nroot: {folder}\nclasses: {names}\nsplits: {{train: train, val: train}}\n"
    )


def spec_of(folder: Path) -> DatasetSpec:
    """The dataset in a folder."""
    return load_dataset(str(folder / "data.yaml"))


def divide(spec: DatasetSpec) -> None:
    """``ablate split``, which counts the pixels of all masks anew each time."""
    rmtree(cache_folder("scans"), ignore_errors=True)
    with silent():
        yaml, options = str(Path(spec.root) / "data.yaml"), ["--of", "train", "--replace"]
        assert split.main([yaml, *options]) == 0


def cache(spec: DatasetSpec) -> None:
    """Write the decoded set, as ``ablate cache`` does."""
    files = FolderDataset(spec, "train")
    rmtree(SetFiles(files, None).folder, ignore_errors=True)
    # what an earlier repeat wrote is gone
    write_set(files, None)
