"""Which models were trained with texts, by timm's names; asking imports no model."""

from encoder_ablations.encoders.table.lookup import find_row, with_text_towers
from encoder_ablations.encoders.table.rows import CustomRow, ViTRow
from encoder_ablations.utils.errors import InputError

READOUTS = {"_clip_": "projection", "_siglip_": "attention pool", "_tipsv2": "none"}
"""What stands between the final norm and the text space, by a part of timm's names.

SigLIP's models without their pool (``_siglip_gap_``) are no longer aligned with texts.
"""


def readout_of(model: str) -> str | None:
    """Return the kind of read-out of a timm model's name; None if it has no text space."""
    architecture, _, tag = model.partition(".")
    # weights that were trained further on labels (``openai_ft_in1k``) have a classifier there
    if "_siglip_gap_" in architecture or "_ft_" in tag:
        return None
    return next((kind for part, kind in READOUTS.items() if part in architecture), None)


def check_text_space(encoder: str) -> None:
    """Check that an encoder was trained with texts, as far as its name tells.

    An encoder of one's own is looked at when it is built.

    Args:
        encoder: its name.

    Raises:
        InputError: it was not.
    """
    row = find_row(encoder)
    if isinstance(row, CustomRow):
        return
    if not isinstance(row, ViTRow) or readout_of(row.model) is None:
        raise no_text_space(encoder)


def no_text_space(name: str) -> InputError:
    """Return the error for an encoder that was not trained with texts."""
    return InputError(
        f"encoder {name} was not trained with texts, so a head cannot compare it with them. "
        f"Encoders that were: {', '.join(with_text_towers())}."
    )
