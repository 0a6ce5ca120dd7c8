"""Features of texts for encoders with random weights: random, too, and without any file."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from encoder_ablations.utils.seeding import numpy_stream


@dataclass(frozen=True)
class RandomTower:
    """In place of a text tower: every prompt has a direction of its own, which its words decide.

    Attributes:
        width: numbers of a feature.
    """

    width: int

    def features(self, prompts: list[str]) -> Tensor:
        """Return N×D float32 of N prompts; the same prompt always has the same feature."""
        drawn = np.stack([self._drawn(prompt.lower()) for prompt in prompts])
        return torch.from_numpy(drawn).float()

    def _drawn(self, prompt: str) -> np.ndarray:
        return numpy_stream(0, "random text", prompt).standard_normal(self.width)
