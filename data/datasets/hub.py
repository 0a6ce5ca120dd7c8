"""Copies a dataset from the Hugging Face hub into a folder, once.

The copy holds ``images/train/train_000000.jpg`` and so on, each with its mask. It is streamed, so
that nothing is stored twice. An interrupted copy goes on where it ended. ``hub.json`` is written
last and says which commit the files come from.
"""

import io
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
from huggingface_hub import HfApi
from huggingface_hub.errors import HfHubHTTPError
from PIL import Image as Pillow

from encoder_ablations.data.datasets.decoding import read_ade20k
from encoder_ablations.data.datasets.reading import read_channels, read_ids, read_image
from encoder_ablations.data.datasets.spec import HUB_MARKER, HubSource, Split
from encoder_ablations.utils.errors import InputError, nearest
from encoder_ablations.utils.files import write_bytes, write_json
from encoder_ablations.utils.optional import missing
from encoder_ablations.utils.progress import Bar

try:
    from datasets import Image as ImageFeature
    from datasets import IterableDataset, List, get_dataset_split_names, load_dataset
except ImportError as error:
    raise missing("datasets", error) from error

HTTP_ERROR: type[Exception] = HfHubHTTPError.__mro__[1]
"""Base of all errors of the HTTP library that huggingface_hub uses.

This is another library from version to version.
"""
CONTACT_SECONDS = 10.0
"""Longest wait for the hub's first answer."""
USUAL: dict[Split, tuple[str, ...]] = {
    "train": ("train", "training"),
    "val": ("validation", "val", "valid", "dev"),
    "test": ("test", "testing"),
}
"""How the hub's splits are called, the usual names first."""
SUFFIXES = {"JPEG": ".jpg", "PNG": ".png", "TIFF": ".tif", "BMP": ".bmp", "WEBP": ".webp"}


def copy_from_hub(root: Path, source: HubSource) -> dict[str, Any]:
    """Copy what is missing, and return what ``hub.json`` says.

    Returns:
        ``requested``, ``revision``, ``images`` (how many, by split) and ``classes``: the hub's
        names of the classes, [] where it has none.

    Raises:
        InputError: the hub cannot be reached, has no such dataset, split or column, or ``root``
            holds another copy.
    """
    requested = source.model_dump(mode="json", exclude_defaults=True)
    marker = root / HUB_MARKER
    if marker.exists():
        facts: dict[str, Any] = json.loads(marker.read_text(encoding="utf-8"))
        if facts["requested"] != requested:
            raise InputError(
                f"{root.resolve()} holds another copy from the hub ({facts['requested']}) than "
                f"asked for ({requested}). Choose another root, or remove that folder."
            )
        return facts
    with _reaching(source):
        revision = _commit(source)
        classes: list[str] = []
        images = {}
        for split, theirs in (source.splits or find_splits(source)).items():
            stream = load_dataset(
                source.repository,
                name=source.config,
                split=theirs,
                revision=revision,
                streaming=True,
            )
            classes = classes or _class_names(stream, source)
            images[split] = _copy_split(root, split, stream, source, classes)
    facts = {"requested": requested, "revision": revision, "classes": classes, "images": images}
    write_json(marker, facts)
    return facts


def find_splits(source: HubSource) -> dict[Split, str]:
    """Return the hub's split for each of ours, by their usual names.

    The first split is ``train`` where none is called so.

    Raises:
        InputError: the hub cannot be reached or has no such dataset.
    """
    with _reaching(source):
        # asks once; without a network what follows asks again and again, for half a minute
        _commit(source)
        theirs = get_dataset_split_names(source.repository, source.config, revision=source.revision)
    found: dict[Split, str] = {}
    for split, names in USUAL.items():
        # the most usual name is tried last, and stays
        for name in reversed(names):
            if name in theirs:
                found[split] = name
    if "train" in found:
        return found
    others = {split: name for split, name in found.items() if name != theirs[0]}
    return {"train": theirs[0], **others}


@contextmanager
def _reaching(source: HubSource) -> Iterator[None]:
    """Say in one line why a dataset cannot be had."""
    try:
        yield
    except InputError:
        raise
    except (OSError, ValueError, HTTP_ERROR) as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise InputError(
            f"cannot get the dataset '{source.repository}' from the Hugging Face hub: {reason}. "
            "Check the name, the network (HF_HUB_OFFLINE, HF_ENDPOINT), and for closed datasets "
            "'hf auth login'."
        ) from error


def _commit(source: HubSource) -> str:
    """Return the commit that the revision means today."""
    hub = HfApi()
    about = hub.dataset_info(source.repository, revision=source.revision, timeout=CONTACT_SECONDS)
    return str(about.sha)


def _class_names(stream: IterableDataset, source: HubSource) -> list[str]:
    """Return the names of a ClassLabel, or the column ``class_labels`` that Mars-Bench has."""
    feature = (stream.features or {}).get(source.label_column or source.mask_column)
    # a column of lists has a feature inside
    names = getattr(getattr(feature, "feature", feature), "names", None)
    if names:
        return list(names)
    row: dict[str, Any] = next(iter(stream.take(1)), {})
    labels = row.get("class_labels")
    if not isinstance(labels, list):
        return []
    return list(map(str, labels))


