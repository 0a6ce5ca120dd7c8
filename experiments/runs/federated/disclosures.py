"""What a reader must know to judge the number of a federated run."""

from collections.abc import Iterator

from encoder_ablations.engine.training.federated.record import FederationRecord
from encoder_ablations.engine.training.federated.spec import FederationSpec
from encoder_ablations.experiments.runs.federated.client_privacy import about_client_privacy
from encoder_ablations.experiments.runs.spec import RunSpec
from encoder_ablations.segmenters.class_weights import balanced_losses
from encoder_ablations.utils.texts import plural


def about_federation(spec: RunSpec, found: FederationRecord | None) -> list[str]:
    """Return sentences about a run's federation; none for central training.

    Args:
        spec: the run.
        found: its clients and rounds.
    """
    federation = spec.federation
    if federation is None or found is None:
        return []
    if federation.alone is not None:
        own = found.clients[federation.alone].images
        everyone = sum(client.images for client in found.clients)
        return [
            f"Client {federation.alone} of {federation.clients} trained alone, on {own} of "
            f"{plural(everyone, 'image')}. The validation images are common to all clients."
        ]
    if found.deployed:
        told = [*_about_deployment(spec, federation), *_about_failures(found)]
    else:
        told = [
            *_about_rounds(federation),
            *_about_shared_knowledge(spec),
            *_about_failures(found),
        ]
    return [*told, *about_client_privacy(found.privacy)]


def _about_steps(how: str) -> str:
    return (
        f"Federated training, {how}. Each client takes the recipe's steps, so all of them together "
        "see more images than central training does."
    )


def _about_deployment(spec: RunSpec, federation: FederationSpec) -> Iterator[str]:
    kind = federation.algorithm.kind
    yield _about_steps(
        f"with {kind} and {plural(federation.clients, 'client')} that are processes of their own"
    )
    yield (
        "Each client read the images in its own folder, so federation.partition has no meaning. "
        "The validation images are the server's."
    )
    for loss in balanced_losses(spec.segmenter):
        yield (
            f"The class weights of the loss {loss} follow from the numbers of pixels that the "
            "clients told the server."
        )


def _about_rounds(federation: FederationSpec) -> Iterator[str]:
    yield (
        f"{_about_steps(f'simulated: {federation.title}')} The validation images are common to all "
        "clients."
    )
    if federation.local_batch_norm:
        yield (
            "Each client keeps its BatchNorms. The model that is scored has the mean of them, "
            "which no client uses."
        )


def _about_shared_knowledge(spec: RunSpec) -> Iterator[str]:
    """Name what the simulation computes from all clients' images together."""
    for loss in balanced_losses(spec.segmenter):
        yield (
            f"The class weights of the loss {loss} are of the pixels of all clients together, "
            "which a server would have to ask for."
        )
    if spec.encoder.batch_norm == "estimate":
        yield (
            "The frozen body's BatchNorm statistics are estimated on the images of all clients "
            "together, which a server would have to ask for."
        )


def _about_failures(found: FederationRecord) -> Iterator[str]:
    if not found.failures:
        return
    rounds = {failure.round for failure in found.failures}
    first = found.failures[0]
    yield (
        f"Clients failed in {len(rounds)} of {plural(len(found.bytes_up), 'round')} and were left "
        f"out of these; the first was client {first.client} in round {first.round} ({first.error})."
    )
