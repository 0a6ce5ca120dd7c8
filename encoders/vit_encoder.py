"""The body of an encoder that is a vision transformer of timm."""

from typing import Any

import timm

from encoder_ablations.encoders.base import Normalization
from encoder_ablations.encoders.bodies.taps import DEFAULT_TAPS, tap_indices
from encoder_ablations.encoders.bodies.timm_vits import (
    accept_all_sizes,
    final_norm_of,
    one_block_of,
    options_for_sizes,
    options_without_head,
    patch_of,
)
from encoder_ablations.encoders.bodies.vit import ViTBody
from encoder_ablations.encoders.spec import EncoderSpec
from encoder_ablations.encoders.table.rows import ViTRow, source_of
from encoder_ablations.encoders.table.text_space import no_text_space, readout_of
from encoder_ablations.utils.errors import InputError

REGULAR_PATCH = 16


def make_vit_body(
    spec: EncoderSpec, row: ViTRow, neck: str, normalization: Normalization, text: bool
) -> ViTBody:
    """Return a body with random weights.

    Args:
        spec: the settings.
        row: of the encoder table.
        neck: its name; the simple feature pyramid reads the last tap alone.
        normalization: that the weights expect.
        text: whether the model keeps what leads into the space of texts.

    Raises:
        InputError: a setting that this model does not have, or ``text`` for one that was not
            trained with texts.
    """
    shape = one_block_of(row.model)
    patch = patch_of(shape)
    options = options_without_head(shape) | options_for_sizes(shape, row.position_rule)
    if spec.grid != "native":
        _require_patch_14(spec, patch)
    if spec.grid == "resampled_patch":
        # the image size keeps the grid of the position embeddings
        size = source_of(row).input_size[-1] // patch * REGULAR_PATCH
        options |= {"patch_size": REGULAR_PATCH, "img_size": size}
    scale = patch / REGULAR_PATCH if spec.grid == "rescaled_input" else 1.0
    if text:
        options |= _readout_options(spec.name, row.model, source_of(row).num_classes)
    model = _timm_model(row, options)
    _check_final_norm(spec, model)
    taps = tap_indices(spec.taps or DEFAULT_TAPS, len(model.blocks))
    if neck == "simple_feature_pyramid":
        taps = taps[-1:]
    return ViTBody(
        model,
        taps=taps,
        final_norm=spec.final_norm is not False,
        normalization=normalization,
        input_scale=scale,
        position_rule=row.position_rule,
        text=text,
    )


def _readout_options(name: str, model: str, outputs: int) -> dict[str, Any]:
    """Return the options of ``timm.create_model`` that keep the read-out.

    Args:
        name: of the encoder, for the message.
        model: timm's name with tag.
        outputs: of the projection, as timm's entry for the weights says.

    Raises:
        InputError: the model was not trained with texts.
    """
    kind = readout_of(model)
    if kind is None:
        raise no_text_space(name)
    options: dict[str, dict[str, Any]] = {
        "projection": {"num_classes": outputs},
        "attention pool": {"global_pool": "map"},
    }
    return options.get(kind, {})


def _require_patch_14(spec: EncoderSpec, patch: int) -> None:
    """Check that another grid is asked of a patch-14 model only."""
    if patch != 14:
        raise InputError(
            f"encoder {spec.name} has patch {patch}: grid is for patch 14. Allowed here: native."
        )


def _check_final_norm(spec: EncoderSpec, model: Any) -> None:
    """Check that a final norm which is asked for is there."""
    if spec.final_norm and final_norm_of(model) is None:
        raise InputError(
            f"encoder {spec.name} has no final norm on the output of its blocks. "
            "Remove final_norm, or set it to false."
        )


def _timm_model(row: ViTRow, options: dict[str, Any]) -> Any:
    if row.activation:
        options = {**options, "act_layer": row.activation}
    model: Any = timm.create_model(row.model, pretrained=False, **{"num_classes": 0, **options})
    accept_all_sizes(model, row.position_rule)
    return model
