"""Names, paths and deltas to segmentation heads."""

from collections.abc import Mapping
from typing import Any

from encoder_ablations.segmenters.spec import LinearSpec, Mask2FormerSpec, OfficialMask2FormerSpec
from encoder_ablations.utils.config import build, merge
from encoder_ablations.utils.errors import unknown
from encoder_ablations.utils.references import Reference, resolve

Spec = LinearSpec | Mask2FormerSpec | OfficialMask2FormerSpec
SEGMENTERS: dict[str, type[Spec]] = {
    "linear": LinearSpec,
    "mask2former": Mask2FormerSpec,
    "mask2former_official": OfficialMask2FormerSpec,
}


def load_segmenter(reference: Reference, overrides: Mapping[str, Any] | None = None) -> Spec:
    """The segmentation head that a reference means: the name of a YAML, its path, or a delta over one of them."""
    content, source = resolve("segmenters", reference)
    content = merge(content, overrides or {})
    name = content.get("name")
    if name not in SEGMENTERS:
        raise unknown("segmenter", str(name), SEGMENTERS)
    return build(SEGMENTERS[name], content, source)
