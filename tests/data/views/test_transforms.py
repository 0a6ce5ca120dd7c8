import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from encoder_ablations.data.datasets.folder import FolderDataset
from encoder_ablations.data.datasets.sample import IGNORE, Sample
from encoder_ablations.data.views.augmentation import AugmentationSpec
from encoder_ablations.data.views.transforms import PADDING, evaluation_view
from encoder_ablations.data.views.transforms import training_view as planar_view

STEP = 40


def coded_sample(height: int, width: int, block: int, labels: int = 6) -> Sample:
    """An image whose grey level is 40 times its mask's id, in blocks of random ids."""
    rng = np.random.default_rng(height * 1000 + width)
    blocks = rng.integers(0, labels, (-(-height // block), -(-width // block)))
    mask = np.kron(blocks, np.ones((block, block), np.int64))[:height, :width]
    image = (mask * STEP).astype(np.uint8)[..., None].repeat(3, axis=2)
    return Sample(image, mask, "coded", (height, width), "coded")


def training_view(sample, spec, rng):
    """With the channels last, as pictures are."""
    image, mask = planar_view(sample, spec, rng)
    return image.transpose(1, 2, 0), mask


def spec_of(crop=(64, 64), **changes) -> AugmentationSpec:
    return AugmentationSpec(**{"crop": crop, "photometric": False, **changes})


@pytest.fixture
def _threads():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)
    cv2.setNumThreads(0)


@settings(max_examples=40, deadline=None)
@given(
    height=st.integers(40, 150),
    width=st.integers(40, 150),
    crop=st.tuples(st.integers(32, 96), st.integers(32, 96)),
    scale=st.sampled_from([(1.0, 1.0), (0.5, 2.0), (1.3, 1.3)]),
    short_side=st.sampled_from([None, 80, 120]),
    seed=st.integers(0, 2**32),
)
def test_image_and_mask_stay_aligned(height, width, crop, scale, short_side, seed):
    sample = coded_sample(height, width, block=30)
    spec = spec_of(crop, scale=scale, short_side=short_side)
    image, mask = training_view(sample, spec, np.random.default_rng(seed))
    assert (image.shape, image.dtype) == ((*crop, 3), np.uint8)
    assert (mask.shape, mask.dtype) == (crop, np.uint8)
    assert set(np.unique(mask)) <= {*range(6), IGNORE}
    padded = mask == IGNORE
    assert (image[padded] == PADDING).all()
    # Away from the blocks' borders, with a pixel or two of blur, the image is its mask's code.
    inside = ~padded
    code = mask.astype(int) * STEP
    exact = np.abs(image[..., 0].astype(int) - code) <= 1
    assert exact[inside].mean() > 0.6
    for axis in (0, 1):  # a shift by two pixels would agree less well
        shifted = np.abs(image[..., 0].astype(int) - np.roll(code, 2, axis)) <= 1
        assert exact[inside].mean() >= shifted[inside].mean()


def test_a_view_is_one_window_resized():
    """Of all windows of whole pixels exactly one is what Pillow makes the view from."""
    pixels = np.random.default_rng(0).integers(0, 256, (70, 81, 3), dtype=np.uint8)
    sample = Sample(pixels, np.random.default_rng(1).integers(0, 200, (70, 81)), "x", (70, 81), "x")
    image, mask = training_view(
        sample, spec_of(scale=(4 / 3, 4 / 3), flip=0), np.random.default_rng(3)
    )
    picture, labels = Image.fromarray(pixels), Image.fromarray(sample.mask.astype(np.uint8))
    boxes = [
        (left, top, left + 48, top + 48)
        for top in range(70 - 48 + 1)
        for left in range(81 - 48 + 1)
    ]

    def resized(from_, box, method):
        return np.asarray(from_.crop(box).resize((64, 64), method)).astype(int)

    matches = [
        box
        for box in boxes
        if np.abs(resized(picture, box, Image.Resampling.BILINEAR) - image).max() <= 1
    ]
    assert len(matches) == 1
    np.testing.assert_array_equal(resized(labels, matches[0], Image.Resampling.NEAREST), mask)


def test_crops_reach_every_corner_evenly():
    sample = Sample(
        np.zeros((100, 100, 3), np.uint8),
        np.arange(10000).reshape(100, 100) % 254,
        "x",
        (100, 100),
        "x",
    )
    spec = spec_of((96, 96), scale=(1, 1), flip=0)
    rng = np.random.default_rng(0)
    firsts = [training_view(sample, spec, rng)[1][0, 0] for _ in range(500)]
    positions = [int(np.flatnonzero(sample.mask[:5, :5].ravel() == first)[0]) for first in firsts]
    counts = np.bincount(positions, minlength=25)
    assert counts.min() >= 5
    assert counts.max() <= 45


def test_small_images_are_padded_on_the_right_and_below():
    sample = coded_sample(40, 50, block=10)
    for seed in range(4):
        image, mask = training_view(
            sample, spec_of(scale=(1, 1), flip=1), np.random.default_rng(seed)
        )
        np.testing.assert_array_equal(mask[:40, :50], sample.mask[:, ::-1])
        np.testing.assert_array_equal(image[:40, :50], sample.image[:, ::-1])
        assert (mask[40:] == IGNORE).all()
        assert (mask[:, 50:] == IGNORE).all()
        assert (image[40:] == PADDING).all()
        assert (image[:, 50:] == PADDING).all()


def test_padding_keeps_its_value_under_photometric_changes():
    sample = coded_sample(40, 50, block=10)
    for seed in range(8):
        image, mask = training_view(
            sample, spec_of(photometric=True, scale=(1, 1)), np.random.default_rng(seed)
        )
        assert (image[mask == IGNORE] == PADDING).all()


def test_equal_streams_give_equal_views_and_others_differ():
    sample = coded_sample(90, 130, block=9)
    views = [
        training_view(sample, spec_of(photometric=True), np.random.default_rng(seed))
        for seed in (5, 5, 6)
    ]
    np.testing.assert_array_equal(views[0][0], views[1][0])
    np.testing.assert_array_equal(views[0][1], views[1][1])
    assert not np.array_equal(views[0][1], views[2][1])


def test_photometric_changes_leave_the_mask_and_the_crop_alone():
    sample = coded_sample(90, 130, block=9)
    plain = training_view(sample, spec_of(flip=0), np.random.default_rng(1))
    vivid = training_view(sample, spec_of(flip=0, photometric=True), np.random.default_rng(1))
    np.testing.assert_array_equal(plain[1], vivid[1])
    assert not np.array_equal(plain[0], vivid[0])


def test_scale_is_drawn_log_uniformly():
    """A black image with a white left half: the white width of the crop tells the factor."""
    pixels = np.zeros((64, 64, 3), np.uint8)
    sample = Sample(pixels, np.zeros((64, 64), np.int64), "x", (64, 64), "x")
    rng = np.random.default_rng(0)
    spec = spec_of((256, 256), scale=(0.5, 2.0), flip=0)
    widths = np.array([(training_view(sample, spec, rng)[1][0] == 0).sum() for _ in range(400)])
    assert widths.min() >= 32
    assert widths.max() <= 128
    assert (widths < 64).mean() == pytest.approx(0.5, abs=0.08)


def test_flip_happens_as_often_as_asked():
    sample = coded_sample(64, 64, block=8)
    rng = np.random.default_rng(0)
    views = [training_view(sample, spec_of(scale=(1, 1), flip=0.25), rng)[1] for _ in range(400)]
    flipped = [np.array_equal(mask, sample.mask[:, ::-1]) for mask in views]
    assert np.mean(flipped) == pytest.approx(0.25, abs=0.06)
    assert all(
        flip or np.array_equal(mask, sample.mask) for flip, mask in zip(flipped, views, strict=True)
    )


def test_a_sample_without_mask_cannot_be_trained_on():
    sample = Sample(np.zeros((40, 40, 3), np.uint8), None, "lonely", (40, 40), "lonely")
    with pytest.raises(ValueError, match="'lonely' has no mask"):
        training_view(sample, spec_of(), np.random.default_rng(0))


@pytest.mark.parametrize(
    ("short_side", "size"), [(None, (90, 130)), (45, (45, 65)), (100, (100, 144)), (90, (90, 130))]
)
def test_evaluation_resizes_the_image_only(short_side, size):
    sample = coded_sample(90, 130, block=9)
    image = evaluation_view(sample, spec_of(short_side=short_side))
    assert image.shape == (*size, 3)
    expected = np.asarray(
        Image.fromarray(sample.image).resize((size[1], size[0]), Image.Resampling.BILINEAR)
    )
    assert np.abs(image.astype(int) - expected).max() <= 1


@pytest.mark.usefixtures("_threads")
def test_threads_change_no_bit():
    sample = coded_sample(600, 700, block=9)
    spec = spec_of((512, 512), photometric=True, rotate=20, elastic=(3, 6))
    found = []
    for threads in (1, 2, 4):
        cv2.setNumThreads(threads)
        torch.set_num_threads(threads)
        found.append(
            [training_view(sample, spec, np.random.default_rng(seed)) for seed in range(3)]
        )
    for views in found[1:]:
        for (image, mask), (first, truth) in zip(views, found[0], strict=True):
            np.testing.assert_array_equal(image, first)
            np.testing.assert_array_equal(mask, truth)


def test_camvid_views_look_like_the_dataset(camvid):
    sample = FolderDataset(camvid, "train")[0]
    image, mask = training_view(sample, AugmentationSpec(crop=(256, 256)), np.random.default_rng(0))
    assert image.shape == (256, 256, 3)
    assert set(np.unique(mask)) <= set(np.unique(sample.mask)) | {IGNORE}
