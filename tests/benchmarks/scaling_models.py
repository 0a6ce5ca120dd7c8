"""Predicting large images by windows, and evaluating many classes."""

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import torch
from scaling_fit import Growth, growth

from encoder_ablations.encoders.build import build_encoder
from encoder_ablations.encoders.spec import EncoderSpec
from encoder_ablations.engine.evaluation.confusion import ConfusionMatrix
from encoder_ablations.engine.evaluation.metrics import mean_iou
from encoder_ablations.engine.inference.predictor import Member, Predictor
from encoder_ablations.engine.inference.spec import InferenceSpec
from encoder_ablations.segmenters.build import build_segmenter
from encoder_ablations.segmenters.scores import ScoreMaps
from encoder_ablations.segmenters.spec import LinearSpec

WINDOW, OVERLAP, CLASSES = 128, 0.25, 11
"""The smallest image has nine windows: where one window was enough, borders are covered less often
than the rest, and the cost of a pixel grows with the image."""
MAPS, SIZE = (64, 64), (256, 256)


def pixels_growth(sides: Sequence[int]) -> Growth:
    """A mask by overlapping windows of 128², ViT-Ti and linear head; sizes are pixels."""
    torch.manual_seed(0)
    vit = EncoderSpec(name="vit_tiny_patch16_224", weights="random", channels=64)
    segmenter = build_segmenter(LinearSpec(name="linear"), build_encoder(vit, 0), CLASSES, 0)
    names = tuple(f"class {number}" for number in range(CLASSES))
    predictor = Predictor(
        [Member(segmenter.eval())], names, InferenceSpec(window=WINDOW, overlap=OVERLAP)
    )

    def prepare(pixels: int) -> Callable[[], object]:
        side = round(pixels**0.5)
        image = np.random.default_rng(0).integers(0, 256, (side, side, 3), np.uint8)
        return partial(predictor.predict, image, keep_probabilities=False)

    prepare(WINDOW**2)()  # threads and buffers
    return growth("predict pixels by windows", [side**2 for side in sides], prepare)


def classes_growth(sizes: Sequence[int]) -> Growth:
    """From scores at stride 4 to the scores of an image of 256², with so many classes."""

    def prepare(classes: int) -> Callable[[], object]:
        generator = torch.Generator().manual_seed(0)
        maps = torch.randn(1, classes, *MAPS, generator=generator)
        truth = torch.randint(0, classes, SIZE, generator=generator)

        def evaluate() -> None:
            labels = ScoreMaps(maps, SIZE).labels(SIZE)[0]
            mean_iou(ConfusionMatrix.of(labels, truth, classes))

        return evaluate

    prepare(2)()  # compiles
    return growth("evaluate classes", sizes, prepare)
