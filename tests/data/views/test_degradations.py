"""Gamma, greyscale, blur, noise and JPEG: the numbers of other implementations, own streams."""

import io

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.ndimage import correlate1d
from torchvision.transforms.v2 import functional as F

from encoder_ablations.data.datasets.sample import Sample
from encoder_ablations.data.views.augmentation import AugmentationSpec, ColorSpec
from encoder_ablations.data.views.degradations import (
    add_noise,
    blur,
    change_gamma,
    compress,
    degrade,
    greyscale,
)
from encoder_ablations.data.views.photometric import distort
from encoder_ablations.data.views.transforms import training_view
from encoder_ablations.utils.config import build
from encoder_ablations.utils.errors import InputError

EACH = {
    "gamma": {"probability": 1, "exponent": (1.5, 2)},
    "greyscale": 1,
    "blur": {"probability": 1, "sigma": (1, 2)},
    "noise": {"probability": 1, "sigma": (5, 20)},
    "jpeg": {"probability": 1, "quality": (20, 50)},
}


@pytest.fixture(scope="module")
def picture():
    """70×90 smooth colours with edges."""
    y, x = np.mgrid[:70, :90]
    waves = [np.sin(x / 9) + np.cos(y / 5), np.sin((x + y) / 7) * 2, np.cos(x / 4) - y / 40]
    pixels = 128 + 55 * np.stack(waves, axis=2)
    pixels[20:40, 30:60] = (200, 40, 90)
    return pixels.clip(0, 255).astype(np.uint8)


def torchvisions(function, pixels, *settings):
    """The result of a function of torchvision, H×W×3."""
    return function(torch.from_numpy(pixels).permute(2, 0, 1), *settings).permute(1, 2, 0).numpy()


def difference(first, second):
    return np.abs(first.astype(int) - second.astype(int))


def crop(pixels, seed=0, **settings):
    sample = Sample(pixels, np.zeros(pixels.shape[:2], np.int64), "x", pixels.shape[:2], "x")
    spec = AugmentationSpec(crop=(48, 48), **settings)
    return training_view(sample, spec, np.random.default_rng(seed))


@pytest.mark.parametrize("exponent", [0.4, 1.0, 2.2])
def test_gamma_is_torchvisions_up_to_rounding(picture, exponent):
    expected = torchvisions(F.adjust_gamma, picture, exponent)
    assert difference(change_gamma(picture, exponent), expected).max() <= 1


def test_greyscale_is_torchvisions_up_to_rounding(picture):
    expected = torchvisions(F.rgb_to_grayscale, picture, 3)
    assert difference(greyscale(picture), expected).max() <= 1


@pytest.mark.parametrize("sigma", [0.1, 0.8, 3.0])
def test_blur_is_the_sum_over_a_gaussian(picture, sigma):
    reach = int(np.ceil(3 * sigma))
    weights = np.exp(-(np.arange(-reach, reach + 1) ** 2) / (2 * sigma**2))
    expected = picture.astype(float)
    for axis in (0, 1):
        expected = correlate1d(expected, weights / weights.sum(), axis=axis, mode="mirror")
    found = blur(picture, sigma)
    assert difference(found, np.rint(expected)).max() <= 1
    size = [2 * reach + 1] * 2
    assert difference(found, torchvisions(F.gaussian_blur, picture, size, [sigma] * 2)).max() <= 1


def test_noise_has_the_deviation_that_is_asked_for():
    grey = np.full((200, 200, 3), 128, np.uint8)
    noisy = add_noise(grey, 12, np.random.default_rng(0)).astype(float) - 128
    assert noisy.std() == pytest.approx(12, rel=0.02)
    assert abs(noisy.mean()) < 0.2
    # every value has noise of its own
    flat = noisy.reshape(-1, 3)
    assert np.abs(np.corrcoef(flat.T) - np.eye(3)).max() < 0.02
    black = add_noise(np.zeros((50, 50, 3), np.uint8), 12, np.random.default_rng(0))
    assert (black == 0).mean() == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize("quality", [10, 50, 95])
def test_jpeg_is_what_pillow_stores(picture, quality):
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "JPEG", quality=quality)
    expected = np.asarray(Image.open(file))
    assert difference(compress(picture, quality), expected).max() <= 2


@pytest.mark.parametrize("name", EACH)
def test_each_changes_the_image_alone(picture, name):
    plain, changed = crop(picture), crop(picture, **{name: EACH[name]})
    assert difference(plain[0], changed[0]).mean() > 1
    np.testing.assert_array_equal(plain[1], changed[1])


@pytest.mark.parametrize("name", ["gamma", "blur", "noise", "jpeg"])
def test_never_is_as_good_as_off(picture, name):
    never = EACH[name] | {"probability": 0}
    np.testing.assert_array_equal(crop(picture)[0], crop(picture, **{name: never})[0])


