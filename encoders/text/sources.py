"""Where the text tower of an encoder comes from; asking does not import PyTorch."""

import json
from pathlib import Path

from encoder_ablations.encoders.spec import EncoderSpec
from encoder_ablations.encoders.table.lookup import find_row, with_text_towers
from encoder_ablations.encoders.table.text_space import check_text_space
from encoder_ablations.utils.errors import InputError


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


def check_source(encoder: EncoderSpec, given: str | None) -> None:
    """Check that an encoder can be compared with texts at all.

    Args:
        encoder: its settings.
        given: a tower that is asked for; None = the one that was trained with the encoder.

    Raises:
        InputError: the encoder was not trained with texts, no tower is known, or the encoder's
            weights are random and no tower is given.
    """
    check_text_space(encoder.name)
    given = given or own_tower(encoder)
    tower_source(encoder.name, given)
    if given is None and encoder.weights == "random":
        raise InputError(
            f"encoder {encoder.title}: random weights have nothing to do with texts, so that "
            "scores would be chance. Use weights: pretrained or a file. To measure chance, name "
            "the tower as segmenter.text.tower."
        )
