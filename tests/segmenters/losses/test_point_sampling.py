import torch

from encoder_ablations.segmenters.losses.point_sampling import (
    PointCounts,
    draw_points,
    sample,
    uncertain_points,
)


def test_sampling_is_bilinear_between_pixel_centres():
    maps = torch.tensor([[[[0.0, 1.0], [2.0, 3.0]]]])
    points = torch.tensor([[[0.25, 0.25], [0.5, 0.25], [0.5, 0.5], [0.0, 0.25], [0.75, 1.0]]])
    torch.testing.assert_close(sample(maps, points)[0, 0], torch.tensor([0.0, 0.5, 1.5, 0.0, 1.5]))
    torch.testing.assert_close(
        sample(maps, points, "border")[0, 0], torch.tensor([0.0, 0.5, 1.5, 0.0, 3.0])
    )


def test_the_most_uncertain_candidates_are_taken():
    maps = torch.linspace(-4, 4, 16).view(1, 1, 16).expand(2, 16, 16)
    candidates = torch.rand(2, 50, 2, generator=torch.Generator().manual_seed(0))
    logits = sample(maps[:, None], candidates)[:, 0].abs()
    for usable in (None, candidates[..., 1] > 0.4):
        chosen = uncertain_points(maps, candidates, usable, 8)
        for row in range(2):
            distance = (
                logits[row] if usable is None else logits[row].masked_fill(~usable[row], torch.inf)
            )
            expected = candidates[row][distance.argsort()[:8]]
            assert {tuple(p) for p in chosen[row].tolist()} == {tuple(p) for p in expected.tolist()}


def test_points_are_drawn_in_the_official_order():
    """For each prediction: one draw for each image, then candidates, then random points, of all
    segments."""
    torch.manual_seed(0)
    points = draw_points(PointCounts(2, 3, 4, 10, 30, 3), torch.device("cpu"))
    torch.manual_seed(0)
    for prediction in range(2):
        for image in range(3):
            assert torch.equal(points.matching[prediction, image], torch.rand(1, 10, 2)[0])
        assert torch.equal(points.candidates[prediction], torch.rand(4, 30, 2))
        assert torch.equal(points.random[prediction], torch.rand(4, 3, 2))
