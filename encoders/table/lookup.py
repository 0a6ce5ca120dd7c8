"""The encoders by name. Everything that no row says is read from the model itself.

timm is imported by the functions that ask it something: listings and checks of options do not.
"""

from encoder_ablations.encoders.facts import timm_models
from encoder_ablations.encoders.table import convolutional, vision_transformers
from encoder_ablations.encoders.table.rows import CustomRow, EncoderRow, HierarchicalRow, ViTRow
from encoder_ablations.utils.custom_code.names import is_reference
from encoder_ablations.utils.errors import InputError, nearest

MODULES = ("vision_transformer", "eva", "beit", "deit", "naflexvit", "vision_transformer_sam")
"""timm's modules of plain vision transformers."""
SUGGESTIONS = 4
"""Names that the message about an unknown encoder proposes."""
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
    """Return the row called ``name``, or a new row for any other model of timm.

    Whether such a model can be an encoder is seen when it is built.

    A reference ``package.module:function`` also gives a new row; nothing is imported for it.

    Raises:
        InputError: it is neither a row nor a model of timm.
    """
    row = TABLE.get(ALIASES.get(name, name))
    if row is not None:
        return row
    if is_reference(name):
        return CustomRow(name)
    architecture = name.partition(".")[0]
    known = timm_models()
    if architecture in known["hierarchical"]:
        return HierarchicalRow(name, name, "timm")
    if architecture not in known["plain"] and not _is_vision_transformer(name, architecture):
        return HierarchicalRow(name, name, "timm")
    activation = "gelu_tanh" if "siglip" in architecture else None
    return ViTRow(name, name, "timm", activation)


def with_text_towers() -> list[str]:
    """Return the names of the encoders whose text tower is known."""
    return [row.name for row in vision_transformers.ROWS if row.text is not None]


def _is_vision_transformer(name: str, architecture: str) -> bool:
    """Return what timm itself says of a model that was not known when its models were listed.

    Raises:
        InputError: timm has no such model.
    """
    import timm
    from timm.models import is_model_in_modules

    if not timm.is_model(architecture):
        raise InputError(
            f"unknown encoder '{name}'.{nearest(name, [*TABLE, *ALIASES], most=SUGGESTIONS)} "
            "'ablate encoders' lists all. Also allowed: the name of a timm model, or "
            "package.module:function for an encoder of your own."
        )
    return bool(is_model_in_modules(architecture, MODULES))
