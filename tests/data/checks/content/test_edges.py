import numpy as np
import pytest

from encoder_ablations.data.checks.content.edges import edge_fit
from encoder_ablations.utils.seeding import numpy_stream

IGNORE = 255
COLORS = np.array([(40, 60, 80), (200, 60, 50), (60, 190, 70)], np.uint8)


@pytest.fixture
def pair():
    """An image of 240×320 with a dozen rectangles of two classes, some noise, and its mask."""
    stream = numpy_stream(0, "edges")
    mask = np.zeros((240, 320), np.uint8)
    for number in range(12):
        top, left = stream.integers(0, 200), stream.integers(0, 280)
        mask[top : top + stream.integers(15, 60), left : left + stream.integers(15, 60)] = (
            1 + number % 2
        )
    pixels = COLORS[mask] + stream.integers(0, 40, (240, 320, 3))
    return pixels.astype(np.uint8), mask


def test_a_mask_fits_best_where_it_belongs(pair):
    fit = edge_fit(*pair, IGNORE)
    assert fit.gain < -10
    assert fit.here > 2 * max(fit.elsewhere, fit.mirrored, fit.upside_down)


@pytest.mark.parametrize(("down", "right"), [(12, -20), (-16, 0), (8, 24)])
def test_the_way_back_is_found(pair, down, right):
    pixels, mask = pair
    fit = edge_fit(pixels, np.roll(mask, (down, right), (0, 1)), IGNORE)
    assert fit.gain > 10
    assert fit.move == pytest.approx((-right, -down), abs=2)
    assert fit.elsewhere > max(fit.mirrored, fit.upside_down)


def test_mirrored_and_upside_down_are_told_apart(pair):
    pixels, mask = pair
    mirrored = edge_fit(pixels, mask[:, ::-1].copy(), IGNORE)
    turned = edge_fit(pixels, mask[::-1].copy(), IGNORE)
    assert mirrored.mirrored > 2 * max(mirrored.here, mirrored.upside_down)
    assert turned.upside_down > 2 * max(turned.here, turned.mirrored)


def test_ignored_pixels_bound_nothing(pair):
    pixels, mask = pair
    ignored = mask.copy()
    ignored[100:] = IGNORE
    assert edge_fit(pixels[:100], mask[:100], IGNORE).here == pytest.approx(
        edge_fit(pixels[:100], ignored[:100], IGNORE).here
    )
    assert edge_fit(pixels, np.where(mask == 0, 0, IGNORE).astype(np.uint8), IGNORE) is None


@pytest.mark.parametrize("size", [(1, 1), (3, 500), (40, 7)])
def test_small_and_narrow_pairs(size):
    pixels = np.zeros((*size, 3), np.uint8)
    assert edge_fit(pixels, np.zeros(size, np.uint8), IGNORE) is None
    stripes = np.tile(np.arange(size[1], dtype=np.uint8) % 2, (size[0], 1))
    fit = edge_fit(pixels, stripes, IGNORE)
    assert fit is None or np.isfinite([fit.here, fit.elsewhere]).all()
