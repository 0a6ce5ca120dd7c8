"""What runs of one study are told apart by: their federation, and the privacy that they promise."""

from encoder_ablations.experiments.runs.spec import RunSpec

CENTRAL = "central"
"""What a run without clients is called."""
NO_PRIVACY = "none"
"""What the privacy of a run without any is called."""


def federation_title(run: RunSpec) -> str:
    """Return the federation of a run in words, or "central"."""
    if run.federation is None:
        return CENTRAL
    return run.federation.title


def privacy_title(run: RunSpec) -> str:
    """Return what a run promises about its images or clients, such as "eps3", or "none"."""
    if run.recipe.privacy is not None:
        return run.recipe.privacy.title
    if run.federation is not None and run.federation.privacy is not None:
        return f"private clients {run.federation.privacy.title}"
    return NO_PRIVACY
