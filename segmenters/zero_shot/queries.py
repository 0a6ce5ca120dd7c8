"""From scores of texts to scores of classes."""

from typing import Literal

import torch
from torch import Tensor

from encoder_ablations.utils.errors import InputError

Reduction = Literal["max", "mean", "sum"]


def check_queries(queries: dict[str, int], num_classes: int, background: int | None) -> None:
    """Check that every class has a text, except the background.

    Args:
        queries: text -> class id.
        num_classes: number of classes, K.
        background: id of the class that may have no text; None = every class has one.

    Raises:
        InputError: a class without texts, or a class that does not exist.
    """
    wrong = [text for text, class_id in queries.items() if class_id >= num_classes]
    if wrong:
        raise InputError(
            f"segmenter.queries: '{wrong[0]}' stands for class {queries[wrong[0]]}, but there are "
            f"{num_classes} classes. Allowed: 0..{num_classes - 1}."
        )
    if background is not None and background >= num_classes:
        raise InputError(
            f"segmenter.background: there is no class {background}. Allowed: 0..{num_classes - 1}."
        )
    missing = sorted(set(range(num_classes)) - set(queries.values()) - {background})
    if missing:
        raise InputError(
            f"segmenter.queries: class {missing[0]} has no text, so it would never be predicted. "
            "Add one, or name it as background with a threshold."
        )


def class_scores(
    scores: Tensor, class_ids: Tensor, num_classes: int, reduction: Reduction
) -> Tensor:
    """Return B×K×H×W of the scores B×Q×H×W of texts; a class without texts scores 0.

    Args:
        scores: of Q texts.
        class_ids: Q int64, the class of each text.
        num_classes: K.
        reduction: how the scores of the texts of one class become one.
    """
    names = {"max": "amax", "mean": "mean", "sum": "sum"}
    found = scores.new_zeros(scores.shape[0], num_classes, *scores.shape[2:])
    index = class_ids.view(1, -1, 1, 1).expand_as(scores)
    return found.scatter_reduce(1, index, scores, names[reduction], include_self=False)


def with_background(scores: Tensor, background: int | None, threshold: float) -> Tensor:
    """Return the scores B×K×H×W, in which the background scores at least the threshold.

    It is then predicted wherever no class exceeds the threshold.

    Args:
        scores: of K classes.
        background: its class id; None = the scores stay as they are.
        threshold: in the unit of the scores.
    """
    if background is None:
        return scores
    raised = scores.clone()
    raised[:, background] = torch.clamp_min(scores[:, background], threshold)
    return raised
