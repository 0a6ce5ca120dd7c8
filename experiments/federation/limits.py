"""Which runs can be trained between machines."""

from encoder_ablations.engine.training.federated.spec import FederationSpec
from encoder_ablations.experiments.runs.spec import RunSpec
from encoder_ablations.utils.errors import InputError


def check_deployable(spec: RunSpec) -> FederationSpec:
    """Return the federation of a run whose clients can be processes of their own.

    Raises:
        InputError: it has none, or needs what no single machine has.
    """
    federation = spec.federation
    if federation is None or federation.is_local:
        raise InputError(
            f"the run {spec.run_id} has no federation of several clients. Add for example "
            "federation={clients: 2, rounds: 10}."
        )
    for setting, (found, reason) in _needing_more(spec, federation).items():
        if found:
            raise InputError(f"{setting}: {reason}. The simulation (ablate run) can do it.")
    return federation


def _needing_more(spec: RunSpec, federation: FederationSpec) -> dict[str, tuple[bool, str]]:
    """Return settings that need the images or models of all clients in one place.

    Returns:
        Setting -> whether the run has it, and why that cannot be.
    """
    return {
        f"fraction {spec.fraction:g}": (
            spec.fraction != 1,
            "a fraction is chosen from the images of all clients together",
        ),
        "federation.local_batch_norm": (
            federation.local_batch_norm,
            "the server cannot score a model whose BatchNorms stay with the clients. Use a head "
            "with norm: group",
        ),
        "encoder.batch_norm estimate": (
            spec.encoder.batch_norm == "estimate",
            "the statistics are estimated on the images of all clients together",
        ),
        "recipe.pos_ratio": (
            spec.recipe.pos_ratio is not None,
            "the images of all clients are mixed by it",
        ),
        f"dataset.task {spec.dataset.task}": (
            spec.dataset.task != "segmentation",
            "only datasets with masks are divided between machines",
        ),
        "dataset.image_classes": (
            spec.dataset.image_classes is not None,
            "a client may lack a class of whole images",
        ),
    }
