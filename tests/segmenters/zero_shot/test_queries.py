"""From texts to classes, and refinement by colours."""

import pytest
import torch

from encoder_ablations.segmenters.zero_shot.pamr import refine
from encoder_ablations.segmenters.zero_shot.queries import (
    check_queries,
    class_scores,
    with_background,
)
from encoder_ablations.utils.errors import InputError

IDS = torch.tensor([0, 2, 0, 1])
SCORES = torch.tensor([0.1, 0.2, 0.3, 0.4]).view(1, 4, 1, 1)


@pytest.mark.parametrize(
    ("reduction", "expected"),
    [("max", [0.3, 0.4, 0.2]), ("mean", [0.2, 0.4, 0.2]), ("sum", [0.4, 0.4, 0.2])],
)
def test_synonyms(reduction, expected):
    found = class_scores(SCORES, IDS, 3, reduction)
    torch.testing.assert_close(found.flatten(), torch.tensor(expected))


def test_a_class_without_texts_scores_0():
    assert class_scores(SCORES, IDS, 4, "max")[0, 3] == 0


def test_the_background_where_all_are_below_the_threshold():
    """As the published code: the class with the largest score, unless that is too small."""
    scores = torch.rand(1, 3, 40, 40, generator=torch.Generator().manual_seed(0))
    found = with_background(scores, 2, 0.6).argmax(dim=1)
    expected = scores.argmax(dim=1)
    expected[scores.amax(dim=1) < 0.6] = 2
    assert torch.equal(found, expected)
    assert (expected == 2).any()
    assert (expected != 2).any()
    assert torch.equal(with_background(scores, None, 0.6), scores)


@pytest.mark.parametrize(
    ("queries", "background", "words"),
    [
        ({"a": 0, "b": 2}, None, "class 1 has no text"),
        ({"a": 0, "b": 1, "c": 3}, None, "'c' stands for class 3"),
        ({"a": 0, "b": 1}, 3, "no class 3"),
    ],
)
def test_queries_that_do_not_fit_the_classes(queries, background, words):
    with pytest.raises(InputError, match=words):
        check_queries(queries, 3, background)
    check_queries({"a": 0, "b": 2}, 3, 1)


def pamr_by_hand(scores, image, steps, dilations):
    """The formula of Araslanov and Roth, pixel by pixel, for one image 3×H×W and scores Q×H×W."""
    height, width = image.shape[1:]

    def at(maps, row, column):
        return maps[:, min(max(row, 0), height - 1), min(max(column, 0), width - 1)]

    around = [(d * i, d * j) for d in dilations for i in (-1, 0, 1) for j in (-1, 0, 1)]
    for _ in range(steps):
        new = torch.zeros_like(scores)
        for row in range(height):
            for column in range(width):
                colours = torch.stack([at(image, row + i, column + j) for i, j in around])
                deviation = colours.std(dim=0)
                near = [(i, j) for i, j in around if (i, j) != (0, 0)]
                distance = torch.stack(
                    [
                        (image[:, row, column] - at(image, row + i, column + j)).abs()
                        for i, j in near
                    ]
                )
                kernel = (-distance / (1e-8 + 0.1 * deviation)).mean(dim=1).softmax(dim=0)
                values = torch.stack([at(scores, row + i, column + j) for i, j in near])
                new[:, row, column] = (kernel[:, None] * values).sum(dim=0)
        scores = new
    return scores


@pytest.mark.parametrize(("steps", "dilations"), [(1, (1,)), (3, (1, 2))])
def test_refinement_is_its_formula(steps, dilations):
    generator = torch.Generator().manual_seed(0)
    image = torch.rand(3, 6, 7, generator=generator, dtype=torch.float64)
    scores = torch.rand(2, 6, 7, generator=generator, dtype=torch.float64)
    expected = pamr_by_hand(scores, image, steps, dilations)
    found = refine(scores[None], image[None], steps, dilations)[0]
    assert (found - expected).abs().max() <= 1e-10


def test_refinement_keeps_to_edges_and_to_scales_of_colours():
    """Noise in scores becomes even within a colour; the unit of a channel does not count."""
    image = torch.zeros(1, 3, 12, 12)
    image[..., 6:] = 1
    scores = torch.rand(1, 1, 12, 12, generator=torch.Generator().manual_seed(1))
    scores[..., 6:] += 3
    found = refine(scores, image, 10, (1,))
    assert found[..., :6].std() < 0.5 * scores[..., :6].std()
    assert found[..., :6].max() < 1
    assert found[..., 6:].min() > 3
    scaled = refine(scores, 255 * image, 10, (1,))
    assert (found - scaled).abs().max() < 1e-4