@pytest.mark.parametrize("name", ["gamma", "blur", "noise", "jpeg"])
def test_each_happens_as_often_as_asked(name):
    pixels = np.random.default_rng(0).integers(60, 90, (8, 8, 3), dtype=np.uint8)
    spec = AugmentationSpec(**{name: EACH[name] | {"probability": 0.25}})
    changed = [
        not np.array_equal(degrade(pixels, spec, np.random.default_rng(seed)), pixels)
        for seed in range(400)
    ]
    assert np.mean(changed) == pytest.approx(0.25, abs=0.07)


@pytest.mark.parametrize("name", EACH)
def test_turning_one_on_does_not_change_what_another_draws(picture, monkeypatch, name):
    """What each is called with depends on the seed alone; the pixels it gets may differ."""
    drawn = {}

    def noted(module_name):
        def note(pixels, *settings):
            drawn.setdefault(module_name, []).append([s for s in settings if np.isscalar(s)])
            return pixels

        return note

    for function in ("change_gamma", "blur", "add_noise", "compress"):
        monkeypatch.setattr(
            f"encoder_ablations.data.views.degradations.{function}", noted(function)
        )
    crop(picture, **EACH)
    together = dict(drawn)
    drawn.clear()
    crop(picture, **{name: EACH[name]})
    assert drawn.items() <= together.items()
    assert bool(drawn) == (name != "greyscale")


def test_strengths_differ_between_samples_and_stay_in_their_range(monkeypatch):
    seen = []
    monkeypatch.setattr(
        "encoder_ablations.data.views.degradations.blur",
        lambda pixels, sigma: seen.append(sigma) or pixels,
    )
    spec = AugmentationSpec(blur={"probability": 1, "sigma": (1, 2)})
    for seed in range(200):
        degrade(np.zeros((4, 4, 3), np.uint8), spec, np.random.default_rng(seed))
    assert (len(set(seen)), min(seen) >= 1, max(seen) <= 2) == (200, True, True)
    assert np.mean(seen) == pytest.approx(1.5, abs=0.06)


@pytest.mark.parametrize("size", [(1, 1), (3, 40)])
def test_very_small_crops_are_changed_too(size):
    pixels = np.full((*size, 3), 90, np.uint8)
    for seed in range(5):
        changed = degrade(pixels, AugmentationSpec(**EACH), np.random.default_rng(seed))
        assert (changed.shape, changed.dtype) == (pixels.shape, np.uint8)


def test_true_false_and_a_mapping_say_which_colours():
    usual = build(AugmentationSpec, {"photometric": True}, "test")
    assert usual == AugmentationSpec() == build(AugmentationSpec, {"photometric": {}}, "test")
    assert build(AugmentationSpec, {"photometric": False}, "test").photometric is None
    again = build(AugmentationSpec, usual.model_dump(mode="json"), "test")
    assert again == usual
    assert (usual.photometric.hue, usual.photometric.brightness) == (36, 32)


def test_ranges_of_colours_are_obeyed():
    none = ColorSpec(brightness=0, contrast=(1, 1), saturation=(1, 1), hue=0)
    pixels = np.array([[(200, 200, 200), (90, 90, 90)]], np.uint8)
    for seed in range(20):
        rng = np.random.default_rng(seed)
        np.testing.assert_array_equal(distort(pixels, rng, none), pixels)
    bright = none.model_copy(update={"brightness": 100})
    shifts = [
        int(distort(pixels, np.random.default_rng(seed), bright)[0, 1, 0]) - 90
        for seed in range(100)
    ]
    assert min(shifts) < -70
    assert max(shifts) > 70


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"blur": {"sigma": [3, 1]}}, r"'blur\.sigma': a range .* not \(3\.0, 1\.0\)"),
        ({"noise": {"sigma": [9, 300]}}, r"noise\.sigma.*255"),
        ({"jpeg": {"quality": [90, 30]}}, r"jpeg\.quality.*\(90, 30\)"),
        ({"jpeg": {"quality": [0, 30]}}, r"jpeg\.quality.*greater than or equal to 1"),
        ({"gamma": {"exponent": [2, 0.5]}}, r"gamma\.exponent.*\(2\.0, 0\.5\)"),
        ({"gamma": {"exponent": [0, 0.5]}}, r"gamma\.exponent.*0\.05"),
        ({"greyscale": 1.5}, "greyscale"),
        ({"photometric": {"contrast": [1.5, 0.5]}}, r"photometric\.contrast.*\(1\.5, 0\.5\)"),
        ({"photometric": {"hue": 5}}, r"photometric\.hue.*multiple of 2"),
        ({"photometric": {"hues": 5}}, r"unknown key 'photometric\.hues'.*'hue'"),
        ({"photometric": "yes"}, "photometric"),
    ],
)
def test_impossible_settings_are_one_line(content, words):
    with pytest.raises(InputError, match=words) as caught:
        build(AugmentationSpec, content, "study.yaml")
    assert "\n" not in str(caught.value)
