"""What every exported model can be called as."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np


class Outputs(NamedTuple):
    """What an exported model gives for B photos.

    Attributes:
        labels: B×H×W class ids, of an integer type.
        probabilities: B×K×H×W float32, with a sum of 1 over the classes.
        image_probabilities: B×K' float32, of the classes of whole photos; None without an image
            head.
    """

    labels: np.ndarray
    probabilities: np.ndarray
    image_probabilities: np.ndarray | None = None


Runner = Callable[[np.ndarray], Outputs]
"""Takes photos B×3×H×W uint8, RGB."""
