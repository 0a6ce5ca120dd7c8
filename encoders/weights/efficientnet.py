"""EfficientNet-Lite weights under the names of EfficientNet-PyTorch, brought to timm's names.

EfficientNet-PyTorch (Melas-Kyriazi, 2019) counts all blocks in one row; timm counts them by stage.
Both hold the same tensors in the same order.
"""

from collections.abc import Mapping

from torch import Tensor

from encoder_ablations.utils.errors import InputError

LAYOUT = "EfficientNet-PyTorch"
OUTER = {
    "_conv_stem": "conv_stem",
    "_bn0": "bn1",
    "_conv_head": "conv_head",
    "_bn1": "bn2",
    "_fc": "classifier",
}
"""Parts outside the blocks."""
WITHOUT_EXPANSION = {
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn1",
    "_project_conv": "conv_pw",
    "_bn2": "bn2",
}
"""Parts of a block whose depthwise convolution comes first."""
WITH_EXPANSION = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}
"""Parts of an inverted residual block."""


def is_efficientnet(state: Mapping[str, Tensor]) -> bool:
    """Return whether weights have the names of EfficientNet-PyTorch."""
    return "_conv_stem.weight" in state


def timm_names(
    state: Mapping[str, Tensor], own: Mapping[str, Tensor], where: str
) -> dict[str, str]:
    """Return timm's name of each tensor, by the file's name.

    Args:
        state: tensors by the file's names.
        own: the state of timm's model, in its order.
        where: begins the message.

    Raises:
        InputError: a name that the rule does not know, or tensors in another order than the
            model's: their names then do not say what they are.
    """
    places = _blocks(own)
    names = {name: _timm_name(name, state, places, where) for name in state}
    kept = [name for name in names.values() if name in own]
    # a rule that went wrong somewhere would still give each tensor some name; the order tells
    if set(kept) == own.keys() and kept != list(own):
        wrong = next(a for a, b in zip(kept, own, strict=True) if a != b)
        raise InputError(
            f"{where}: its tensors are not in the model's order (first: {wrong}). "
            "Give the original file."
        )
    return names


def _blocks(own: Mapping[str, Tensor]) -> list[str]:
    """Return timm's names of all blocks, "blocks.STAGE.PLACE", in their order."""
    blocks = (".".join(name.split(".")[:3]) for name in own if name.startswith("blocks."))
    return list(dict.fromkeys(blocks))


def _timm_name(name: str, state: Mapping[str, Tensor], places: list[str], where: str) -> str:
    """Return timm's name; the last word (weight, bias, running_mean, …) stays the same."""
    *parents, part, kind = name.split(".")
    if not parents and part in OUTER:
        return f"{OUTER[part]}.{kind}"
    if len(parents) == 2 and parents[0] == "_blocks" and parents[1].isdecimal():
        number = int(parents[1])
        table = WITHOUT_EXPANSION
        if f"_blocks.{number}._expand_conv.weight" in state:
            table = WITH_EXPANSION
        if part in table and number < len(places):
            return f"{places[number]}.{table[part]}.{kind}"
    raise InputError(
        f"{where}: '{name}' is no parameter of EfficientNet-Lite with {len(places)} blocks. "
        "Give the file of this encoder."
    )
