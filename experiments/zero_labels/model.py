"""A model that was never trained, for predictions."""

from collections.abc import Sequence

import torch

from encoder_ablations.encoders.references import load_encoder
from encoder_ablations.engine.inference.predictor import Member, Predictor
from encoder_ablations.engine.inference.spec import InferenceSpec
from encoder_ablations.experiments.prediction.models import check_window
from encoder_ablations.experiments.zero_labels.grid import SEED
from encoder_ablations.segmenters.build import build_encoder_for, build_segmenter
from encoder_ablations.segmenters.references import check_texts
from encoder_ablations.segmenters.spec import SegmenterSpec
from encoder_ablations.segmenters.zero_shot.regions.reader import RegionReader
from encoder_ablations.segmenters.zero_shot.texts import give_texts
from encoder_ablations.utils.references import Reference


def predictor_without_run(
    encoder: Reference,
    head: SegmenterSpec,
    classes: Sequence[str],
    spec: InferenceSpec,
    device: torch.device,
) -> Predictor:
    """Return a predictor of an encoder and a head that needs no labels.

    Args:
        encoder: a name, the path of a YAML, or a mapping.
        head: with its texts.
        classes: names in id order.
        spec: windows, views, and how predictions are combined.
        device: where the model computes.

    Raises:
        InputError: encoder and head do not fit together, texts cannot be read, a window is too
            small, or what finds regions is missing.
    """
    settings = load_encoder(encoder)
    check_texts(head, settings)
    built = build_encoder_for(head, settings, SEED)
    segmenter = build_segmenter(head, built, len(classes), SEED)
    give_texts(segmenter, settings)
    regions = getattr(segmenter.head, "regions", None)
    if isinstance(regions, RegionReader):
        regions.load(device)
    segmenter.class_names = tuple(classes)
    check_window(spec, segmenter.encoder.divisibility)
    return Predictor([Member(segmenter.to(device).eval())], classes, spec)
