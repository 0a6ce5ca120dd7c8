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
        reference: the name of a file in ``configs/<kind>``, the path of a YAML, or a mapping. YAMLs and mappings may
            name another reference as ``base`` and are then a delta over it; a path is looked for beside the YAML that
            names it, then in the current folder.
        otherwise: the content of a name for which there is no file; an error when left out.

    Raises:
        InputError: nothing is called like that, or a YAML is based on itself.
    """
    return _resolve(kind, reference, otherwise, ())


def _resolve(
    kind: Kind,
    reference: Reference,
    otherwise: Callable[[str], dict[str, Any]] | None,
    above: tuple[str, ...],
) -> tuple[dict[str, Any], str]:
    """See :func:`resolve`; ``above`` are the files whose ``base`` led here."""
    if isinstance(reference, Mapping):
        content, source = dict(reference), f"an entry of {kind}"
        base = content.pop("base", None)
        return (
            (content, source)
            if base is None
            else _over(content, source, _resolve(kind, base, otherwise, above))
        )
    path = find_config(kind, reference)
    if path is not None:
        if str(path) in above:
            raise InputError(
                f"{path} is based on itself; its 'base' must be another file or a built-in name."
            )
        content = dict(read_yaml(path))
        base = content.pop("base", None)
        if base is None:
            return content, str(path)
        beside = (
            path.parent / base
            if isinstance(base, str) and base.endswith((".yaml", ".yml"))
            else None
        )
        below = str(beside) if beside is not None and beside.exists() else base
        return _over(content, str(path), _resolve(kind, below, otherwise, (*above, str(path))))
    if reference.endswith((".yaml", ".yml")):
        raise InputError(f"there is no file {reference}.{nearest(reference, config_names(kind))}")
    if otherwise is not None:
        return otherwise(reference), reference
    raise unknown(kind.removesuffix("s"), reference, config_names(kind))


def _over(
    delta: dict[str, Any], source: str, below: tuple[dict[str, Any], str]
) -> tuple[dict[str, Any], str]:
    return merge(below[0], delta), f"{source} based on {below[1]}"
