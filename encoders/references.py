"""An encoder by name, path or delta."""

from collections.abc import Mapping
from typing import Any

from encoder_ablations.encoders.spec import EncoderSpec
from encoder_ablations.encoders.table import find_row
from encoder_ablations.utils.config import build, merge
from encoder_ablations.utils.references import Reference, resolve


def load_encoder(reference: Reference, overrides: Mapping[str, Any] | None = None) -> EncoderSpec:
    """The encoder that a reference means: the name of a YAML, its path, a timm model, or a delta over one of them."""
    content, source = resolve("encoders", reference, lambda name: {"name": find_row(name).name})
    spec = build(EncoderSpec, merge(content, overrides or {}), source)
    find_row(spec.name)
    return spec
