"""What runs of one study are told apart by: their federation."""

from encoder_ablations.engine.training.federated.spec import FederationSpec

CENTRAL = "central"
"""What a run without clients is called."""


def federation_title(federation: FederationSpec | None) -> str:
    """Return the federation of a run in words, or "central"."""
    if federation is None:
        return CENTRAL
    return federation.title
