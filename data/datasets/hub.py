"""Copies a dataset from the Hugging Face hub into a folder, once: ``images/train/train_000000.jpg``, with its mask.

Streamed, so that nothing is stored twice; an interrupted copy goes on where it ended; ``hub.json`` is written last and
says which commit the files come from.
"""

import io
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
from huggingface_hub import HfApi
from huggingface_hub.errors import HfHubHTTPError
from PIL import Image as Pillow
from tqdm import tqdm

from encoder_ablations.data.datasets.decoding import read_ade20k
from encoder_ablations.data.datasets.reading import read_channels, read_ids, read_image
from encoder_ablations.data.datasets.spec import HUB_MARKER, HubSource, Split
from encoder_ablations.utils.errors import InputError, nearest
from encoder_ablations.utils.files import write_bytes, write_json
from encoder_ablations.utils.optional import missing

try:
    from datasets import Image as ImageFeature
    from datasets import IterableDataset, List, get_dataset_split_names, load_dataset
except ImportError as error:
    raise missing("datasets", error) from error

HTTP_ERROR: type[Exception] = HfHubHTTPError.__mro__[1]
"""Base of all errors of the HTTP library that huggingface_hub uses, which is another one from version to version."""
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
    """Copies what is missing; returns what ``hub.json`` says: ``requested``, ``revision``, ``classes``, ``images``.

    ``classes`` are the hub's names of the classes, [] where it has none.

    Raises:
        InputError: the hub cannot be reached, has no such dataset, split or column, or ``root`` holds another copy.
    """
    requested = source.model_dump(mode="json", exclude_defaults=True)
    marker = root / HUB_MARKER
    if marker.exists():
        facts: dict[str, Any] = json.loads(marker.read_text(encoding="utf-8"))
        if facts["requested"] != requested:
            raise InputError(
                f"{root.resolve()} holds another copy from the hub ({facts['requested']}) than asked for "
                f"({requested}). Choose another root, or remove that folder."
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
            images[split] = _copy_split(root, split, stream, source)
    facts = {"requested": requested, "revision": revision, "classes": classes, "images": images}
    write_json(marker, facts)
    return facts


def find_splits(source: HubSource) -> dict[Split, str]:
    """Our splits -> the hub's, by their usual names; the first one is train where none is called so.

    Raises:
        InputError: the hub cannot be reached or has no such dataset.
    """
    with _reaching(source):
        _commit(
            source
        )  # asks once; what follows asks again and again, for half a minute, where there is no network
        theirs = get_dataset_split_names(source.repository, source.config, revision=source.revision)
    found: dict[Split, str] = {}
    for split, names in USUAL.items():
        for name in names:
            if name in theirs:
                found.setdefault(split, name)
    if "train" not in found:
        found = {
            "train": theirs[0],
            **{split: name for split, name in found.items() if name != theirs[0]},
        }
    return found


@contextmanager
def _reaching(source: HubSource) -> Iterator[None]:
    """Says in one line why a dataset cannot be had."""
    try:
        yield
    except InputError:
        raise
    except (OSError, ValueError, HTTP_ERROR) as error:
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise InputError(
            f"cannot get the dataset '{source.repository}' from the Hugging Face hub: {reason}. Check the name, the "
            "network (HF_HUB_OFFLINE, HF_ENDPOINT), and for closed datasets 'hf auth login'."
        ) from error


def _commit(source: HubSource) -> str:
    """The commit that the revision means today."""
    return str(
        HfApi()
        .dataset_info(source.repository, revision=source.revision, timeout=CONTACT_SECONDS)
        .sha
    )


def _class_names(stream: IterableDataset, source: HubSource) -> list[str]:
    """From a ClassLabel of the masks, or the column ``class_labels`` that Mars-Bench has."""
    feature = (stream.features or {}).get(source.mask_column)
    names = getattr(feature, "names", None) or getattr(
        getattr(feature, "feature", None), "names", None
    )
    if names:
        return list(names)
    row: dict[str, Any] = next(iter(stream.take(1)), {})
    labels = row.get("class_labels")
    return [str(label) for label in labels] if isinstance(labels, list) else []


def _copy_split(root: Path, split: str, stream: IterableDataset, source: HubSource) -> int:
    """Returns the number of images."""
    stream = _undecoded(stream, source)
    if source.max_samples is not None:
        stream = stream.take(source.max_samples)
    done = 0
    while any((root / "masks" / split).glob(f"{split}_{done:06d}.*")):
        done += 1
    count = done
    title = f"copying {source.repository}/{split}"
    for row in tqdm(stream.skip(done) if done else stream, title, unit="image", initial=done):
        stem = f"{split}/{split}_{count:06d}"
        _write_image(
            root / "images" / stem, _content(row[source.image_column], source, source.image_column)
        )
        mask = row[source.mask_column]
        if isinstance(mask, list):
            if not mask:
                raise InputError(
                    f"dataset '{source.repository}', {split}: image {count} has no mask."
                )
            mask = mask[0]
        _write_mask(root / "masks" / stem, _content(mask, source, source.mask_column), source)
        count += 1
    if not count:
        raise InputError(f"dataset '{source.repository}': its split for '{split}' is empty.")
    return count


def _undecoded(stream: IterableDataset, source: HubSource) -> IterableDataset:
    """The files themselves instead of pixels, so that they are copied as they are."""
    features = stream.features or {}
    for column in (source.image_column, source.mask_column):
        if column not in features:
            raise InputError(
                f"dataset '{source.repository}' has no column '{column}'.{nearest(column, features)} "
                f"It has: {', '.join(features)}. Say which with image_column and mask_column."
            )
        feature = features[column]
        raw = ImageFeature(decode=False)
        if isinstance(feature, ImageFeature):
            stream = stream.cast_column(column, raw)
        elif isinstance(feature, List) and isinstance(feature.feature, ImageFeature):
            stream = stream.cast_column(column, List(raw))
        else:
            raise InputError(
                f"dataset '{source.repository}': the column '{column}' holds no pictures but {feature}."
            )
    return stream.select_columns([source.image_column, source.mask_column])


def _content(value: Mapping[str, Any] | None, source: HubSource, column: str) -> bytes:
    if value and value.get("bytes"):
        return bytes(value["bytes"])
    if value and "://" in (value.get("path") or ""):
        with fsspec.open(value["path"], "rb") as file:
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
    """Ids of 8 bits (PNG); of 16 bits (TIFF) where 8 do not hold them, and in ADE20K always."""
    with _kept(stem, content) as path:
        if source.mask_format == "ade20k":
            ids = read_ade20k(path)
        else:
            with Pillow.open(path) as image:
                gray = len(image.getbands()) == 1
            ids = read_ids(path) if gray else _repeated(path, source)
    if ids.max() <= 255 and source.mask_format == "ids":
        write_bytes(stem.with_suffix(".png"), _png(ids.astype(np.uint8)))
        return
    file = io.BytesIO()
    Pillow.fromarray(ids.astype(np.uint16)).save(file, "TIFF", compression="tiff_deflate")
    write_bytes(stem.with_suffix(".tif"), file.getvalue())


def _repeated(path: Path, source: HubSource) -> np.ndarray:
    """Ids of a mask whose three channels are equal."""
    channels = read_channels(path)
    if (channels != channels[..., :1]).any():
        raise InputError(
            f"dataset '{source.repository}': the masks in '{source.mask_column}' are colour pictures. Copy the "
            "dataset to a folder and describe the colours with mask_format: colors (docs/datasets.md)."
        )
    return channels[..., 0]


@contextmanager
def _kept(stem: Path, content: bytes) -> Iterator[Path]:
    """A hidden file for the time of the block; hidden files belong to no dataset."""
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
