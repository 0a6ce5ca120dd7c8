"""The server of a federation: a run whose clients are processes of their own."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from encoder_ablations.data.checks.training_check import (
    CheckedDataset,
    check_splits,
    require_two_classes,
)
from encoder_ablations.data.datasets.palette import colors_of
from encoder_ablations.data.datasets.subsets import fingerprint
from encoder_ablations.engine.training.federated.record import ClientRecord
from encoder_ablations.experiments.federation.members import Members
from encoder_ablations.experiments.federation.messages import ClientFacts
from encoder_ablations.experiments.runs.execution import Advance, Execution
from encoder_ablations.experiments.runs.federated.division import Division
from encoder_ablations.experiments.runs.preparation import Images, RunData, all_images
from encoder_ablations.experiments.runs.record import RunRecord
from encoder_ablations.experiments.runs.record_parts import DataRecord
from encoder_ablations.experiments.runs.run import execute_run
from encoder_ablations.experiments.runs.spec import RunSpec


def serve(
    spec: RunSpec, folder: Path, execution: Execution, members: Members, advance: Advance
) -> RunRecord:
    """Train (or go on training), evaluate and record one run whose clients are elsewhere.

    Args:
        spec: the run.
        folder: of the run.
        execution: how the server evaluates.
        members: all clients.
        advance: is told of every client that has finished a round.

    Raises:
        InputError: something that the user can put right.
        CannotContinue: no client has finished a round.
    """
    return execute_run(spec, folder, execution, advance, partial(server_data, members=members))


def server_data(spec: RunSpec, members: Members) -> RunData:
    """Return what the server has: images to evaluate on, and what clients tell of theirs.

    Training images are not looked for.

    Raises:
        InputError: the files of the other splits are wrong, or all clients together have one class.
    """
    clients = [members.facts[number] for number in sorted(members.facts)]
    checked = check_splits(spec.dataset, [each for each in spec.dataset.splits if each != "train"])
    val = report = all_images(spec, checked, "val")
    if "test" in checked.datasets:
        report = all_images(spec, checked, "test")
    record = _data_record(spec, checked, clients, val, report)
    require_two_classes(spec.dataset, record.class_pixels)
    # nothing reads training images here, so that any samples stand for them
    train = Images("train", val.samples, [])
    warnings = tuple(checked.warnings)
    division = _division(clients)
    return RunData(train, val, report, record, checked, warnings, division, members)


def _division(clients: Sequence[ClientFacts]) -> Division:
    records = [
        ClientRecord(
            images=client.images, class_pixels=client.class_pixels, ids_sha256=client.ids_sha256
        )
        for client in clients
    ]
    indices = [list(range(client.images)) for client in clients]
    sha256 = fingerprint(f"{client.number} {client.ids_sha256}" for client in clients)
    return Division(indices, records, sha256, deployed=True)


def _data_record(
    spec: RunSpec,
    checked: CheckedDataset,
    clients: Sequence[ClientFacts],
    val: Images,
    report: Images,
) -> DataRecord:
    """Return what the record says of the images; digests of training images are of the clients'."""
    masks = [f"train {client.number} {client.masks_sha256}" for client in clients]
    n_test = None
    if "test" in checked.datasets:
        n_test = len(checked.datasets["test"])
    pixels = zip(*(client.class_pixels for client in clients), strict=True)
    return DataRecord(
        train_ids_sha256=fingerprint(f"{each.number} {each.ids_sha256}" for each in clients),
        train_masks_sha256=fingerprint(masks),
        n_train=sum(client.images for client in clients),
        n_val=len(val.indices),
        n_test=n_test,
        fraction=spec.fraction,
        class_names=list(spec.dataset.classes),
        class_pixels=[sum(each) for each in pixels],
        colors=colors_of(spec.dataset),
        report_split=report.split,
        dataset_sha256=fingerprint([checked.fingerprint, *masks]),
    )
