"""Windows cover every pixel, and their scores are averaged."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from encoder_ablations.segmenters.zero_shot.windows import (
    mean_over_windows,
    resized_size,
    windows_of,
)

SIDES = st.integers(1, 60)


def mmseg_windows(size, window, stride):
    """The loop of mmseg's sliding inference, which the published protocols use."""
    found = []
    counts = [max(side - window + stride - 1, 0) // stride + 1 for side in size]
    for row in range(counts[0]):
        for column in range(counts[1]):
            ends = [min(i * stride + window, s) for i, s in zip((row, column), size, strict=True)]
            starts = [max(end - window, 0) for end in ends]
            found.append(tuple(slice(*each) for each in zip(starts, ends, strict=True)))
    return found


@given(height=SIDES, width=SIDES, window=st.integers(1, 30), data=st.data())
def test_every_pixel_lies_in_a_window(height, width, window, data):
    stride = data.draw(st.integers(1, window))
    windows = windows_of((height, width), window, stride)
    counts = torch.zeros(height, width)
    for rows, columns in windows:
        counts[rows, columns] += 1
        assert rows.stop - rows.start == min(window, height)
        assert columns.stop - columns.start == min(window, width)
    assert counts.min() >= 1
    assert windows == mmseg_windows((height, width), window, stride)


def test_no_window_is_the_whole_image():
    assert windows_of((30, 50), None, 112) == [(slice(0, 30), slice(0, 50))]


@given(height=SIDES, width=SIDES, batch=st.integers(1, 7))
def test_the_mean_of_one_image_is_the_image(height, width, batch):
    image = torch.rand(2, height, width)
    windows = windows_of((height, width), 20, 7)

    def cut(part):
        assert len(part) <= batch
        return torch.stack([image[:, rows, columns] for rows, columns in part])

    found = mean_over_windows(windows, (height, width), batch, cut)
    torch.testing.assert_close(found, image)


def test_the_mean_by_hand():
    """Windows of 4 at distance 2 over 6 pixels say 0 and 1: the overlap has a half."""
    windows = windows_of((1, 6), 4, 2)
    values = iter([0.0, 1.0])
    found = mean_over_windows(
        windows, (1, 6), 1, lambda part: torch.full((1, 1, 1, 4), next(values))
    )
    assert found[0, 0].tolist() == [0, 0, 0.5, 0.5, 1, 1]


@pytest.mark.parametrize(
    ("size", "short", "long", "expected"),
    [
        ((500, 333), 336, 2048, (505, 336)),
        ((1024, 2048), 560, 2048, (560, 1120)),
        ((400, 4000), 336, 2048, (205, 2048)),
        ((512, 512), None, 448, (448, 448)),
        ((500, 333), None, None, (500, 333)),
        ((1, 900), None, 448, (1, 448)),
    ],
)
def test_sizes_by_hand(size, short, long, expected):
    assert resized_size(size, short, long) == expected
