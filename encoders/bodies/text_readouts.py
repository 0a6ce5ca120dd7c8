"""The way from the last block of a vision transformer to the space of text features."""

from typing import Any

from timm.layers import AttentionPoolLatent
from torch import Tensor

from encoder_ablations.encoders.bodies.timm_vits import TimmViT
from encoder_ablations.encoders.table.lookup import with_text_towers
from encoder_ablations.utils.errors import InputError

READOUTS = {"_clip_": "projection", "_siglip_": "attention pool", "_tipsv2": "none"}
"""What stands between the final norm and the text space, by a part of timm's names.

SigLIP's models without their pool (``_siglip_gap_``) are no longer aligned with texts.
"""


def readout_of(model: str) -> str | None:
    """Return the kind of read-out of a timm model's name; None if it has no text space."""
    architecture = model.partition(".")[0]
    if "_siglip_gap_" in architecture:
        return None
    return next((kind for part, kind in READOUTS.items() if part in architecture), None)


def readout_options(name: str, model: str, outputs: int) -> dict[str, Any]:
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


def no_text_space(name: str) -> InputError:
    """Return the error for an encoder that was not trained with texts."""
    return InputError(
        f"encoder {name} was not trained with texts, so a head cannot compare it with them. "
        f"Encoders that were: {', '.join(with_text_towers())}."
    )


def read_out(model: TimmViT, values: Tensor) -> Tensor:
    """Return B×T×D in text space, of B×T×C after the final norm; each token by itself.

    CLIP projects. In SigLIP a token takes the way that it would take through the attention pool
    with all of the pool's attention: values, output projection, MLP. TIPSv2 has nothing there.
    """
    own: Any = model
    if own.attn_pool is not None:
        values = _value_path(own.attn_pool, values)
    projected: Tensor = own.head(own.fc_norm(values))
    return projected


def _value_path(pool: AttentionPoolLatent, values: Tensor) -> Tensor:
    """Return what the pool would give for each token alone, whose attention weight is 1."""
    _, contents = pool.kv(values).chunk(2, dim=-1)
    projected: Tensor = pool.proj_drop(pool.proj(contents))
    if pool.mlp is not None:
        projected = projected + pool.mlp(pool.norm(projected))
    return projected
