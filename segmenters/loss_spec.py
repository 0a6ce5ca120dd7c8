"""Settings of the losses of dense heads.

They lie apart from the losses, so that reading a configuration does not import PyTorch.
"""

from pydantic import Field

from encoder_ablations.utils.config import Config


class LossSpec(Config):
    """Base of every loss's own settings. A key that the loss does not have is an error."""

    weight: float = Field(default=1.0, ge=0)
    """Factor of this loss in the sum that is minimised; 0 leaves it out."""


class CrossEntropySpec(LossSpec):
    """Cross-entropy of the softmax, averaged over labelled pixels."""


BUILT_IN_LOSSES: dict[str, type[LossSpec]] = {
    "cross_entropy": CrossEntropySpec,
}
"""The settings of every built-in loss, by the name of the loss and of its file."""
