"""Names, paths and deltas to specs: how a study or the command line refers to encoders, segmenters and datasets."""

from collections.abc import Mapping
from typing import Any

from encoder_ablations.data.references import load_dataset
from encoder_ablations.encoders.references import load_encoder
from encoder_ablations.segmenters.spec import LinearSpec, Mask2FormerSpec
from encoder_ablations.utils.config import build, merge
from encoder_ablations.utils.errors import unknown
from encoder_ablations.utils.references import Reference, resolve

__all__ = ["SEGMENTERS", "load_dataset", "load_encoder", "load_segmenter"]

SEGMENTERS: dict[str, type[LinearSpec] | type[Mask2FormerSpec]] = {"linear": LinearSpec, "mask2former": Mask2FormerSpec}


def load_segmenter(reference: Reference, overrides: Mapping[str, Any] | None = None) -> LinearSpec | Mask2FormerSpec:
    """The segmentation head that a reference means: the name of a YAML, its path, or a delta over one of them."""
    content, source = resolve("segmenters", reference)
    content = merge(content, overrides or {})
    name = content.get("name")
    if name not in SEGMENTERS:
        raise unknown("segmenter", str(name), SEGMENTERS)
    return build(SEGMENTERS[name], content, source)
