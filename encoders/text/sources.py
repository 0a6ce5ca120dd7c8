"""Where the text tower of an encoder comes from; asking does not import PyTorch."""

import json
from pathlib import Path

from encoder_ablations.encoders.spec import EncoderSpec
from encoder_ablations.encoders.table.lookup import find_row, with_text_towers
from encoder_ablations.encoders.table.text_space import check_text_space
from encoder_ablations.utils.errors import InputError

RANDOM = "random"
"""In place of a tower: features of texts are random, as are the encoder's weights."""


def tower_source(encoder: str, given: str | None) -> str:
    """Return the folder or repository of the text tower of an encoder.

    Args:
        encoder: its name.
        given: a tower that is asked for; None = the one that was trained with the encoder.

    Raises:
        InputError: no tower is known for the encoder.
    """
    if given is not None:
        return given
    source = getattr(find_row(encoder), "text", None)
    if source is None:
        raise InputError(
            f"encoder {encoder} has no known text tower. Encoders that have one: "
            f"{', '.join(with_text_towers())}. For other weights that were trained with texts, "
            "name the tower by text.tower: a folder in transformers' format or a repository of the "
            "hub."
        )
    return str(source)


def own_tower(encoder: EncoderSpec) -> str | None:
    """Return the folder of an encoder's weights if it holds a whole model, text tower included.

    Args:
        encoder: its settings.
    """
    config = Path(encoder.weights) / "config.json"
    if not config.is_file():
        return None
    try:
        content = json.loads(config.read_bytes())
    except (OSError, ValueError):
        return None  # reading the tower would say no more than reading the weights
    if isinstance(content, dict) and "text_config" in content:
        return encoder.weights
    return None


def tower_beside(encoder: EncoderSpec) -> str | None:
    """Return the tower that goes with an encoder's weights; None = that of its row in the table.

    Args:
        encoder: its settings.
    """
    if encoder.weights == "random":
        return RANDOM
    return own_tower(encoder)


def check_source(encoder: EncoderSpec, given: str | None) -> None:
    """Check that an encoder can be compared with texts at all.

    Args:
        encoder: its settings.
        given: a tower that is asked for; None = the one that was trained with the encoder.

    Raises:
        InputError: the encoder was not trained with texts, no tower is known, or texts would have
            random features and the encoder would not.
    """
    check_text_space(encoder.name)
    tower_source(encoder.name, given or tower_beside(encoder))
    if given == RANDOM and encoder.weights != "random":
        raise InputError(
            f"encoder {encoder.title}: text.tower random is for weights: random. Leave it out, or "
            "name a folder or a repository of the hub."
        )
