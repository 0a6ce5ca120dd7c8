"""Crops that show rare classes: MMSegmentation's and DAFormer's rules, written by hand."""

import numpy as np
import pytest

from encoder_ablations.data.datasets.folder import FolderDataset
from encoder_ablations.data.datasets.sample import IGNORE, Sample
from encoder_ablations.data.loading.batches import training_batches
from encoder_ablations.data.views.augmentation import AugmentationSpec, ClassBalanceSpec
from encoder_ablations.data.views.class_balance import TRIES, ClassBalance, Window
from encoder_ablations.data.views.resampling import Span
from encoder_ablations.data.views.transforms import training_view
from encoder_ablations.utils.config import build
from encoder_ablations.utils.errors import InputError

PIXELS = [9000, 900, 100]


@pytest.fixture(scope="module")
def mask():
    """120×150 of class 0, with a corner of class 1, a few pixels of class 2, and ignored ones."""
    found = np.zeros((120, 150), np.int64)
    found[:40, :50] = 1
    found[100:104, 120:126] = 2
    found[60:70] = IGNORE
    return found


def sample_of(mask):
    image = np.zeros((*mask.shape, 3), np.uint8)
    return Sample(image, mask, "x", mask.shape, "x")


def balance(**settings):
    return ClassBalance(ClassBalanceSpec(**settings), PIXELS)


def view(mask, seed, **settings):
    spec = AugmentationSpec(crop=(32, 32), scale=(1, 1), flip=0)
    chosen = balance(**settings) if settings else None
    return training_view(sample_of(mask), spec, np.random.default_rng(seed), chosen)[1]


def window(top, left, source=32):
    return Window(Span(top, source, 32), Span(left, source, 32))


def largest_share(labels):
    """As in MMSegmentation's ``RandomCrop``; 1 where it takes no crop either."""
    ids, counts = np.unique(labels, return_counts=True)
    counts = counts[ids != IGNORE]
    return counts.max() / counts.sum() if len(counts) > 1 else 1.0


def test_a_window_that_fits_is_kept(mask):
    rng = np.random.default_rng(0)
    first = window(24, 34)  # half of it is class 1
    assert balance(max_share=0.9).window(mask, first, rng) == first
    np.testing.assert_array_equal(rng.random(), np.random.default_rng(0).random())


def test_windows_are_drawn_again_while_one_class_fills_them(mask):
    plain = [largest_share(view(mask, seed)) for seed in range(60)]
    chosen = [largest_share(view(mask, seed, max_share=0.75)) for seed in range(60)]
    assert np.mean(np.array(plain) < 0.75) < 0.15
    assert np.mean(np.array(chosen) < 0.75) > 0.4


def test_max_share_follows_mmsegmentation(mask):
    """The loop of its ``RandomCrop.crop_bbox``, with the same draws."""
    for seed in range(40):
        first = window(70, 20)
        found = balance(max_share=0.75).window(mask, first, np.random.default_rng(seed))
        rng, expected = np.random.default_rng(seed), first
        for _ in range(10):
            if largest_share(mask[expected.rows.pixels, expected.columns.pixels]) < 0.75:
                break
            expected = window(int(rng.integers(0, 89)), int(rng.integers(0, 119)))
        assert found == expected


def test_a_mask_that_never_fits_ends_after_ten_tries(monkeypatch):
    tried = []
    fits = ClassBalance._fits
    monkeypatch.setattr(
        ClassBalance, "_fits", lambda *arguments: tried.append(1) or fits(*arguments)
    )
    for value in (0, IGNORE):
        tried.clear()
        same = np.full((64, 64), value, np.int64)
        chosen = balance(max_share=0.75, temperature=0.01)
        chosen.window(same, window(0, 0), np.random.default_rng(0))
        assert len(tried) == TRIES == 10


@pytest.mark.parametrize("temperature", [0.05, 0.5, 5.0])
def test_classes_are_drawn_by_daformers_rule(mask, temperature):
    """eq. 7 of the paper: P(c) = exp((1 - f_c) / T) / sum over classes."""
    chosen, rng = balance(temperature=temperature), np.random.default_rng(0)
    drawn = np.bincount([chosen.draw_class(mask, rng) for _ in range(3000)], minlength=3) / 3000
    weights = np.exp((1 - np.array(PIXELS) / 10000) / temperature)
    assert drawn == pytest.approx(weights / weights.sum(), abs=0.03)


