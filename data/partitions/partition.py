"""Divide training images among clients: evenly, by scene, or with unequal classes."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from encoder_ablations.data.datasets.subsets import fingerprint
from encoder_ablations.data.partitions.spec import DirichletSpec, LabelSkewSpec, PartitionSpec
from encoder_ablations.utils.errors import InputError
from encoder_ablations.utils.seeding import numpy_stream
from encoder_ablations.utils.texts import plural

ATTEMPTS = 100
"""How often a Dirichlet partition is drawn until no client is without images."""
Places = list[list[int]]
"""The images of each client, as sorted places in the list of images."""


@dataclass(frozen=True, eq=False)
class DividedImages:
    """The N images that are divided.

    Attributes:
        dataset: its name, for messages.
        counts: N×K, pixels of each class in each image.
        scenes: the scene of each image; None where the dataset does not tell scenes.
    """

    dataset: str
    counts: np.ndarray
    scenes: Sequence[str] | None = None

    def __len__(self) -> int:
        return len(self.counts)


def divide(kind: PartitionSpec, images: DividedImages, clients: int, seed: int) -> Places:
    """Return the images of each client. Each image belongs to one client.

    Args:
        kind: how they are divided.
        images: all images that are trained on.
        clients: how many there are, at least 1.
        seed: of the run; it decides everything that is random.

    Raises:
        InputError: a client would have no image or no labelled pixel, or the partition does not
            fit the dataset.
    """
    if clients > len(images):
        raise InputError(
            f"federation.clients {clients}: dataset '{images.dataset}' has "
            f"{plural(len(images), 'training image')}. Choose at most as many clients as images."
        )
    owners = _owners(kind, images, clients, seed)
    places = [np.flatnonzero(owners == client).tolist() for client in range(clients)]
    _check_clients(images, places)
    return places


def _owners(kind: PartitionSpec, images: DividedImages, clients: int, seed: int) -> np.ndarray:
    """Return the client of each image: N numbers of 0..clients-1."""
    rng = numpy_stream(seed, "partition")
    if kind == "scenes":
        return _by_scene(images, clients)
    if isinstance(kind, DirichletSpec):
        return _by_dirichlet(kind.dirichlet, images, clients, rng)
    if isinstance(kind, LabelSkewSpec):
        return _by_classes(kind.label_skew, images, clients, rng)
    return _evenly(images, clients, rng)


def _evenly(images: DividedImages, clients: int, rng: np.random.Generator) -> np.ndarray:
    """Return a random partition into parts whose sizes differ by one image at most."""
    owners = np.arange(len(images)) % clients
    return rng.permutation(owners)


def _by_scene(images: DividedImages, clients: int) -> np.ndarray:
    """Return a partition that gives every scene to one client.

    The scene with most images goes to the client with fewest, and so on.
    """
    if images.scenes is None:
        raise InputError(
            f"federation.partition scenes: dataset '{images.dataset}' does not tell scenes. Add "
            "scene_pattern to its YAML, or choose iid, dirichlet or label_skew."
        )
    names, numbers, sizes = np.unique(
        np.asarray(images.scenes), return_inverse=True, return_counts=True
    )
    if clients > len(names):
        raise InputError(
            f"federation.clients {clients}: dataset '{images.dataset}' has "
            f"{plural(len(names), 'scene')} in these training images. Choose at most as many "
            "clients as scenes."
        )
    loads = np.zeros(clients, np.int64)
    client_of_scene = np.zeros(len(names), np.int64)
    for scene in np.argsort(-sizes, kind="stable"):
        client_of_scene[scene] = loads.argmin()
        loads[client_of_scene[scene]] += sizes[scene]
    return client_of_scene[numbers]


def _by_dirichlet(
    alpha: float, images: DividedImages, clients: int, rng: np.random.Generator
) -> np.ndarray:
    """Return a partition with unequal classes (Hsu, Qi & Brown, arXiv:1909.06335).

    The shares of each class's pixels that the clients get are drawn from Dir(α). An image has
    pixels of several classes. It goes to a client with the probability that one of its labelled
    pixels, chosen at random, does. The draw is repeated while a client has no image.
    """
    pixels = images.counts.sum(axis=1, keepdims=True)
    # an image without labels goes to any client alike
    classes = images.counts.shape[1]
    mixture = np.where(pixels > 0, images.counts / np.maximum(pixels, 1), 1 / classes)
    for _ in range(ATTEMPTS):
        shares = rng.dirichlet(np.full(clients, alpha), classes)
        # one uniform number an image falls into the interval of its client
        bounds = np.cumsum(mixture @ shares, axis=1)
        drawn = rng.random((len(images), 1)) * bounds[:, -1:]
        owners = (drawn >= bounds).sum(axis=1).clip(max=clients - 1)
        if len(np.unique(owners)) == clients:
            return np.asarray(owners)
    raise InputError(
        f"federation.partition dirichlet {alpha:g}: in {ATTEMPTS} draws some of {clients} clients "
        f"got none of the {len(images)} images. Choose a larger dirichlet or fewer clients."
    )


def _by_classes(
    classes: int, images: DividedImages, clients: int, rng: np.random.Generator
) -> np.ndarray:
    """Return a partition in which each client has images of a few classes.

    An image counts as one of the class that it shows most of, compared with the class's share of
    all images. Of the clients that have this class, the one with fewest images gets it.
    """
    count = images.counts.shape[1]
    if classes > count:
        raise InputError(
            f"federation.partition label_skew {classes}: dataset '{images.dataset}' has {count} "
            "classes. Choose at most as many."
        )
    # the classes are dealt in a random order, so that all are given out before one comes again
    dealt = np.resize(rng.permutation(count), clients * classes).reshape(clients, classes)
    held = np.zeros((clients, count), bool)
    held[np.arange(clients)[:, None], dealt] = True
    overall = np.maximum(images.counts.sum(axis=0), 1)
    distinct = np.where(held.any(axis=0), images.counts / overall, -1.0)
    loads = np.zeros(clients)
    owners = np.zeros(len(images), np.int64)
    for place in rng.permutation(len(images)):
        candidates = held[:, distinct[place].argmax()]
        owners[place] = np.where(candidates, loads, np.inf).argmin()
        loads[owners[place]] += 1
    return owners


def _check_clients(images: DividedImages, places: Places) -> None:
    """Check that every client has images and labelled pixels.

    Raises:
        InputError: one has not.
    """
    for client, own in enumerate(places):
        missing = ""
        if not own:
            missing = "images"
        elif not images.counts[own].any():
            missing = "labelled pixels"
        if missing:
            raise InputError(
                f"federation: client {client} of {len(places)} has no {missing} of dataset "
                f"'{images.dataset}'. Choose fewer clients or another partition."
            )


def partition_fingerprint(ids: Sequence[Sequence[str]]) -> str:
    """Return the SHA-256 of a partition, as 64 hexadecimal digits.

    Args:
        ids: the names of each client's images, by client.
    """
    return fingerprint(f"{client} {fingerprint(names)}" for client, names in enumerate(ids))
