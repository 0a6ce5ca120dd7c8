"""An image of an evaluation, kept to be looked at."""

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Picture:
    """An image with its true and its predicted classes.

    Attributes:
        id: the sample's id.
        image: 3×h×w uint8 RGB as the model saw it.
        truth: H×W class ids at the mask's own size, with that of ignored pixels.
        prediction: H×W class ids at the mask's own size.
    """

    id: str
    image: Tensor
    truth: Tensor
    prediction: Tensor
