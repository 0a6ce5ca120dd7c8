"""Names, paths and deltas to mappings: how an encoder, a segmenter or a dataset is referred to."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

from encoder_ablations.utils.config import config_names, find_config, merge, read_yaml
from encoder_ablations.utils.errors import InputError, nearest, unknown
from encoder_ablations.utils.texts import shortened

Kind = Literal["encoders", "segmenters", "datasets"]
Reference = str | Mapping[str, Any]
YAML = (".yaml", ".yml")


def resolve(
    kind: Kind, reference: Reference, otherwise: Callable[[str], dict[str, Any]] | None = None
) -> tuple[dict[str, Any], str]:
    """Return what a reference stands for: its content, and where that comes from.

    Args:
        kind: what it refers to, which is also a folder of ``configs``.
        reference: the name of a file in ``configs/<kind>``, the path of a YAML, or a mapping. YAMLs
            and mappings may name another reference as ``base`` and are then a delta over it. Such a
            path is looked for beside the YAML that names it, then in the current folder.
        otherwise: gives the content of a name that has no file; None = such a name is an error.

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
        return _with_base(dict(reference), f"an entry of {kind}", kind, otherwise, above)
    if not isinstance(reference, str):
        raise InputError(
            f"{shortened(repr(reference))} stands for none of the {kind}; "
            "write a name, the path of a YAML, or a mapping."
        )
    path = find_config(kind, reference)
    if path is not None:
        if str(path) in above:
            raise InputError(
                f"{path} is based on itself; its 'base' must be another file or a built-in name."
            )
        content = dict(read_yaml(path))
        if "base" in content:
            content["base"] = _beside(path, content["base"])
        return _with_base(content, str(path), kind, otherwise, (*above, str(path)))
    if reference.endswith(YAML):
        raise InputError(f"there is no file {reference}.{nearest(reference, config_names(kind))}")
    if otherwise is not None:
        return otherwise(reference), reference
    raise unknown(kind.removesuffix("s"), reference, config_names(kind))


def _with_base(
    delta: dict[str, Any],
    source: str,
    kind: Kind,
    otherwise: Callable[[str], dict[str, Any]] | None,
    above: tuple[str, ...],
) -> tuple[dict[str, Any], str]:
    """Return a content over that of its ``base``, if it names one."""
    base = delta.pop("base", None)
    if base is None:
        return delta, source
    content, origin = _resolve(kind, base, otherwise, above)
    return merge(content, delta), f"{source} based on {origin}"


def _beside(path: Path, base: Reference) -> Reference:
    """Return the YAML beside ``path`` that ``base`` names, or ``base`` itself."""
    if not isinstance(base, str) or not base.endswith(YAML):
        return base
    beside = path.parent / base
    return str(beside) if beside.exists() else base
