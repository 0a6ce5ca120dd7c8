"""Names, paths and deltas to mappings: how an encoder, a segmenter or a dataset is referred to."""

from collections.abc import Callable, Mapping
from typing import Any, Literal

from encoder_ablations.utils.config import config_names, find_config, merge, read_yaml
from encoder_ablations.utils.errors import InputError, nearest, unknown

Kind = Literal["encoders", "segmenters", "datasets"]
Reference = str | Mapping[str, Any]


def resolve(
    kind: Kind, reference: Reference, otherwise: Callable[[str], dict[str, Any]] | None = None
) -> tuple[dict[str, Any], str]:
    """What a reference stands for: its content, and where that comes from.

    Args:
        reference: the name of a file in ``configs/<kind>``, the path of a YAML, or a mapping, which may name another
            reference as ``base`` and is then a delta over it.
        otherwise: the content of a name for which there is no file; an error when left out.

    Raises:
        InputError: nothing is called like that.
    """
    if isinstance(reference, Mapping):
        content = dict(reference)
        base = content.pop("base", None)
        if base is None:
            return content, f"an entry of {kind}"
        below, source = resolve(kind, base, otherwise)
        return merge(below, content), f"an entry of {kind} based on {source}"
    path = find_config(kind, reference)
    if path is not None:
        return read_yaml(path), str(path)
    if reference.endswith((".yaml", ".yml")):
        raise InputError(f"there is no file {reference}.{nearest(reference, config_names(kind))}")
    if otherwise is not None:
        return otherwise(reference), reference
    raise unknown(kind.removesuffix("s"), reference, config_names(kind))
