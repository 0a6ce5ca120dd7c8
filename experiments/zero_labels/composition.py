"""Weights of checkpoints that are averaged, by how sure each one is of unlabelled images.

The rule is this package's own. It follows the observation that entropy on unlabelled images goes
with error (Wang et al., Tent, ICLR 2021), by which AdaMerging (Yang et al., ICLR 2024) also finds
the weights of merged models, there by gradient descent. A model that is surely wrong gets a large
weight, too.
"""

import math
from collections.abc import Sequence

import numpy as np

from encoder_ablations.engine.inference.predictor import Predictor
from encoder_ablations.experiments.prediction.inputs import InputFile
from encoder_ablations.segmenters.spec import SegmenterSpec
from encoder_ablations.utils.progress import Bar

RULE = (
    "weight = exp(-H) / sum of exp(-H) over the checkpoints; H = mean entropy in nats of the class "
    "probabilities that the checkpoint's zero-shot prediction gives, over the pixels of each "
    "unlabelled image and then over the images; a rule of encoder-ablations, not of a paper"
)
"""As files of averages state it."""


def mean_entropy(predictor: Predictor, files: Sequence[InputFile], name: str) -> float:
    """Return the entropy of the class probabilities in nats, 0..log K.

    It is the mean over the pixels of each image, and then over the images.

    Args:
        predictor: of one checkpoint.
        files: the images.
        name: of the checkpoint, for the progress bar.

    Raises:
        InputError: an image is damaged.
    """
    shares = []
    with Bar(total=len(files), desc=name, unit="image") as bar:
        for file in files:
            found = predictor.predict(file.read().image, keep_probabilities=False)
            shares.append(found.uncertainty.mean(dtype=np.float64))
            bar.update(1)
    # uncertainty is the entropy divided by its largest value
    return float(np.mean(shares)) * math.log(max(2, len(predictor.classes)))


def shares_by_entropy(entropies: Sequence[float]) -> list[float]:
    """Return the weight of each checkpoint by :data:`RULE`, together 1.

    Args:
        entropies: in nats.
    """
    lowest = min(entropies)
    # the lowest one is subtracted for the sake of small numbers; it cancels
    sure = [math.exp(lowest - entropy) for entropy in entropies]
    return [each / sum(sure) for each in sure]


def with_own_tower(head: SegmenterSpec, folder: str) -> SegmenterSpec:
    """Return a head whose texts are read by the text tower of a whole model.

    A tower that the head's settings name stays.

    Args:
        head: with settings of texts.
        folder: of the model, in transformers' format.
    """
    content = head.model_dump()
    text = content.get("text")
    if text is None or text["tower"] is not None:
        return head
    return SegmenterSpec.model_validate(content | {"text": {**text, "tower": folder}})
