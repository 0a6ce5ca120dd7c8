"""Scores of texts at the pixels of windows."""

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from encoder_ablations.segmenters.scores import upsample
from encoder_ablations.segmenters.zero_shot.reading import Reading


def text_scores(
    reading: Reading,
    texts: Tensor,
    size: tuple[int, int],
    reduction: float,
    class_token: float = 0.0,
    enlarged: Literal["scores", "features"] = "scores",
) -> Tensor:
    """Return the cosines W×Q×h×w between the pixels of windows and the texts.

    Args:
        reading: patches of W windows.
        texts: Q×D of unit length.
        size: (h, w) of a window; what the patches cover beyond it is cut off.
        reduction: pixels of the window per patch.
        class_token: what the class token's cosines are multiplied by before they are added.
        enlarged: whether cosines or features are resized from patches to pixels.
    """
    patches = reading.patches
    if enlarged == "features":
        patches = upsample(patches, size, size, reduction)
    scores = torch.einsum("wdhx,qd->wqhx", F.normalize(patches, dim=1), texts)
    if class_token:
        assert reading.class_token is not None  # the reading was refused otherwise
        of_window = F.normalize(reading.class_token, dim=1) @ texts.T
        scores = scores + class_token * of_window[:, :, None, None]
    if enlarged == "features":
        return scores
    return upsample(scores, size, size, reduction)
