"""The body of an encoder that a user's own function makes."""

from typing import Any

from encoder_ablations.encoders.base import STRIDES, Body
from encoder_ablations.encoders.bodies.custom import CustomBody
from encoder_ablations.encoders.spec import EncoderSpec
from encoder_ablations.encoders.weights.loading import load_weights
from encoder_ablations.encoders.weights.local_files import local_weights
from encoder_ablations.utils.custom_code.failures import check_arguments, failing_in, takes
from encoder_ablations.utils.custom_code.loading import code_digest, load_custom
from encoder_ablations.utils.errors import InputError

PRETRAINED = "pretrained"


def make_custom_body(spec: EncoderSpec) -> CustomBody:
    """Return what the function that ``spec.name`` refers to makes, with its weights.

    It is called with ``spec.settings`` as keyword arguments, and with ``pretrained`` if it has
    such a parameter.

    Raises:
        InputError: the function is not there, fails, or makes something else; or its weights do
            not fit.
    """
    where = f"encoder '{spec.name}'"
    function = load_custom(spec.name, "encoder")
    if not callable(function):
        raise InputError(
            f"{where} is {type(function).__name__}; it must be a function that makes the encoder."
        )
    arguments = _arguments(spec, function, where)
    check_arguments(function, arguments, where)
    with failing_in(spec.name.partition(":")[0], where):
        module = function(**arguments)
        body = CustomBody(module, where, code_digest(spec.name))
    if spec.weights not in ("random", PRETRAINED):
        load_weights(body.model, local_weights(spec.weights))
    return body


def _arguments(spec: EncoderSpec, function: Any, where: str) -> dict[str, Any]:
    """Return the keyword arguments of the call."""
    if PRETRAINED in spec.settings:
        raise InputError(
            f"{where}: settings hold '{PRETRAINED}', which the encoder's key weights decides: "
            f"write weights: {PRETRAINED} or random."
        )
    if takes(function, PRETRAINED):
        return dict(spec.settings) | {PRETRAINED: spec.weights == PRETRAINED}
    if spec.weights == PRETRAINED:
        raise InputError(
            f"{where} has no parameter '{PRETRAINED}', so it has no pretrained weights. Write "
            "weights: random or weights: FILE, or give the function that parameter."
        )
    return dict(spec.settings)


def necks_of(body: Body) -> tuple[str, ...]:
    """Return the necks that fit a body's maps; the first one is the default."""
    if len(set(body.reductions)) == 1 and len(body.reductions) == len(STRIDES):
        return "tap_pyramid", "simple_feature_pyramid", "none"
    if len(set(body.reductions)) == 1:
        return "simple_feature_pyramid", "none"
    if list(body.reductions) == list(STRIDES.values()):
        return "fpn_additive", "fpn_concat", "none"
    return ("none",)


def fit_to_neck(body: CustomBody, neck: str) -> None:
    """Try the body out as the neck reads it.

    Raises:
        InputError: its maps are not those that it states.
    """
    if neck == "simple_feature_pyramid":
        body.keep_last()
    # images are padded to multiples of the coarsest level's stride
    step = max(STRIDES.values())
    if neck == "none":
        step = round(max(body.reductions))
    with failing_in(type(body.model).__module__, f"{body.where}: a forward pass"):
        body.try_out(step)
