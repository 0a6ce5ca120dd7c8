"""Cut-outs: the pixels of one class of an image, on black or transparent."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from encoder_ablations.engine.inference.prediction import Prediction
from encoder_ablations.engine.inference.predictor import Predictor
from encoder_ablations.utils.errors import InputError, unknown


@dataclass(frozen=True)
class QueryRule:
    """Which queries of a head count, and which pixels of their masks.

    Attributes:
        score: least probability of the class, 0..1.
        share: least probability of the mask, 0..1.
    """

    score: float = 0.7
    share: float = 0.5


@dataclass(frozen=True)
class CutOut:
    """What is cut out of every image.

    Attributes:
        class_id: the class, 0..K-1.
        invert: whether everything but the class is kept.
        transparent: whether the rest is transparent; otherwise it is black.
        queries: which queries tell where the class is; None = the predicted mask does.
    """

    class_id: int
    invert: bool = False
    transparent: bool = False
    queries: QueryRule | None = None

    def of(self, image: np.ndarray, prediction: Prediction, predictor: Predictor) -> Image.Image:
        """Return the cut-out of an image: RGB, or RGBA where the rest is transparent.

        Args:
            image: H×W×3 uint8, RGB.
            prediction: of the image.
            predictor: asked for queries, if they are to tell.

        Raises:
            InputError: the predictor has no queries to ask.
        """
        inside = prediction.mask == self.class_id
        if self.queries is not None:
            rule = self.queries
            inside = predictor.objects(image, self.class_id, rule.score, rule.share)
        kept = inside != self.invert
        pixels = np.where(kept[:, :, None], image, 0).astype(np.uint8)
        if not self.transparent:
            return Image.fromarray(pixels)
        opacity = np.where(kept, 255, 0).astype(np.uint8)
        return Image.fromarray(np.dstack([pixels, opacity]))


def read_rule(texts: Sequence[str]) -> QueryRule:
    """Return the rule that ``score=0.7`` and ``share=0.5`` stand for.

    Raises:
        InputError: another key, or a value outside of 0..1.
    """
    values = {"score": 0.7, "share": 0.5}
    for text in texts:
        key, _, value = text.partition("=")
        if key not in values:
            raise unknown("key of --queries", key, values)
        try:
            values[key] = float(value)
        except ValueError as error:
            raise InputError(f"--queries {text}: write a number, e.g. {key}=0.5.") from error
        if not 0 <= values[key] < 1:
            raise InputError(f"--queries {text}: allowed are 0 and more, and less than 1.")
    return QueryRule(**values)
