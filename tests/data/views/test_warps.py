"""Rotation, bending and turns: joint for image and mask, off by default, of one stream."""

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import map_coordinates

from encoder_ablations.data.datasets.sample import IGNORE, Sample
from encoder_ablations.data.loading.batches import training_batches
from encoder_ablations.data.views.augmentation import AugmentationSpec
from encoder_ablations.data.views.resampling import Span, resize, resize_mask
from encoder_ablations.data.views.transforms import PADDING, training_view
from encoder_ablations.data.views.warps import Places, draw_places, warped

WARPS = [{"rotate": 30}, {"elastic": (3, 6)}, {"rotate": 180, "elastic": (2, 8)}]
TURNS = [
    {"vertical_flip": 1},
    {"quarter_turns": 1},
    {"vertical_flip": 0.5, "quarter_turns": 0.5, "flip": 0.5},
]


def spec_of(**changes):
    return AugmentationSpec(
        **{"crop": (64, 64), "photometric": False, "scale": (1, 1), "flip": 0, **changes}
    )


def coded_sample(height=120, width=150, block=24):
    """The grey level is 40 times the class, in blocks."""
    blocks = np.random.default_rng(0).integers(0, 6, (-(-height // block), -(-width // block)))
    mask = np.kron(blocks, np.ones((block, block), np.int64))[:height, :width]
    return Sample(
        (mask * 40).astype(np.uint8)[..., None].repeat(3, axis=2),
        mask,
        "coded",
        (height, width),
        "coded",
    )


@pytest.mark.parametrize("changes", WARPS + TURNS)
@pytest.mark.parametrize("scale", [(1, 1), (0.5, 2.0)])
def test_image_and_mask_stay_aligned(changes, scale):
    sample = coded_sample()
    for seed in range(8):
        image, mask = training_view(
            sample, spec_of(scale=scale, **changes), np.random.default_rng(seed)
        )
        assert (image.shape, image.dtype) == ((3, 64, 64), np.uint8)
        assert (mask.shape, mask.dtype) == ((64, 64), np.uint8)
        assert set(np.unique(mask)) <= {*range(6), IGNORE}  # nearest: no class between two others
        assert (image[:, mask == IGNORE] == PADDING).all()
        code = mask.astype(int) * 40
        inside = mask != IGNORE
        exact = np.abs(image[0].astype(int) - code) <= 1
        assert exact[inside].mean() > 0.6
        for axis in (0, 1):
            shifted = np.abs(image[0].astype(int) - np.roll(code, 2, axis)) <= 1
            assert exact[inside].mean() >= shifted[inside].mean()


@pytest.mark.parametrize("changes", WARPS + TURNS)
def test_each_changes_the_view(changes):
    sample = coded_sample()
    plain = training_view(sample, spec_of(), np.random.default_rng(1))[1]
    assert any(
        not np.array_equal(
            training_view(sample, spec_of(**changes), np.random.default_rng(1))[1], plain
        )
        for _ in range(3)
    )


def test_places_are_turned_around_the_middle():
    rows, columns = Span(10, 21, 21), Span(30, 42, 21)  # the columns are halved
    places = draw_places(rows, columns, spec_of(rotate=90), np.random.default_rng(2))
    assert (places.y[10, 10], places.x[10, 10]) == (20.5, 51)
    distance = np.hypot(places.y - 20.5, (places.x - 51) / 2)
    np.testing.assert_allclose(distance, np.hypot(*np.mgrid[-10:11, -10:11]), atol=1e-9)
    angles = [
        np.rad2deg(np.arctan2(turned.y[10, 20] - 20.5, (turned.x[10, 20] - 51) / 2))
        for turned in (
            draw_places(rows, columns, spec_of(rotate=25), np.random.default_rng(n))
            for n in range(200)
        )
    ]
    assert max(angles) == pytest.approx(25, abs=1)
    assert min(angles) == pytest.approx(-25, abs=1)


def test_the_field_is_as_strong_and_as_smooth_as_asked():
    rows = Span(0, 300, 300)
    places = draw_places(rows, rows, spec_of(elastic=(4, 5)), np.random.default_rng(0))
    moved = places.y - np.arange(300)[:, None] - 0.5
    assert moved.std() == pytest.approx(4, rel=0.1)
    assert np.abs(np.diff(moved, axis=1)).mean() < 1
    assert np.abs((places.x - np.arange(300) - 0.5).mean()) < 1


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_pixels_are_those_of_scipy(kind):
    rng = np.random.default_rng(0)
    ignore = np.iinfo(kind).max
    image = rng.integers(0, 256, (40, 50, 3), dtype=np.uint8)
    mask = rng.integers(0, ignore, (40, 50))
    y, x = rng.uniform(-6, 46, (30, 32)), rng.uniform(-6, 56, (30, 32))
    y[0, :8], x[0, :8] = (
        [0, -1e-9, 40, 40 - 1e-9, 7, 7, 7, 7],
        [3, 3, 3, 3, 0, -1e-9, 50, 50 - 1e-9],
    )  # the edges
    rows, columns = Span(3, 30, 30), Span(5, 32, 32)
    pixels, labels = warped(image, mask, rows, columns, Places(y, x), PADDING, ignore)
    assert labels.dtype == kind
    outside = (y < 0) | (y >= 40) | (x < 0) | (x >= 50)
    assert 0.1 < outside.mean() < 0.6
    assert outside[0, :8].tolist() == [False, True, True, False, False, True, True, False]
    assert (pixels[outside] == PADDING).all()
    assert (labels[outside] == ignore).all()
    nearest = mask[np.clip(np.floor(y).astype(int), 0, 39), np.clip(np.floor(x).astype(int), 0, 49)]
    np.testing.assert_array_equal(labels[~outside], nearest[~outside])
    for channel in range(3):
        expected = map_coordinates(
            image[..., channel].astype(float), [y - 0.5, x - 0.5], order=1, mode="nearest"
        )
        assert np.abs(pixels[..., channel].astype(float) - expected)[~outside].max() <= 0.51


@pytest.mark.parametrize(("height", "width"), [(40, 50), (160, 75)])
def test_a_warp_that_moves_nothing_is_the_resized_crop(height, width):
    """Enlarged and shrunk: the window's pixels, except for the filter's reach at its border."""
    rng = np.random.default_rng(0)
    smooth = Image.fromarray(rng.integers(0, 256, (12, 15, 3), dtype=np.uint8)).resize(
        (width, height)
    )
    mask = rng.integers(0, 9, (height, width))
    rows, columns = Span(height // 8, height // 2, 64), Span(width // 8, width // 2, 64)
    places = draw_places(rows, columns, spec_of(), rng)
    pixels, labels = warped(np.asarray(smooth), mask, rows, columns, places, PADDING, IGNORE)
    plain = resize(np.asarray(smooth), rows, columns).astype(int)
    assert (
        np.abs(pixels - plain)[3:-3, 3:-3].max() <= 8
    )  # of 20 a pixel: it is looked up between resized pixels
    np.testing.assert_array_equal(labels, resize_mask(mask, rows, columns))


def test_a_small_turn_shows_what_lies_around_the_crop():
    """The corners come from the image, not from the padding, where there is an image."""
    sample = Sample(
        np.full((300, 300, 3), 7, np.uint8), np.ones((300, 300), np.int64), "x", (300, 300), "x"
    )
    rows = Span(100, 64, 64)
    places = draw_places(rows, rows, spec_of(rotate=45), np.random.default_rng(0))
    pixels, labels = warped(sample.image, sample.mask, rows, rows, places, PADDING, IGNORE)
    assert (pixels == 7).all()
    assert (labels == 1).all()


def test_quarter_turns_are_exact_and_of_all_three_kinds():
    sample = coded_sample(64, 64, 8)
    kinds = set()
    for seed in range(40):
        image, mask = training_view(sample, spec_of(quarter_turns=1), np.random.default_rng(seed))
        (turns,) = [n for n in range(4) if np.array_equal(mask, np.rot90(sample.mask, n))]
        np.testing.assert_array_equal(image[0], np.rot90(sample.image[..., 0], turns))
        kinds.add(turns)
    assert kinds == {1, 2, 3}


def test_quarter_turns_need_square_crops():
    with pytest.raises(ValueError, match="square crops, not 64×32"):
        spec_of(crop=(64, 32), quarter_turns=0.5)


def test_vertical_flips_are_as_frequent_as_asked():
    sample = coded_sample(64, 64, 8)
    rng = np.random.default_rng(0)
    views = [training_view(sample, spec_of(vertical_flip=0.3), rng)[1] for _ in range(300)]
    assert np.mean([np.array_equal(view, sample.mask[::-1]) for view in views]) == pytest.approx(
        0.3, abs=0.07
    )


def test_any_number_of_workers_gives_the_same_stream():
    class Coded:
        def __len__(self):
            return 5

        def __getitem__(self, index):
            return coded_sample(block=10 + index)

        def image_file(self, index):
            raise NotImplementedError

    spec = spec_of(
        rotate=20, elastic=(2, 6), vertical_flip=0.5, quarter_turns=0.5, photometric=True
    )
    streams = [
        [
            (batch.images.numpy().tobytes(), batch.masks.numpy().tobytes())
            for (batch,) in training_batches(
                Coded(), range(5), spec, seed=1, batch_size=4, steps=4, workers=workers
            )
        ]
        for workers in (0, 2)
    ]
    assert streams[0] == streams[1]
    assert len(set(streams[0])) == 4
