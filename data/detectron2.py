"""Our datasets in Detectron2's catalogs.

``register_datasets("camvid")`` makes ``camvid_train`` and ``camvid_val``. Detectron2, its evaluator
and Mask2Former read mask files themselves, each in its own way, and know neither ``ignore_ids`` nor
``value_map``. So every mask is read and checked here once and stored as an 8-bit PNG of class ids
(255 = ignore; with more than 255 classes 16-bit, 65535 = ignore). The copies lie in
``$XDG_CACHE_HOME/encoder_ablations/detectron2`` (default ``~/.cache``); a changed mask or setting
makes a new copy. Images are used where they lie. Copied are 16-bit ones, which Detectron2 would
clip, and those that it would turn by their EXIF data in another way than training here.
"""

import hashlib
import io
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from encoder_ablations.data.datasets.folder import FolderDataset
from encoder_ablations.data.datasets.palette import colors_of
from encoder_ablations.data.datasets.preparation import prepare_dataset
from encoder_ablations.data.datasets.reading import geometry, image_size, is_deep, read_image
from encoder_ablations.data.datasets.spec import DatasetSpec, Split
from encoder_ablations.data.references import load_dataset
from encoder_ablations.utils.cache_folder import cache_folder, file_state
from encoder_ablations.utils.errors import InputError
from encoder_ablations.utils.files import write_bytes
from encoder_ablations.utils.optional import missing
from encoder_ablations.utils.progress import Bar
from encoder_ablations.utils.references import Reference

try:
    from detectron2.data import DatasetCatalog, MetadataCatalog
except ImportError as error:
    raise missing("detectron2", error) from error

CACHE_VERSION = 2
TIFF_SUFFIXES = frozenset({".tif", ".tiff"})


def register_datasets(*datasets: Reference | DatasetSpec) -> list[str]:
    """Register each split of each dataset, and return the names.

    They are, for example, ``["camvid_train", "camvid_val"]``. Files are looked up when
    Detectron2 asks for the entry. Registering the same dataset again changes nothing.

    Raises:
        InputError: there is no such dataset, or one of its names is taken by another one.
    """
    names = []
    for reference in datasets:
        spec = _spec_of(reference)
        if spec.task == "classification":
            raise InputError(
                f"'{spec.name}' is for classification, and Detectron2's models here read masks. "
                "Register a dataset with masks."
            )
        for split in spec.splits:
            name = f"{spec.name}_{split}"
            _register(name, _Entry(spec, split))
            names.append(name)
    return names


def _spec_of(dataset: Reference | DatasetSpec) -> DatasetSpec:
    if isinstance(dataset, DatasetSpec):
        return dataset
    return load_dataset(dataset)


def register_subset(
    dataset: DatasetSpec, indices: Sequence[int], fraction: float, seed: int
) -> str:
    """Register some of the training images, and return the name of this dataset.

    It is, for example, ``camvid_train_10pct_seed0``.

    Args:
        dataset: whose training split it is.
        indices: positions in the training split, ascending; what ``fraction`` and ``seed`` choose.
        fraction: share of the training images, 0..1.
        seed: of the choice.
    """
    name = f"{dataset.name}_train_{100 * fraction:g}pct_seed{seed}"
    _register(name, _Entry(dataset, "train", tuple(indices)))
    return name


@dataclass(frozen=True)
class _Entry:
    """Detectron2 calls this for a list of records; equal entries are the same dataset.

    Attributes:
        indices: the images that are meant; None = all.
    """

    spec: DatasetSpec
    split: Split
    indices: tuple[int, ...] | None = None

    def __call__(self) -> list[dict[str, Any]]:
        """Return one record per image.

        Raises:
            InputError: a file is missing or damaged, or a mask holds an id that no class has.
        """
        prepare_dataset(self.spec)
        dataset = FolderDataset(self.spec, self.split)
        title = f"preparing {self.spec.name}/{self.split} for Detectron2"
        indices: Sequence[int] = range(len(dataset))
        if self.indices is not None:
            indices = self.indices
        return [_record(dataset, index) for index in Bar(indices, title, unit="mask")]


def _register(name: str, entry: _Entry) -> None:
    if name in DatasetCatalog:
        if DatasetCatalog[name] == entry:
            return
        raise InputError(
            f"Detectron2 already knows another dataset '{name}'. Change 'name' in the dataset's "
            f"YAML, or first call DatasetCatalog.remove('{name}') and "
            f"MetadataCatalog.remove('{name}')."
        )
    DatasetCatalog.register(name, entry)
    MetadataCatalog.get(name).set(
        stuff_classes=list(entry.spec.classes),
        stuff_colors=[list(color) for color in colors_of(entry.spec)],
        ignore_label=entry.spec.ignore_label,
        evaluator_type="sem_seg",
    )


def _record(dataset: FolderDataset, index: int) -> dict[str, Any]:
    identity, image, mask = dataset.pairs[index]
    height, width = image_size(image, dataset.spec.upright)
    rules = [dataset.spec.mask_rules, height, width]
    return {
        "file_name": str(_image(image, dataset.spec)),
        "sem_seg_file_name": str(_copy(mask, rules, lambda: dataset.read_checked_mask(index))),
        "height": height,
        "width": width,
        "image_id": identity,
    }


def _image(path: Path, spec: DatasetSpec) -> Path:
    """Return the file that Detectron2 reads as training here reads ``path``.

    Detectron2 turns every image by its EXIF data; a TIFF, which Pillow has turned before, it turns
    twice.
    """
    turned = geometry(path).orientation != 1
    turned_otherwise = not spec.upright or path.suffix.lower() in TIFF_SUFFIXES
    if not is_deep(path) and not (turned and turned_otherwise):
        return path
    return _copy(path, [spec.masks_drawn_on or "upright"], lambda: read_image(path, spec.upright))


def _copy(path: Path, settings: list[Any], read: Callable[[], np.ndarray]) -> Path:
    """Return a PNG of what ``read`` makes of the file.

    It is written where there is none yet for this state of the file and these settings.
    """
    key = json.dumps([CACHE_VERSION, str(path), file_state(path), settings])
    folder = cache_folder("detectron2")
    copy = folder / f"{path.stem}-{hashlib.sha256(key.encode()).hexdigest()[:20]}.png"
    if not copy.exists():
        file = io.BytesIO()
        Image.fromarray(read()).save(file, "PNG", compress_level=4)
        try:
            write_bytes(copy, file.getvalue())
        except InputError as error:
            raise InputError(
                f"cannot keep a copy of {path} for Detectron2 in {folder}. "
                "Free some space, or set XDG_CACHE_HOME."
            ) from error
    return copy
