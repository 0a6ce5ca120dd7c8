"""Names, paths and deltas to segmentation heads."""

from collections.abc import Mapping
from typing import Any

from encoder_ablations.segmenters.spec import LinearSpec, Mask2FormerSpec
from encoder_ablations.utils.config import build, merge
from encoder_ablations.utils.errors import unknown
from encoder_ablations.utils.references import Reference, resolve

SEGMENTERS: dict[str, type[LinearSpec] | type[Mask2FormerSpec]] = {"linear": LinearSpec, "mask2former": Mask2FormerSpec}


def load_segmenter(reference: Reference, overrides: Mapping[str, Any] | None = None) -> LinearSpec | Mask2FormerSpec:
    """The segmentation head that a reference means: the name of a YAML, its path, or a delta over one of them."""
    content, source = resolve("segmenters", reference)
    content = merge(content, overrides or {})
    name = content.get("name")
    if name not in SEGMENTERS:
        raise unknown("segmenter", str(name), SEGMENTERS)
    return build(SEGMENTERS[name], content, source)
