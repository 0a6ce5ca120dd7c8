"""The segmenter of a run."""

from encoder_ablations.encoders.build import build_encoder
from encoder_ablations.engine.training.batch_norm import check_images
from encoder_ablations.experiments.runs.spec import RunSpec
from encoder_ablations.segmenters.base import Segmenter
from encoder_ablations.segmenters.build import build_segmenter
from encoder_ablations.utils.errors import InputError


def build_model(spec: RunSpec) -> Segmenter:
    """Return the run's segmenter with its initial weights.

    Raises:
        InputError: encoder, head and recipe do not fit together, or weights cannot be loaded.
    """
    encoder = build_encoder(spec.encoder, spec.seed)
    if spec.recipe.optimizer.layer_decay < 1 and encoder.body.max_depth == 1:
        raise InputError(
            f"recipe.optimizer.layer_decay {spec.recipe.optimizer.layer_decay:g} is per block, but "
            f"the encoder {spec.encoder.title} does not say which parameters are in which block "
            "(depth_of and max_depth). Set it to 1."
        )
    encoder.round_maps(spec.recipe.feature_precision)
    segmenter = build_segmenter(spec.segmenter, encoder, len(spec.dataset.classes), spec.seed)
    check_images(segmenter, spec.recipe)
    return segmenter
