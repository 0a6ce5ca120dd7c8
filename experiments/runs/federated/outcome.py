"""What the record of a federated run says of its clients and rounds."""

from encoder_ablations.engine.training.federated.record import FederationRecord
from encoder_ablations.engine.training.federated.rounds import Rounds
from encoder_ablations.engine.training.private.record import PrivacyRecord
from encoder_ablations.experiments.runs.federated.client_privacy import (
    LOCAL_NORMS,
    NOT_PROTECTED,
)
from encoder_ablations.experiments.runs.federated.disclosures import about_federation
from encoder_ablations.experiments.runs.federated.division import Division
from encoder_ablations.experiments.runs.record import RunRecord
from encoder_ablations.experiments.runs.record_parts import ConvergenceRecord


def with_federation(
    record: RunRecord, division: Division | None, rounds: Rounds | None
) -> RunRecord:
    """Return the record of a run with its clients and rounds; as it is for central training.

    Args:
        record: as it would be of central training.
        division: the images of each client; None for central training.
        rounds: after training; None where one client has trained alone.
    """
    if division is None:
        return record
    found = _federation(division, rounds)
    told = [*record.disclosures, *about_federation(record.spec, found)]
    changes = {"federation": found, "disclosures": told}
    if rounds is not None and record.convergence is not None:
        clients = rounds.federation.participants()
        changes["convergence"] = _of_all_clients(record.convergence, clients)
    return record.model_copy(update=changes)


def _of_all_clients(convergence: ConvergenceRecord, clients: int) -> ConvergenceRecord:
    """Return when validation was best, in epochs of all images: so many clients take each step."""
    changes = {"epochs": clients * convergence.epochs}
    if convergence.epochs_to_95_percent is not None:
        changes["epochs_to_95_percent"] = clients * convergence.epochs_to_95_percent
    return convergence.model_copy(update=changes)


def _federation(division: Division, rounds: Rounds | None) -> FederationRecord:
    """Return the clients with their images, and what each of them lost and sent."""
    if rounds is None:
        return FederationRecord(partition_sha256=division.sha256, clients=division.records)
    losses = zip(division.records, rounds.losses, strict=True)
    content: dict[str, object] = {
        "partition_sha256": division.sha256,
        "clients": [client.model_copy(update={"loss": loss}) for client, loss in losses],
        "steps_per_round": rounds.federation.steps_per_round(rounds.recipe.steps),
        "bytes_down": rounds.bytes_down,
        "bytes_up": rounds.bytes_up,
        "failures": rounds.failures,
        "deployed": division.deployed,
        "privacy": _privacy(rounds),
    }
    if rounds.private is not None:
        content["epsilon"] = [rounds.private.epsilon(each + 1) for each in range(rounds.number)]
    return FederationRecord.model_validate(content)


def _privacy(rounds: Rounds) -> PrivacyRecord | None:
    """Return what a training has spent; None where clients are not protected."""
    private = rounds.private
    if private is None:
        return None
    open_to_all = list(NOT_PROTECTED)
    if rounds.exchange.local:
        open_to_all.append(LOCAL_NORMS)
    return PrivacyRecord(
        epsilon=private.epsilon(rounds.number),
        delta=private.spec.delta,
        accountant=private.spec.accountant,
        noise=private.noise,
        clip=private.spec.clip,
        rate=private.rate,
        steps=rounds.number,
        protected=f"each of the {private.clients} clients with all its images: adding or removing "
        "one client",
        not_protected=open_to_all,
    )