def test_only_classes_of_the_image_are_drawn(mask):
    chosen, rng = balance(temperature=0.001), np.random.default_rng(0)
    assert {chosen.draw_class(mask, rng) for _ in range(20)} == {2}
    without = np.where(mask == 2, 0, mask)
    assert {chosen.draw_class(without, rng) for _ in range(20)} == {1}
    assert chosen.draw_class(np.full((4, 4), IGNORE), rng) is None


def test_a_crop_shows_the_class_that_is_drawn(mask):
    rare = [(view(mask, seed) == 2).any() for seed in range(60)]
    chosen = [(view(mask, seed, temperature=0.001) == 2).any() for seed in range(60)]
    assert np.mean(rare) < 0.2
    assert all(chosen)


def test_a_crop_shows_so_many_pixels_of_it(mask):
    """24 pixels are there: windows that cut them are drawn again."""
    few = [(view(mask, seed, temperature=0.001) == 2).sum() for seed in range(60)]
    many = [(view(mask, seed, temperature=0.001, least_pixels=24) == 2).sum() for seed in range(60)]
    assert np.mean(np.array(few) == 24) < 0.9
    assert np.mean(np.array(many) == 24) > 0.97


def test_windows_around_a_pixel_reach_everywhere():
    """A single pixel lies at every place of the crop."""
    mask = np.zeros((100, 100), np.int64)
    mask[50, 50] = 2
    places = {
        tuple(np.argwhere(view(mask, seed, temperature=0.001) == 2)[0]) for seed in range(300)
    }
    assert len(places) > 200
    assert {min(place) for place in zip(*places, strict=True)} == {0}
    assert {max(place) for place in zip(*places, strict=True)} == {31}


def test_small_images_and_shrunk_windows_are_balanced_too():
    mask = np.zeros((20, 25), np.int64)
    mask[19, 24] = 2
    for scale in ((1, 1), (0.5, 2)):
        spec = AugmentationSpec(crop=(32, 32), scale=scale)
        found = training_view(
            sample_of(mask), spec, np.random.default_rng(0), balance(temperature=0.001)
        )
        assert found[1].shape == (32, 32)


def test_the_rest_of_a_crop_draws_the_same_numbers(mask):
    """Its size and its flip stay as they are: the streams are apart."""
    wide = np.tile(np.arange(150), (120, 1))
    spec = AugmentationSpec(crop=(32, 32), photometric=False)
    for seed in range(10):
        slopes, following = [], []
        for how in (None, ClassBalance(ClassBalanceSpec(temperature=0.1), [1] * 200)):
            rng = np.random.default_rng(seed)
            row = training_view(sample_of(wide), spec, rng, how)[1][0]
            slopes.append(np.diff(row[row != IGNORE].astype(int)).mean())
            following.append(rng.random())
        assert slopes[0] == pytest.approx(slopes[1], abs=0.1)
        assert following[0] == following[1]


@pytest.mark.parametrize("how", [{"workers": 2}, {"accumulation": 2}], ids=str)
def test_batches_do_not_depend_on_how_they_are_made(make_dataset, how):
    dataset = FolderDataset(make_dataset({"train": 6, "val": 1}, size=(40, 48)), "train")
    spec = AugmentationSpec(
        crop=(32, 32), class_balance={"temperature": 0.1, "max_share": 0.35, "least_pixels": 300}
    )

    def masks(**more):
        settings = {"seed": 1, "batch_size": 2, "steps": 4, "class_pixels": [5, 2, 1]} | more
        found = training_batches(dataset, range(6), spec, **settings)
        return [row for parts in found for part in parts for row in part.masks.tolist()]

    assert masks(**how) == masks()
    assert masks(class_pixels=[1, 2, 5]) != masks()


def test_training_needs_to_know_the_frequencies(make_dataset):
    dataset = FolderDataset(make_dataset(size=(40, 48)), "train")
    spec = AugmentationSpec(crop=(32, 32), class_balance={"max_share": 0.5})
    with pytest.raises(ValueError, match="class_pixels"):
        training_batches(dataset, [0], spec, seed=0, batch_size=1, steps=1)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"class_balance": {}}, "needs max_share, temperature, or both"),
        ({"class_balance": {"max_share": 1.0}}, r"class_balance\.max_share.*less than 1"),
        ({"class_balance": {"max_share": 0.5, "least_pixels": 9}}, "least_pixels.*temperature"),
        ({"class_balance": {"temperature": 0}}, r"class_balance\.temperature"),
        ({"class_balance": {"temperature": 0.1}, "views": 3}, "temperature .* views"),
    ],
)
def test_impossible_settings_are_one_line(content, words):
    with pytest.raises(InputError, match=words) as caught:
        build(AugmentationSpec, content, "study.yaml")
    assert "\n" not in str(caught.value)