def _copy_split(
    root: Path, split: str, stream: IterableDataset, source: HubSource, classes: list[str]
) -> int:
    """Copy what is missing of a split, and return the number of its images."""
    stream = _undecoded(stream, source)
    if source.max_samples is not None:
        stream = stream.take(source.max_samples)
    done, last = 0, f"masks/{split}"
    if source.label_column is not None:
        last = f"images/{split}/*"
    while any(root.glob(f"{last}/{split}_{done:06d}.*")):
        done += 1
    count = done
    title = f"copying {source.repository}/{split}"
    for row in Bar(stream.skip(done), title, unit="image", initial=done):
        stem = f"{split}/{split}_{count:06d}"
        image = _content(row[source.image_column], source, source.image_column)
        count += 1
        if source.label_column is not None:
            folder = _class_folder(row[source.label_column], classes)
            _write_image(root / "images" / split / folder / Path(stem).name, image)
            continue
        mask = _content(row[source.mask_column], source, source.mask_column)
        _write_image(root / "images" / stem, image)
        # the mask last: a pair with a mask is complete
        _write_mask(root / "masks" / stem, mask, source)
    if not count:
        raise InputError(f"dataset '{source.repository}': its split for '{split}' is empty.")
    return count


def _class_folder(label: int | str, classes: list[str]) -> str:
    """Return the folder of a label: the name of its class."""
    if isinstance(label, int) and classes:
        label = classes[label]
    return str(label).replace("/", "_")


def _undecoded(stream: IterableDataset, source: HubSource) -> IterableDataset:
    """Return the files themselves instead of pixels, so that they are copied as they are."""
    features = stream.features or {}
    raw = ImageFeature(decode=False)
    columns = [source.image_column, source.label_column or source.mask_column]
    for column in columns:
        if column not in features:
            raise InputError(
                f"dataset '{source.repository}' has no column '{column}'."
                f"{nearest(column, features)} It has: {', '.join(features)}. "
                "Say which with image_column and mask_column, or label_column."
            )
        if column == source.label_column:
            continue
        feature = features[column]
        if isinstance(feature, ImageFeature):
            stream = stream.cast_column(column, raw)
        elif isinstance(feature, List) and isinstance(feature.feature, ImageFeature):
            stream = stream.cast_column(column, List(raw))
        else:
            raise InputError(
                f"dataset '{source.repository}': the column '{column}' holds no pictures "
                f"but {feature}."
            )
    return stream.select_columns(columns)


def _content(value: Any, source: HubSource, column: str) -> bytes:
    """Return the bytes of a picture, of the first one of a list.

    Raises:
        InputError: there is none.
    """
    if isinstance(value, list):
        value = next(iter(value), None)
    entry: dict[str, Any] = {"bytes": None, "path": None} | (value or {})
    if entry["bytes"]:
        return bytes(entry["bytes"])
    if "://" in str(entry["path"]):
        with fsspec.open(entry["path"], "rb") as file:
            return bytes(file.read())
    raise InputError(f"dataset '{source.repository}': an entry of the column '{column}' is empty.")


def _write_image(stem: Path, content: bytes) -> None:
    suffix = _suffix(content)
    if suffix in SUFFIXES.values():
        write_bytes(stem.with_suffix(suffix), content)
        return
    with _kept(stem, content) as path:
        write_bytes(stem.with_suffix(".png"), _png(read_image(path)))


def _write_mask(stem: Path, content: bytes, source: HubSource) -> None:
    """Write ids of 8 bits (PNG), or of 16 bits (TIFF) if 8 are too few, and for ADE20K always."""
    with _kept(stem, content) as path:
        ids = _read_mask(path, source)
    if ids.max() <= 255 and source.mask_format == "ids":
        write_bytes(stem.with_suffix(".png"), _png(ids.astype(np.uint8)))
        return
    file = io.BytesIO()
    Pillow.fromarray(ids.astype(np.uint16)).save(file, "TIFF", compression="tiff_deflate")
    write_bytes(stem.with_suffix(".tif"), file.getvalue())


def _read_mask(path: Path, source: HubSource) -> np.ndarray:
    """Return the ids of a mask of one channel or of three equal ones, or those of ADE20K."""
    if source.mask_format == "ade20k":
        return read_ade20k(path)
    with Pillow.open(path) as image:
        bands = len(image.getbands())
    if bands == 1:
        return read_ids(path)
    channels = read_channels(path)
    if (channels != channels[..., :1]).any():
        raise InputError(
            f"dataset '{source.repository}': the masks in '{source.mask_column}' are colour "
            "pictures. Copy the dataset to a folder and describe the colours with "
            "mask_format: colors (docs/datasets.md)."
        )
    return channels[..., 0]


@contextmanager
def _kept(stem: Path, content: bytes) -> Iterator[Path]:
    """Write a hidden file for the time of the block; hidden files belong to no dataset."""
    path = stem.with_name(f".{stem.name}{_suffix(content)}")
    write_bytes(path, content)
    try:
        yield path
    finally:
        path.unlink(missing_ok=True)


def _suffix(content: bytes) -> str:
    try:
        with Pillow.open(io.BytesIO(content)) as image:
            return SUFFIXES.get(image.format or "", ".other")
    except (OSError, SyntaxError, ValueError):
        return ".other"


def _png(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Pillow.fromarray(pixels).save(file, "PNG")
    return file.getvalue()
