"""The encoders by name. Everything that no row says is read from the model itself.

timm is imported by the functions that ask it something: listings and checks of options do not.
"""

from encoder_ablations.encoders.facts import timm_models
from encoder_ablations.encoders.table import convolutional, vision_transformers
from encoder_ablations.encoders.table.rows import EncoderRow, ViTRow
from encoder_ablations.utils.errors import InputError, nearest

MODULES = ("vision_transformer", "eva", "beit", "deit", "naflexvit", "vision_transformer_sam")
"""timm's modules of plain vision transformers."""
ROWS: tuple[EncoderRow, ...] = (*vision_transformers.ROWS, *convolutional.ROWS)

ALIASES = {
    "clip-vit-base-patch32": "clip_b32",
    "clip-vit-base-patch16": "clip_b16",
    "clip-vit-large-patch14": "clip_l14",
    "siglip-base-patch16-224": "siglip_b16",
    "siglip-large-patch16-256": "siglip_l16",
}
"""Names under which the same models are known elsewhere."""

TABLE = {row.name: row for row in ROWS}


def find_row(name: str) -> EncoderRow:
    """Return the row called ``name``, or a new row for any other vision transformer of timm.

    Raises:
        InputError: it is neither a row nor a vision transformer of timm.
    """
    row = TABLE.get(ALIASES.get(name, name))
    if row is not None:
        return row
    architecture = name.partition(".")[0]
    if architecture not in timm_models():
        _require_vision_transformer(name, architecture)
    activation = "gelu_tanh" if "siglip" in architecture else None
    return ViTRow(name, name, "timm", activation)


def _require_vision_transformer(name: str, architecture: str) -> None:
    """Ask timm itself about a model that was not known when the list of models was written.

    Raises:
        InputError: it is no vision transformer of timm.
    """
    import timm
    from timm.models import is_model_in_modules

    if not timm.is_model(architecture):
        raise InputError(
            f"unknown encoder '{name}'.{nearest(name, [*TABLE, *ALIASES])} "
            f"Allowed: {', '.join(TABLE)}, or the name of a timm vision transformer."
        )
    if not is_model_in_modules(architecture, MODULES):
        raise InputError(
            f"the timm model '{name}' is not a plain vision transformer. Allowed: models of timm's "
            f"modules {', '.join(MODULES)}, or {', '.join(TABLE)}."
        )
