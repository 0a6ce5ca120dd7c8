"""What every query says, and the masks of objects made of it."""

import pytest
import torch
from torch.nn import functional as F

from encoder_ablations.segmenters.scores import ScoreMaps
from encoder_ablations.utils.errors import InputError

SIZE = (24, 40)


def make_scores():
    """Two images with five queries for three classes: in the second none is sure of class 1."""
    generator = torch.Generator().manual_seed(0)
    maps = 3 * torch.randn(2, 5, 6, 10, generator=generator)
    logits = torch.randn(2, 5, 4, generator=generator)
    logits[0, 0, 1], logits[0, 3, 1], logits[1, 2, 0] = 9.0, 6.0, 9.0
    logits[1, :, 1] = -9.0
    return logits, maps, ScoreMaps(maps, SIZE, mixing=logits.softmax(-1)[..., :-1].transpose(1, 2))


def reference(logits, maps, class_id, score, share):
    """The rule of a hybrid of DarkNet and queries, for one image, query by query."""
    large = F.interpolate(maps[None], size=SIZE, mode="bilinear")[0]
    found = torch.zeros(SIZE)
    for query, own in enumerate(logits):
        probabilities = own.softmax(-1)[:-1]
        if probabilities.argmax() == class_id and probabilities.max() > score:
            found = torch.maximum(found, large[query].sigmoid())
    return found > share


@pytest.mark.parametrize(("score", "share"), [(0.7, 0.5), (0.3, 0.8), (0.999, 0.1)])
@pytest.mark.parametrize("class_id", [0, 1, 2])
def test_object_masks_equal_the_reference(class_id, score, share):
    logits, maps, scores = make_scores()
    found = scores.object_masks(class_id, SIZE, score=score, share=share)
    expected = [
        reference(*image, class_id, score, share) for image in zip(logits, maps, strict=True)
    ]
    assert torch.equal(found, torch.stack(expected))


def test_the_default_thresholds():
    _, _, scores = make_scores()
    found = scores.object_masks(1, SIZE)
    assert torch.equal(found, scores.object_masks(1, SIZE, score=0.7, share=0.5))
    assert found[0].any()
    assert not found[1].any()


def test_scores_are_the_sum_over_the_queries():
    _, _, scores = make_scores()
    queries = scores.queries((48, 80))
    assert queries.classes.shape == (2, 5, 3)
    expected = torch.einsum("bqk,bqhw->bkhw", queries.classes, queries.masks)
    torch.testing.assert_close(scores.at((48, 80)), expected)


def test_a_head_without_queries():
    scores = ScoreMaps(torch.zeros(1, 3, 4, 4), (16, 16))
    for call in (lambda: scores.queries((16, 16)), lambda: scores.object_masks(0, (16, 16))):
        with pytest.raises(InputError, match="no queries"):
            call()
