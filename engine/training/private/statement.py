"""What private training promises: the record of it, in numbers and in words."""

from collections.abc import Iterator

from encoder_ablations.engine.recipe import Recipe
from encoder_ablations.engine.training.private.record import PrivacyRecord
from encoder_ablations.engine.training.state import Progress


def privacy_record(recipe: Recipe, progress: Progress, images: int) -> PrivacyRecord | None:
    """Return what a training has spent; None where it was not private.

    Args:
        recipe: how it was trained.
        progress: of the finished training.
        images: number of training images.
    """
    spec, spent = recipe.privacy, progress.privacy
    if spec is None or spent is None:
        return None
    return PrivacyRecord(
        epsilon=spent["epsilon"],
        delta=spec.delta,
        accountant=spec.accountant,
        noise=spent["noise"],
        clip=spec.clip,
        rate=spent["rate"],
        steps=int(spent["taken"]),
        protected=f"each of the {images} training images: one more or one less",
    )


def about_privacy(found: PrivacyRecord | None) -> Iterator[str]:
    """Yield sentences about a private training."""
    if found is None:
        return
    yield (
        f"Private training (DP-SGD): epsilon {found.epsilon:.3g} at delta {found.delta:g} after "
        f"{found.steps} steps with noise {found.noise:.3g} and clip {found.clip:g}, by the "
        f"accountant {found.accountant}. Protected is {found.protected}."
    )
    yield f"Not protected by it: {'; '.join(found.not_protected)}."
    yield (
        "Samples and noise of private training follow from the seed: the guarantee holds against "
        "those who do not know it."
    )
    if found.accountant == "gdp":
        yield "The accountant gdp approximates: the true epsilon may be larger."
