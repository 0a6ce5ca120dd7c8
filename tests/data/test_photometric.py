import colorsys

import numpy as np
import pytest
from PIL import Image

from encoder_ablations.data import photometric
from encoder_ablations.data.photometric import distort


class Draws:
    """Stands in for a generator with chosen draws: which steps are applied, and how strongly."""

    def __init__(self, applied: tuple[int, int, int, int], contrast_first: bool, strength: float) -> None:
        self._applied = applied
        self._first = contrast_first
        self._strength = strength

    def random(self, size: int | None = None) -> np.ndarray | float:
        return (0.0 if self._first else 1.0) if size is None else 1.0 - np.array(self._applied)

    def uniform(self, low: float, high: float) -> float:
        return low + self._strength * (high - low)

    def integers(self, low: int, high: int) -> int:
        return low + round(self._strength * (high - 1 - low))


def one_pixel(rgb: tuple[int, int, int], *draws: object) -> tuple[int, int, int]:
    pixels = distort(np.array([[rgb]], np.uint8), Draws(*draws))  # type: ignore[arg-type]
    return tuple(int(value) for value in pixels[0, 0])


def test_nothing_applied_changes_nothing():
    assert one_pixel((10, 100, 200), (0, 0, 0, 0), True, 1.0) == (10, 100, 200)


@pytest.mark.parametrize(("strength", "expected"), [(0.0, (0, 68, 208)), (1.0, (42, 132, 255))])
def test_brightness_shifts_and_clips(strength, expected):
    assert one_pixel((10, 100, 240), (1, 0, 0, 0), True, strength) == expected


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize(("strength", "expected"), [(0.0, (5, 50, 120)), (1.0, (15, 150, 255))])
def test_contrast_multiplies(strength, expected, first):
    assert one_pixel((10, 100, 240), (0, 1, 0, 0), first, strength) == expected


@pytest.mark.parametrize(("strength", "factor"), [(0.0, 0.5), (1.0, 1.5)])
def test_saturation_scales_and_keeps_hue_and_value(strength, factor):
    rgb = (60, 100, 120)
    got = colorsys.rgb_to_hsv(*one_pixel(rgb, (0, 0, 1, 0), True, strength))
    expected = colorsys.rgb_to_hsv(*rgb)
    assert got == pytest.approx((expected[0], expected[1] * factor, expected[2]), abs=0.02)


@pytest.mark.parametrize(("strength", "degrees"), [(0.0, -36), (1.0, 36)])
def test_hue_turns_by_up_to_18_steps_of_2_degrees(strength, degrees):
    rgb = (60, 100, 180)
    got = colorsys.rgb_to_hsv(*one_pixel(rgb, (0, 0, 0, 1), True, strength))
    expected = colorsys.rgb_to_hsv(*rgb)
    assert got[0] * 360 == pytest.approx(expected[0] * 360 + degrees, abs=3)
    assert got[1:] == pytest.approx(expected[1:], abs=0.02)


def test_contrast_before_and_after_saturation_differ():
    rgb = (200, 100, 90)
    assert one_pixel(rgb, (0, 1, 1, 0), True, 1.0) != one_pixel(rgb, (0, 1, 1, 0), False, 1.0)


def test_each_step_is_applied_half_of_the_time(monkeypatch):
    looked_up, turned = [], []
    monkeypatch.setattr(photometric, "_look_up", lambda pixels, table: (looked_up.append(table), pixels)[1])
    monkeypatch.setattr(photometric, "_turn", lambda pixels, *tables: (turned.append(tables), pixels)[1])
    rng = np.random.default_rng(0)
    for _ in range(400):
        distort(np.zeros((1, 1, 3), np.uint8), rng)
    assert 0.68 < len(turned) / 400 < 0.82  # saturation or hue
    assert 0.78 < len(looked_up) / 400 < 0.98  # brightness or contrast before: 5/8, contrast after: 1/4


def test_the_input_is_not_changed():
    pixels = np.full((2, 2, 3), (10, 100, 200), np.uint8)
    for applied in ((1, 0, 0, 0), (0, 0, 1, 1), (0, 1, 0, 0)):
        distort(pixels, Draws(applied, False, 1.0))  # type: ignore[arg-type]
    assert (pixels == (10, 100, 200)).all()


@pytest.mark.parametrize("strength", [0.0, 0.3, 0.9, 1.0])
def test_hue_and_saturation_are_turned_exactly_as_pillow_converts(strength):
    """Every third level of each channel: 636,056 colours."""
    levels = np.arange(0, 256, 3, dtype=np.uint8)
    pixels = np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(len(levels), -1, 3)
    draws = Draws((0, 0, 1, 1), True, strength)
    turn, factor = round(draws.integers(-18, 19) * 256 / 180), draws.uniform(0.5, 1.5)
    tables = [(np.arange(256) + turn) % 256, np.minimum(np.arange(256) * factor, 255).astype(int), np.arange(256)]
    expected = Image.fromarray(pixels).convert("HSV").point(np.concatenate(tables).tolist()).convert("RGB")
    np.testing.assert_array_equal(distort(pixels, draws), np.asarray(expected))  # type: ignore[arg-type]


def test_same_draws_follow_whatever_was_applied():
    left_over = set()
    for seed in range(20):
        rng = np.random.default_rng(seed)
        distort(np.full((2, 2, 3), (9, 99, 199), np.uint8), rng)
        other = np.random.default_rng(seed)
        other.random(4), other.random(), other.uniform(0, 1, 3), other.integers(-18, 19)
        left_over.add(rng.random() == other.random())
    assert left_over == {True}
