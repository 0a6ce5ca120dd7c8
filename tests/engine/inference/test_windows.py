"""Windows cover every pixel, and blending changes nothing that all windows agree on."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from encoder_ablations.engine.inference.predictor import Array
from encoder_ablations.engine.inference.windows import blended, number_of_windows, sides

OVERLAPS = st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.7, 0.9])


def whole(size, window, overlap, predict, batch=1, seed=0):
    """Predict a random image by windows and put the bands together."""
    image = np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)
    bands = list(blended(Array(image), window, overlap, batch, predict))
    # bands follow each other without a gap
    assert [band.top for band in bands] == [
        sum(each.values.shape[1] for each in bands[:place]) for place in range(len(bands))
    ]
    return image, torch.cat([band.values for band in bands], dim=1)


def levels(pixels):
    """A predictor whose values are the image's own, so that each pixel is recognised."""
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).float()


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 90), st.integers(1, 90), st.integers(32, 60), OVERLAPS)
def test_every_pixel_is_predicted_at_its_own_place(height, width, window, overlap):
    image, found = whole((height, width), window, overlap, levels)
    assert found.shape == (3, height, width)
    torch.testing.assert_close(found, levels(image[None])[0], rtol=1e-5, atol=1e-3)


@pytest.mark.parametrize("overlap", [0, 0.3, 0.5, 0.8])
def test_weights_of_neighbours_add_up_to_one_up_to_half_an_overlap(overlap):
    """Partition of unity: what a Hann window is chosen for; the last window is shifted."""
    found = sides(40 * 5, 40, overlap)
    total = torch.zeros(200)
    for side in found[:-1]:
        assert (side.weights > 0).all()
        total[side.start : side.stop] += side.weights
    if overlap <= 0.5:
        inside = total[: found[-1].start]
        torch.testing.assert_close(inside, torch.ones_like(inside))


def test_the_images_border_keeps_its_weight():
    first, *_, last = sides(100, 40, 0.5)
    assert first.weights[0] == last.weights[-1] == 1
    assert first.weights[-1] < 0.01
    assert last.weights[0] < 0.01


def test_seams_are_blended_smoothly():
    """Each window predicts a constant of its own: the result changes by little from pixel to
    pixel."""
    largest = {}
    for overlap in (0.0, 0.5):
        numbers = iter(range(100))

        def predict(pixels, numbers=numbers):
            return torch.full((1, 1, *pixels.shape[1:3]), float(next(numbers)))

        _, found = whole((32, 200), 32, overlap, predict)
        largest[overlap] = found[0, 0].diff().abs().max()
    assert largest[0.0] == 1
    assert largest[0.5] < 0.25


@pytest.mark.parametrize("batch", [2, 3, 100])
def test_batches_of_windows_change_nothing(batch):
    for overlap in (0.0, 0.5):
        _, single = whole((70, 90), 32, overlap, levels)
        _, together = whole((70, 90), 32, overlap, levels, batch)
        assert torch.equal(single, together)


def test_only_one_row_of_windows_is_read_at_a_time():
    class Rows(Array):
        most = 0

        def rows(self, first, last):
            Rows.most = max(Rows.most, last - first)
            return super().rows(first, last)

    source = Rows(np.zeros((500, 40, 3), np.uint8))
    calls = []
    list(blended(source, 32, 0.5, 1, levels, lambda: calls.append(1)))
    assert Rows.most == 32
    assert len(calls) == number_of_windows((500, 40), 32, 0.5)
