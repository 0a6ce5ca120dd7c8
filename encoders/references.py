"""Names, paths and deltas to encoders."""

from collections.abc import Mapping
from typing import Any

from encoder_ablations.encoders.spec import EncoderSpec
from encoder_ablations.encoders.table.lookup import find_row
from encoder_ablations.encoders.table.rows import settings_of
from encoder_ablations.utils.config import build, merge
from encoder_ablations.utils.references import Reference, resolve


def load_encoder(
    reference: Reference,
    overrides: Mapping[str, Any] | None = None,
    given: str = "the given settings",
) -> EncoderSpec:
    """Return the encoder that a reference means.

    Args:
        reference: a name of the table, a timm model, the path of a YAML, or a delta over one of
            these.
        overrides: settings over those of the reference.
        given: where these come from, for messages.

    Raises:
        InputError: there is no such encoder, or it has no such setting or value.
    """
    content, source = resolve("encoders", reference, lambda name: settings_of(find_row(name)))
    spec = build(EncoderSpec, merge(content, overrides or {}), source, overrides, given)
    find_row(spec.name)
    return spec
