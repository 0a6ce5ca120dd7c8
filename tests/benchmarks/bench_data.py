"""Images per second of the input pipeline against the mapper of the official Mask2Former, from
the same files."""

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import torch
from bench_timing import Timing, compare
from PIL import Image

from encoder_ablations.data.datasets.folder import FolderDataset
from encoder_ablations.data.datasets.spec import DatasetSpec
from encoder_ablations.data.loading.batches import training_batches
from encoder_ablations.data.loading.items import Samples
from encoder_ablations.data.loading.set_writer import write_set
from encoder_ablations.data.loading.stored_set import open_set
from encoder_ablations.data.references import load_dataset
from encoder_ablations.data.views.augmentation import AugmentationSpec
from encoder_ablations.utils.errors import InputError
from encoder_ablations.utils.seeding import numpy_stream

SIDE, BATCH, IMAGES = 256, 8, 64
SHORT_SIDES = tuple(round(360 * 2**power) for power in np.linspace(-1, 1, 16))
"""The official mapper takes one of a list of sizes: here log-uniform over 0.5..2, which ours
draws from."""


class _Ours:
    """The next ``IMAGES`` training samples, in batches."""

    def __init__(self, dataset: Samples) -> None:
        self._batches = training_batches(
            dataset,
            range(len(dataset)),
            AugmentationSpec(crop=(SIDE, SIDE)),
            seed=0,
            batch_size=BATCH,
            steps=1 << 40,
        )

    def __call__(self) -> None:
        for _ in range(IMAGES // BATCH):
            next(self._batches)


def official_mapper(dataset: DatasetSpec) -> Callable[[], None]:
    """Maps ``IMAGES`` of the dataset's records in turn, with the same augmentation.

    Raises:
        InputError: Detectron2 or the official Mask2Former is not installed.
    """
    from encoder_ablations.segmenters.heads.mask2former_official import import_official

    import_official()  # provides the operator, or says why not
    from detectron2.config import get_cfg  # isort: skip
    from detectron2.data import DatasetCatalog  # isort: skip
    from detectron2.projects.deeplab import add_deeplab_config  # isort: skip
    from mask2former import MaskFormerSemanticDatasetMapper, add_maskformer2_config  # isort: skip

    from encoder_ablations.data.detectron2 import register_datasets  # isort: skip

    cfg = get_cfg()
    add_deeplab_config(cfg)
    add_maskformer2_config(cfg)
    (name, *_) = register_datasets(dataset)
    cfg.DATASETS.TRAIN = (name,)
    inputs = cfg.INPUT
    inputs.FORMAT, inputs.COLOR_AUG_SSD, inputs.SIZE_DIVISIBILITY = "RGB", True, SIDE
    inputs.MIN_SIZE_TRAIN, inputs.MAX_SIZE_TRAIN = SHORT_SIDES, 4096
    inputs.CROP.ENABLED, inputs.CROP.TYPE, inputs.CROP.SIZE = True, "absolute", (SIDE, SIDE)
    mapper, records = MaskFormerSemanticDatasetMapper(cfg), DatasetCatalog.get(name)
    places = _forever(len(records))

    def run() -> None:
        for _ in range(IMAGES):
            mapper(records[next(places)])

    return run


def _forever(count: int) -> Iterator[int]:
    rng = numpy_stream(0, "bench data")
    while True:
        yield from map(int, rng.permutation(count))


def make_files(folder: Path) -> DatasetSpec:
    """JPEGs and masks of CamVid's size, for machines without CamVid."""
    rng = numpy_stream(0, "bench files")
    for split in ("train", "val"):
        for kind in ("images", "masks"):
            (folder / kind / split).mkdir(parents=True)
        for number in range(IMAGES):
            coarse = Image.fromarray(rng.integers(0, 256, (45, 60, 3), dtype=np.uint8))
            coarse.resize((480, 360), Image.Resampling.BICUBIC).save(
                folder / "images" / split / f"{number}.jpg"
            )
            blocks = Image.fromarray(rng.integers(0, 11, (18, 24), dtype=np.uint8))
            blocks.resize((480, 360), Image.Resampling.NEAREST).save(
                folder / "masks" / split / f"{number}.png"
            )
    names = tuple(f"class {number}" for number in range(11))
    return DatasetSpec(
        name="bench_data", root=str(folder), classes=names, splits={"train": "train", "val": "val"}
    )


def _dataset(folder: Path) -> DatasetSpec:
    camvid = load_dataset("camvid")
    return (
        camvid if "DATASETS_ROOT" in os.environ and camvid.folder.is_dir() else make_files(folder)
    )


@contextmanager
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with suppress(ImportError):  # what the official mapper resizes with
        import cv2

        cv2.setNumThreads(1)
    yield
    torch.set_num_threads(threads)


@contextmanager
def own_cache(folder: Path) -> Iterator[None]:
    """Sets and copies of masks go to ``folder`` instead of the user's cache."""
    before = os.environ.get("XDG_CACHE_HOME")
    os.environ["XDG_CACHE_HOME"] = str(folder)
    try:
        yield
    finally:
        os.environ.pop("XDG_CACHE_HOME")
        if before is not None:
            os.environ["XDG_CACHE_HOME"] = before


def run(seconds: float) -> Iterator[str]:
    """360×480 files, 256×256 crops, resized by 0.5..2, flipped, SSD's colours; one thread."""
    with (
        tempfile.TemporaryDirectory() as temporary,
        _one_thread(),
        own_cache(Path(temporary) / "cache"),
    ):
        dataset = _dataset(Path(temporary) / "files")
        files = FolderDataset(dataset, "train")
        write_set(files, None)
        stored = open_set(files, [None])
        assert stored is not None
        plain, cached = _Ours(files), _Ours(stored)
        timing = compare(cached, plain, seconds)
        yield timing.line(
            f"{IMAGES} images of {dataset.name}, cached / from files",
            f"target ≤ 0.25; {_rates(timing)}",
        )
        try:
            theirs = official_mapper(dataset)
        except InputError as error:
            yield f"no comparison with the official mapper: {error}"
            return
        timing = compare(plain, theirs, seconds)
        yield timing.line(
            f"{IMAGES} images of {dataset.name} / official mapper",
            f"target ≤ 0.50; {_rates(timing)}",
        )
        timing = compare(cached, theirs, seconds)
        yield timing.line(
            f"{IMAGES} images of {dataset.name}, cached", f"target ≤ 0.20; {_rates(timing)}"
        )


def _rates(timing: Timing) -> str:
    return f"{1000 * IMAGES / timing.ours:.0f} and {1000 * IMAGES / timing.theirs:.0f} images/s"
