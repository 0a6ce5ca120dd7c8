"""Which finished run predicts the masks of the images that a fraction leaves out."""

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from encoder_ablations.utils.config import Config


def _probability_or_val(given: Any) -> Any:
    """Return a threshold as it is given, after a check that it is one."""
    try:
        known = given == "val" or 0 <= float(given) <= 1
    except (TypeError, ValueError):
        known = False
    if not known:
        raise ValueError("write a probability from 0 to 1, or val")
    return given


Threshold = Annotated[float | Literal["val"], BeforeValidator(_probability_or_val)]
"""A probability, or "val": the validation images give it."""
Precision = Annotated[float, Field(gt=0, le=1)]
"""A share of pixels whose class is right."""


class PseudoLabelSpec(Config):
    """The teacher of a run, and which of its predictions are learned from."""

    run_id: str
    """Name of the finished run that predicts the masks."""
    checkpoint_sha256: str = Field(pattern="^[0-9a-f]{64}$")
    """SHA-256 of that run's ``checkpoints/best.pt``."""
    threshold: Threshold
    """Least probability of a pixel's class, 0..1, or "val". Other pixels are ignored in training.
    """
    precision: Precision | None = Field(default=None, exclude_if=lambda each: each is None)
    """Given with ``threshold: val``: the precision that kept pixels of val must have, 0..1."""
    folder: Path | None = Field(default=None, exclude=True)
    """Folder of that run. It is not saved with the run, because it may be moved: say it again to
    ``ablate train --config``.
    """

    @model_validator(mode="after")
    def _precision_fits(self) -> Self:
        if (self.threshold == "val") != (self.precision is not None):
            raise ValueError("precision goes with threshold: val, and only with that")
        return self

    @property
    def short_title(self) -> str:
        """Return the threshold in a word: 0.7, or val0.9 for one with the precision 0.9 on val."""
        if self.precision is None:
            return f"{self.threshold:g}"
        return f"val{self.precision:g}"

    @property
    def title(self) -> str:
        """Return the teacher and the threshold in words."""
        if self.precision is None:
            return f"{self.run_id} from {self.threshold:g}"
        return f"{self.run_id} with a precision of {self.precision:g} on val"
