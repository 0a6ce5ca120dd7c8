"""Settings of the second head, which predicts the class of the whole image."""

from pydantic import Field

from encoder_ablations.utils.config import Config


class ImageHeadSpec(Config):
    """The mean of the body's last map and a linear layer, beside the head that makes masks."""

    weight: float = Field(default=1.0, gt=0)
    """Weight of its cross-entropy in the loss."""
