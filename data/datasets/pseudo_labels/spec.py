"""Which finished run predicts the masks of the images that a fraction leaves out."""

from pathlib import Path

from pydantic import Field

from encoder_ablations.utils.config import Config


class PseudoLabelSpec(Config):
    """The teacher of a run, and which of its predictions are learned from."""

    run_id: str
    """Name of the finished run that predicts the masks."""
    checkpoint_sha256: str = Field(pattern="^[0-9a-f]{64}$")
    """SHA-256 of that run's ``checkpoints/best.pt``."""
    threshold: float = Field(ge=0, le=1)
    """Least probability of a pixel's class, 0..1. Other pixels are ignored in training."""
    folder: Path | None = Field(default=None, exclude=True)
    """Folder of that run. It decides no result and is not kept: ``ablate train --config`` needs it
    again.
    """

    @property
    def title(self) -> str:
        """Return the teacher and the threshold in words."""
        return f"{self.run_id} from {self.threshold:g}"
