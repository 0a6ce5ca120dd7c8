"""The clients of a run that are simulated: the images of each, in an order of its own."""

from dataclasses import replace
from functools import partial

from accelerate import Accelerator

from encoder_ablations.engine.training.data import TrainingData
from encoder_ablations.engine.training.federated.clients import Client, client_seeds
from encoder_ablations.experiments.runs.federated.division import Division
from encoder_ablations.experiments.runs.spec import RunSpec


def clients_of(
    spec: RunSpec,
    whole: TrainingData,
    division: Division,
    accelerator: Accelerator,
    workers: int,
) -> list[Client]:
    """Return the clients of a run.

    Args:
        spec: the run.
        whole: the images of all clients.
        division: which of them each client has.
        accelerator: the device, and the processes that share a batch.
        workers: processes that load images.
    """
    found = []
    for number, seed in enumerate(client_seeds(len(division.clients), spec.seed)):
        indices, pixels = division.clients[number], division.records[number].class_pixels
        data = replace(whole, train_indices=indices, class_pixels=pixels)
        batches = partial(data.batches_between, spec.recipe, seed, accelerator, workers)
        found.append(Client(number, len(indices), seed, batches))
    return found
