"""The segmenter of a run."""

from encoder_ablations.encoders.build import build_encoder
from encoder_ablations.experiments.runs.spec import RunSpec
from encoder_ablations.segmenters.base import Segmenter
from encoder_ablations.segmenters.build import build_segmenter


def build_model(spec: RunSpec) -> Segmenter:
    """Return the run's segmenter with its initial weights."""
    encoder = build_encoder(spec.encoder, spec.seed)
    encoder.round_maps(spec.recipe.feature_precision)
    return build_segmenter(spec.segmenter, encoder, len(spec.dataset.classes), spec.seed)
