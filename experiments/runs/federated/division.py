"""Which training images each client of a run has."""

from dataclasses import dataclass

from encoder_ablations.data.datasets.folder import FolderDataset
from encoder_ablations.data.datasets.pixel_counts import MaskScan
from encoder_ablations.data.datasets.subsets import fingerprint
from encoder_ablations.data.partitions.partition import (
    DividedImages,
    divide,
    partition_fingerprint,
)
from encoder_ablations.engine.training.federated.record import ClientRecord
from encoder_ablations.engine.training.federated.spec import FederationSpec
from encoder_ablations.experiments.runs.spec import RunSpec


@dataclass(frozen=True)
class Division:
    """The training images of all clients.

    Attributes:
        clients: indices of each client's images in the training split.
        records: what a record says of each client, without losses.
        sha256: fingerprint of the partition.
        deployed: whether the clients are processes of their own, each with its own images; then
            ``clients`` are indices in each one's own training split.
    """

    clients: list[list[int]]
    records: list[ClientRecord]
    sha256: str
    deployed: bool = False


def division_of(
    spec: RunSpec,
    federation: FederationSpec,
    folder: FolderDataset,
    scan: MaskScan,
    indices: list[int],
) -> Division:
    """Divide a run's training images among its clients.

    Args:
        spec: the run.
        federation: its settings.
        folder: the training split.
        scan: of its masks.
        indices: of the images of the training split that the run may learn from.

    Raises:
        InputError: the images cannot be divided so.
    """
    scenes = None
    if spec.dataset.scene_pattern is not None:
        scenes = [folder.scenes[index] for index in indices]
    images = DividedImages(spec.dataset.name, scan.counts[indices], scenes)
    places = divide(federation.partition, images, federation.clients, spec.seed)
    clients = [[indices[place] for place in own] for own in places]
    ids = [[folder.ids[index] for index in own] for own in clients]
    records = [
        ClientRecord(
            images=len(own),
            class_pixels=scan.counts[own].sum(axis=0).tolist(),
            ids_sha256=fingerprint(names),
        )
        for own, names in zip(clients, ids, strict=True)
    ]
    return Division(clients, records, partition_fingerprint(ids))
