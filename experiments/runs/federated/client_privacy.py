"""What protecting the clients of a federation promises, and what it does not."""

from collections.abc import Iterator

from encoder_ablations.engine.training.private.record import PrivacyRecord

NOT_PROTECTED = [
    "validation and test images, which are common to all clients",
    "the trials by which settings were chosen",
    "the images of pretraining",
    "the clients from the server of a real federation, which sees every update before the noise "
    "unless a protocol adds the updates secretly",
    "what the run's folder holds beside best.pt: losses, images and pixels of each client, and "
    "last.pt with the clients' models",
]
LOCAL_NORMS = "the mean of the clients' BatchNorms, which the model that is scored has"


def about_client_privacy(found: PrivacyRecord | None) -> Iterator[str]:
    """Yield sentences about the protection of clients."""
    if found is None:
        return
    yield (
        f"Private clients (DP-FedAvg): epsilon {found.epsilon:.3g} at delta {found.delta:g} after "
        f"{found.steps} rounds with noise {found.noise:.3g} and clip {found.clip:g}, each client "
        f"in a round with probability {found.rate:g}, by the accountant {found.accountant}. "
        f"Protected is {found.protected}."
    )
    yield f"Not protected by it: {'; '.join(found.not_protected)}."
    yield (
        "The choice of clients and the noise follow from the seed: the guarantee holds against "
        "those who do not know it."
    )
    if found.accountant == "gdp":
        yield "The accountant gdp approximates: the true epsilon may be larger."
