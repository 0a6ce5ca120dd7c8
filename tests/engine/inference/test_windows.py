"""Windows cover every pixel, and blending changes nothing that all windows agree on."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from encoder_ablations.engine.inference import windows
from encoder_ablations.engine.inference.array_source import Array
from encoder_ablations.engine.inference.windows import blended, number_of_windows, sides

OVERLAPS = st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.7, 0.9])


def whole(size, window, overlap, predict, batch=1, seed=0):
    """Predict a random image by windows and put the blocks together."""
    image = np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)
    result = None
    covered = torch.zeros(size)
    for block in blended(Array(image), window, overlap, batch, predict):
        if result is None:
            result = torch.zeros(len(block.values), *size)
        result[:, block.rows, block.columns] = block.values
        covered[block.rows, block.columns] += 1
    assert (covered == 1).all()
    return image, result


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
    class Read(Array):
        most = 0

        def block(self, rows, columns):
            Read.most = max(Read.most, rows.stop - rows.start)
            return super().block(rows, columns)

    source = Read(np.zeros((500, 40, 3), np.uint8))
    calls = []
    list(blended(source, 32, 0.5, 1, levels, lambda: calls.append(1)))
    assert Read.most == 32
    assert len(calls) == number_of_windows((500, 40), 32, 0.5)


def test_strips_of_a_wide_image_change_nothing(monkeypatch):
    for overlap in (0.0, 0.3, 0.5):
        _, together = whole((40, 150), 32, overlap, levels)
        with monkeypatch.context() as patch:
            patch.setattr(windows, "STRIP", 50)
            _, strips = whole((40, 150), 32, overlap, levels)
            calls = number_of_windows((40, 150), 32, overlap)
        assert torch.equal(together, strips)
        assert calls >= number_of_windows((40, 150), 32, overlap)


def test_blocks_have_few_rows():
    """What is done with a block needs several times its memory."""
    source = Array(np.zeros((300, 40, 3), np.uint8))
    heights = [
        block.rows.stop - block.rows.start for block in blended(source, 200, 0.25, 1, levels)
    ]
    assert max(heights) == windows.BAND
    assert sum(heights) == 300
