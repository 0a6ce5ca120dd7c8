"""What is predicted for an image."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from torch import Tensor

from encoder_ablations.engine.inference.combination import entropy
from encoder_ablations.engine.inference.image_votes import ImageClass
from encoder_ablations.engine.inference.windows import Block


@dataclass(frozen=True)
class Prediction:
    """The class of every pixel, and how sure that is.

    Attributes:
        mask: H×W class ids, uint8, or uint16 for more than 255 classes.
        uncertainty: H×W float32, 0..1: the entropy of the probabilities divided by log K.
        disagreement: H×W float32, at least 0: by how much the entropy of the combined probabilities
            exceeds the mean entropy of single predictions, divided by log K; 0 for one prediction.
        classes: names of the K classes.
        probabilities: K×H×W float32; None where they were not kept.
        image_class: of the whole image; None where the models predict none.
    """

    mask: np.ndarray
    uncertainty: np.ndarray
    disagreement: np.ndarray
    classes: tuple[str, ...]
    probabilities: np.ndarray | None = None
    image_class: ImageClass | None = None

    @classmethod
    def of(
        cls,
        blocks: Iterable[Block],
        size: tuple[int, int],
        classes: tuple[str, ...],
        keep_probabilities: bool,
    ) -> "Prediction":
        """Collect the blocks of a prediction, see :meth:`.predictor.Predictor.blocks`.

        Args:
            blocks: all of them.
            size: (H, W) of the image.
            classes: names of the K classes.
            keep_probabilities: whether to keep K×H×W values.
        """
        mask = np.zeros(size, np.min_scalar_type(len(classes)))
        uncertainty, disagreement = np.zeros((2, *size), np.float32)
        probabilities = None
        if keep_probabilities:
            probabilities = np.zeros((len(classes), *size), np.float32)
        for block in blocks:
            part = decide(block.values)
            place = block.rows, block.columns
            mask[place] = part.labels.numpy()
            uncertainty[place] = part.uncertainty.numpy()
            disagreement[place] = part.disagreement.numpy()
            if probabilities is not None:
                probabilities[:, block.rows, block.columns] = part.probabilities.numpy()
        return cls(mask, uncertainty, disagreement, classes, probabilities)

    @cached_property
    def pixels(self) -> Mapping[str, int]:
        """Number of pixels of each class, by its name."""
        counts = np.bincount(self.mask.reshape(-1), minlength=len(self.classes))
        return dict(zip(self.classes, counts.tolist(), strict=True))


@dataclass(frozen=True)
class Decided:
    """A block of a prediction.

    Attributes:
        labels: h×w int64, the most probable class.
        uncertainty: h×w, see :class:`Prediction`.
        disagreement: h×w, see :class:`Prediction`.
        probabilities: K×h×w.
    """

    labels: Tensor
    uncertainty: Tensor
    disagreement: Tensor
    probabilities: Tensor


def decide(values: Tensor) -> Decided:
    """Return what follows from the values (K+1)×h×w of a block."""
    probabilities, single = values[:-1], values[-1]
    whole = entropy(probabilities[None])[0]
    # the largest entropy that K classes can have
    largest = math.log(max(2, len(probabilities)))
    disagreement = (whole - single).clamp_min(0) / largest
    # on a CPU max is several times as fast as argmax, and also returns the first of equal ones
    labels = probabilities.max(dim=0).indices
    return Decided(labels, whole / largest, disagreement, probabilities)
