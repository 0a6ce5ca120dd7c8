"""Finds the images of a classification dataset, and the files that say their classes."""

from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path

from encoder_ablations.data.datasets.listing import IMAGE_SUFFIXES, Files, list_folder
from encoder_ablations.utils.errors import InputError


def labels_file(root: Path, labels: str | None) -> Path | None:
    """Return the CSV that says the classes; None where the names of folders do.

    Args:
        root: the dataset's folder.
        labels: its place below that.
    """
    if labels is None:
        return None
    return root.resolve() / labels


def list_images(base: Path, label: str) -> Files:
    """Return all images anywhere below a folder by id: their path there, without the suffix.

    Args:
        base: the folder.
        label: begins error messages.

    Raises:
        InputError: there is no such folder, it cannot be listed, or holds no image.
    """
    by_stem = list_folder(base, IMAGE_SUFFIXES, label, recursive=True)
    images: Files = {}
    for path in chain.from_iterable(by_stem.values()):
        identity = path.relative_to(base).with_suffix("").as_posix()
        images.setdefault(identity, []).append(path)
    if not images:
        allowed = ", ".join(sorted(IMAGE_SUFFIXES))
        raise InputError(f"{label}: no image in {base}, nor in a folder below. Allowed: {allowed}.")
    return images


def find_each(images: Files, wanted: Iterable[str], label: str) -> Iterator[tuple[str, Path]]:
    """Yield id and image for each of the wanted ids.

    Args:
        images: see :func:`list_images`.
        wanted: ids.
        label: begins error messages.

    Raises:
        InputError: there is no such image, or two have the id.
    """
    for identity in wanted:
        image, *others = images.get(identity, [None])
        if image is None:
            raise InputError(
                f"{label}: '{identity}' is listed, but there is no such image. "
                "Write paths as seen from the dataset's folder."
            )
        if others:
            raise InputError(f"{label}: {image} and {others[0]} share a stem; rename one of them.")
        yield identity, image
