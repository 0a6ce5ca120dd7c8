"""What private training cannot promise anything for, refused in one line."""

from collections.abc import Mapping

from torch import Tensor

from encoder_ablations.engine.privacy import PrivacySpec
from encoder_ablations.engine.recipe import Recipe
from encoder_ablations.engine.training.batch_norm import learning_norms
from encoder_ablations.engine.training.private.accountant import Steps, epsilon_of
from encoder_ablations.segmenters.base import Segmenter
from encoder_ablations.utils.errors import InputError


def check_private_model(segmenter: Segmenter, recipe: Recipe) -> None:
    """Check that a model's gradients are those of single images, if training is private.

    Raises:
        InputError: a BatchNorm uses the statistics of the batch or of the training images, or
            nothing learns.
    """
    if recipe.privacy is None:
        return
    norms = {id(norm) for norm in learning_norms(segmenter)}
    if norms:
        names = [name for name, module in segmenter.named_modules() if id(module) in norms]
        raise InputError(
            f"recipe.privacy: the BatchNorm {names[0]} ({len(names)} in all) mixes the images of a "
            "batch. For a head set segmenter.norm: group (classifier: normalize: false), for an "
            "encoder freeze: body."
        )
    if segmenter.encoder.batch_norm == "estimate":
        raise InputError(
            "recipe.privacy: encoder.batch_norm estimate (the default for random weights) takes "
            "statistics of the private images without noise. Set encoder.batch_norm: keep."
        )
    if not any(parameter.requires_grad for parameter in segmenter.parameters()):
        raise InputError("recipe.privacy: no parameter of this model learns.")


def check_private_images(recipe: Recipe, images: int) -> None:
    """Check that private training by a recipe is possible on so many images.

    Args:
        recipe: how to train.
        images: number of training images, n.

    Raises:
        InputError: the batch is larger than the data, or both noise and ε are given.
    """
    spec = recipe.privacy
    if spec is None:
        return
    if recipe.batch_size > images:
        raise InputError(
            f"recipe.privacy: batch_size {recipe.batch_size} is larger than the data, "
            f"{images} training images. Each image is sampled with probability batch_size / "
            "images; use a smaller batch."
        )
    if spec.epsilon is None or spec.noise is None:
        return
    steps = Steps(spec.noise, recipe.batch_size / images, recipe.steps)
    given = epsilon_of(steps, spec.delta, spec.accountant)
    raise InputError(
        f"recipe.privacy gives both noise {spec.noise:g} and epsilon {spec.epsilon:g}: with "
        f"{images} images, batch_size {recipe.batch_size} and {recipe.steps} steps that noise "
        f"gives epsilon {given:.3g} at delta {spec.delta:g}. Leave out one of the two."
    )


def large_delta(spec: PrivacySpec | None, images: int) -> str | None:
    """Return what to say of a δ of 1/n or more; None for a smaller one.

    Args:
        spec: of private training; None = not private.
        images: number of training images, n.
    """
    if spec is None or spec.delta < 1 / images:
        return None
    return (
        f"recipe.privacy.delta {spec.delta:g} is not below 1 / {images} training images "
        f"({1 / images:.2g}): to publish one image at random would be as private. Lower it."
    )


def check_buffers(before: Mapping[str, Tensor], after: Mapping[str, Tensor]) -> None:
    """Check that images have changed no buffer: a running mean would leave without noise.

    Args:
        before: copies of a model's buffers from before some images, by name.
        after: the same buffers after the images' losses.

    Raises:
        InputError: a buffer has changed.
    """
    for name, buffer in after.items():
        if not buffer.equal(before[name]):
            raise InputError(
                f"privacy: training changes the buffer {name} by what images hold, without "
                "clipping or noise. Use a model without running statistics."
            )
