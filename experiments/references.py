"""Names, paths and deltas to specs: how a study or the command line refers to encoders, segmenters and datasets."""

from collections.abc import Mapping
from typing import Any, Literal, TypeVar

from pydantic import BaseModel

from encoder_ablations.data.spec import DatasetSpec
from encoder_ablations.encoders.spec import EncoderSpec
from encoder_ablations.encoders.table import find_row
from encoder_ablations.segmenters.spec import LinearSpec, Mask2FormerSpec
from encoder_ablations.utils.config import build, config_names, find_config, merge, read_yaml
from encoder_ablations.utils.errors import InputError, nearest, unknown

Kind = Literal["encoders", "segmenters", "datasets"]
Reference = str | Mapping[str, Any]
Spec = TypeVar("Spec", bound=BaseModel)

SEGMENTERS: dict[str, type[LinearSpec] | type[Mask2FormerSpec]] = {"linear": LinearSpec, "mask2former": Mask2FormerSpec}


def resolve(kind: Kind, reference: Reference) -> tuple[dict[str, Any], str]:
    """What a reference stands for: its content, and where that comes from.

    Args:
        reference: the name of a file in ``configs/<kind>``, the path of a YAML, or a mapping, which may name another
            reference as ``base`` and is then a delta over it.

    Raises:
        InputError: nothing is called like that.
    """
    if isinstance(reference, Mapping):
        content = dict(reference)
        base = content.pop("base", None)
        if base is None:
            return content, f"an entry of {kind}"
        below, source = resolve(kind, base)
        return merge(below, content), f"an entry of {kind} based on {source}"
    path = find_config(kind, reference)
    if path is not None:
        return read_yaml(path), str(path)
    if reference.endswith((".yaml", ".yml")):
        raise InputError(f"there is no file {reference}.{nearest(reference, config_names(kind))}")
    if kind == "encoders":
        return {"name": find_row(reference).name}, reference
    raise unknown(kind.removesuffix("s"), reference, config_names(kind))


def load_encoder(reference: Reference, overrides: Mapping[str, Any] | None = None) -> EncoderSpec:
    """An encoder by name, path or delta. See :func:`resolve`."""
    content, source = resolve("encoders", reference)
    spec = build(EncoderSpec, merge(content, overrides or {}), source)
    find_row(spec.name)
    return spec


def load_dataset(reference: Reference, overrides: Mapping[str, Any] | None = None) -> DatasetSpec:
    """A dataset by name, path or delta. See :func:`resolve`."""
    content, source = resolve("datasets", reference)
    return build(DatasetSpec, merge(content, overrides or {}), source)


def load_segmenter(reference: Reference, overrides: Mapping[str, Any] | None = None) -> LinearSpec | Mask2FormerSpec:
    """A segmentation head by name, path or delta. See :func:`resolve`."""
    content, source = resolve("segmenters", reference)
    content = merge(content, overrides or {})
    name = content.get("name")
    if name not in SEGMENTERS:
        raise unknown("segmenter", str(name), SEGMENTERS)
    return build(SEGMENTERS[name], content, source)
