import tracemalloc

import numpy as np
import pytest

from encoder_ablations.data.checks.content.appearance import relabellings, thumbnail
from encoder_ablations.utils.seeding import numpy_stream

COLORS = np.array([(50, 80, 160), (90, 150, 60), (120, 110, 100)], np.uint8)


@pytest.fixture
def pairs():
    """25 images of 60×80 in three bands of other heights, whose colours vary with the light."""
    stream = numpy_stream(0, "appearance")
    found = []
    for _ in range(25):
        mask = np.zeros((60, 80), np.uint8)
        first, second = stream.integers(10, 30), stream.integers(32, 50)
        mask[first:], mask[second:] = 1, 2
        light = stream.uniform(0.7, 1.2)
        pixels = COLORS[mask] * light + stream.normal(0, 12, (60, 80, 3))
        found.append((pixels.clip(0, 255).astype(np.uint8), mask))
    return found


def test_right_names_stay(pairs):
    found = relabellings([thumbnail(*pair) for pair in pairs], 3)
    assert max(each.gain for each in found) < 0.05


def test_exchanged_classes_are_named(pairs):
    pixels, mask = pairs[7]
    pairs[7] = pixels, np.array([1, 0, 2], np.uint8)[mask]
    found = relabellings([thumbnail(*pair) for pair in pairs], 3)
    assert int(np.argmax([each.gain for each in found])) == 7
    assert found[7].gain > 0.5
    assert found[7].names == {0: 1, 1: 0}
    others = [each.gain for number, each in enumerate(found) if number != 7]
    assert max(others) < 0.1


def test_pixels_without_a_class_are_left_out(pairs):
    half = [(pixels, np.where(mask == 2, 255, mask)) for pixels, mask in pairs]
    empty = pairs[0][0], np.full((60, 80), 255, np.uint8)
    found = relabellings([thumbnail(*pair) for pair in [*half, empty]], 3)
    assert found[-1].gain == 0
    assert found[-1].names == {}


def test_memory_hardly_grows_with_the_images(pairs):
    """A pixel's surroundings take 60 bytes, but those of few pixels are kept."""

    def peak(count):
        thumbnails = [thumbnail(*pairs[number % len(pairs)]) for number in range(count)]
        tracemalloc.start()
        relabellings(thumbnails, 3)
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    pixels = thumbnail(*pairs[0]).classes.size
    assert peak(60) - peak(20) < 40 * pixels * 60 / 10
