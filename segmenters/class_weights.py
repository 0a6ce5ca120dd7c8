"""Weights of classes in a loss: from names, or from how often classes occur, to a list."""

from collections.abc import Mapping, Sequence

from encoder_ablations.segmenters.loss_spec import ClassWeightedSpec, ClassWeights
from encoder_ablations.segmenters.registry import losses_of
from encoder_ablations.segmenters.spec import SegmenterSpec
from encoder_ablations.utils.errors import InputError, nearest

BALANCED = "balanced"


def weights_in_order(given: ClassWeights | None, num_classes: int) -> list[float] | None:
    """Return the weights that a loss is built with, one for each class; None if all weigh 1.

    Raises:
        InputError: they are not a list of as many weights as there are classes, or all are 0.
    """
    if given is None:
        return None
    if not isinstance(given, list):
        raise InputError(
            f"class_weights {given} depend on a dataset: resolve them with "
            "segmenters.class_weights.with_class_weights, or give a list of numbers."
        )
    if len(given) != num_classes:
        raise InputError(
            f"class_weights has {len(given)} numbers, but there are {num_classes} classes. Give "
            "one for each class, or a mapping of the names of some."
        )
    if not any(given):
        raise InputError("class_weights are all 0: at least one class must weigh more.")
    return given


def with_class_weights(
    spec: SegmenterSpec, classes: Sequence[str], pixels: Sequence[int] | None
) -> SegmenterSpec:
    """Return a segmenter's settings with all class weights as lists.

    Args:
        spec: a head and its settings.
        classes: names of the K classes.
        pixels: of each class in the images that are trained on; None for a model that will not be
            trained, whose balanced weights are all 1.

    Raises:
        InputError: a weight of a class that does not exist, or weights that are all 0.
    """
    weights = class_weights_of(spec, classes, pixels)
    if not weights:
        return spec
    losses = {name: own.model_dump(mode="json") for name, own in losses_of(spec).items()}
    for name, own in weights.items():
        losses[name] |= {"class_weights": own}
    return spec.model_copy(update={"loss": losses})


def class_weights_of(
    spec: SegmenterSpec, classes: Sequence[str], pixels: Sequence[int] | None
) -> dict[str, list[float]]:
    """Return the class weights of those losses of a segmenter that have any: loss -> weights.

    See :func:`with_class_weights`.
    """
    found = {}
    for name, given in _given(spec).items():
        if given == BALANCED:
            weights = _balanced(pixels or [1] * len(classes))
        elif isinstance(given, dict):
            weights = _of_names(given, classes, f"segmenter {spec.name}, loss {name}")
        else:
            weights = [float(weight) for weight in given]
        weights_in_order(weights, len(classes))
        found[name] = weights
    return found


def balanced_losses(spec: SegmenterSpec) -> list[str]:
    """Return the names of the losses whose class weights follow from the training images."""
    return [name for name, given in _given(spec).items() if given == BALANCED]


def refuse_balanced(spec: SegmenterSpec) -> None:
    """Refuse class weights that follow from training images, which are private.

    Raises:
        InputError: a loss has balanced class weights.
    """
    for loss in balanced_losses(spec):
        raise InputError(
            f"privacy: class_weights balanced of the loss {loss} follow from the private "
            "masks. Give numbers that do not, or leave class_weights out."
        )


def _given(spec: SegmenterSpec) -> dict[str, ClassWeights]:
    """Return the class weights as they are written, of the losses that have any."""
    found = {}
    for name, settings in losses_of(spec).items():
        if isinstance(settings, ClassWeightedSpec) and settings.class_weights is not None:
            found[name] = settings.class_weights
    return found


def _balanced(pixels: Sequence[int]) -> list[float]:
    """Return weights by which every class that occurs counts the same; 0 for the others."""
    shown = [count for count in pixels if count]
    if not shown:
        raise InputError("class_weights balanced: no training image has a labelled pixel.")
    share = sum(shown) / len(shown)
    weights = [0.0] * len(pixels)
    for number, count in enumerate(pixels):
        if count:
            weights[number] = share / count
    return weights


def _of_names(given: Mapping[str | int, float], classes: Sequence[str], where: str) -> list[float]:
    """Return the weights of all classes; those that are not named weigh 1.

    Args:
        given: name or id of a class -> weight.
        classes: names of all.
        where: begins messages.

    Raises:
        InputError: there is no such class.
    """
    ids = {str(number): number for number in range(len(classes))}
    # a name that is a number is a name
    ids |= {name: number for number, name in enumerate(classes)}
    weights = [1.0] * len(classes)
    for key, weight in given.items():
        if str(key) not in ids:
            raise InputError(
                f"{where}: class_weights names '{key}', which is no class."
                f"{nearest(str(key), classes)} The classes are {', '.join(classes)}."
            )
        weights[ids[str(key)]] = weight
    return weights
