import pytest
import torch

from encoder_ablations.segmenters.losses.targets import find_targets
from encoder_ablations.utils.errors import InputError


def test_one_segment_for_each_class_present():
    masks = torch.full((3, 4, 6), 255)
    masks[0, :2], masks[0, 2:] = 2, 0
    masks[1, 1, 1] = 1
    targets = find_targets(masks, 3)
    assert targets.classes == ((0, 2), (1,), ())
    assert targets.ignored == (False, True, True)
    segments = targets.segments()
    assert [own.shape for own in segments] == [(2, 4, 6), (1, 4, 6), (0, 4, 6)]
    assert torch.equal(segments[0][1], (masks[0] == 2).float())
    assert segments[1].sum() == 1


def test_a_class_that_is_no_segment():
    masks = torch.tensor([[[0, 1, 2, 3, 255]]])
    targets = find_targets(masks, 4, background=1)
    assert targets.classes == ((0, 1, 2),)
    assert targets.masks.tolist() == [[[0, 3, 1, 2, 255]]]
    assert targets.segments()[0].argmax(0).tolist() == [[0, 0, 1, 2, 0]]
    assert targets.segments()[0][:, 0, [1, 4]].sum() == 0
    with pytest.raises(InputError, match=r"class id 4; allowed: 0\.\.3"):
        find_targets(masks + (masks == 3), 4, background=1)


def test_unknown_class_id():
    with pytest.raises(InputError, match=r"class id 7; allowed: 0\.\.2, or 255"):
        find_targets(torch.full((1, 2, 2), 7), 3)


def test_labelled_share_of_points():
    masks = torch.zeros(1, 4, 4, dtype=torch.int64)
    masks[:, :, 2:] = 255
    targets = find_targets(masks, 1)
    x = torch.tensor([0.0, 1.5, 2.0, 2.25, 2.5, 3.0, 4.0]) / 4  # pixel centres lie at 0.5, 1.5, …
    points = torch.stack([x, torch.full_like(x, 0.3)], -1)
    expected = torch.tensor([1.0, 1.0, 0.5, 0.25, 0.0, 0.0, 0.0])
    torch.testing.assert_close(targets.labelled(0, points), expected, atol=1e-6, rtol=0)
    assert not targets.labelled(0, points)[4:].any()


def test_labelled_is_exactly_one_or_zero_away_from_the_edge():
    masks = torch.zeros(1, 37, 53, dtype=torch.int64)
    masks[:, :, 20:] = 255
    targets = find_targets(masks, 1)
    points = torch.rand(5000, 2, generator=torch.Generator().manual_seed(0))
    share, column = targets.labelled(0, points), points[:, 0] * 53
    assert share[column < 19.4].eq(1).all()
    assert share[column > 20.6].eq(0).all()
