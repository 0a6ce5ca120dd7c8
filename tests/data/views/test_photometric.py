import colorsys

import cv2
import numpy as np
import pytest

from encoder_ablations.data.views.photometric import distort

LEVELS = np.arange(0, 256, 5, dtype=np.uint8)
COLORS = np.stack(np.meshgrid(LEVELS, LEVELS, LEVELS), axis=-1).reshape(len(LEVELS), -1, 3)
"""Every fifth level of each channel: 140,608 colours."""


class Draws:
    """Stands in for a generator with chosen draws: which steps are applied, and how strongly."""

    def __init__(
        self, applied: tuple[int, int, int, int], contrast_first: bool, strength: float
    ) -> None:
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


def test_each_step_is_applied_half_of_the_time():
    """Grey has neither hue nor saturation: only brightness and contrast change it."""
    kept = {}
    for name, rgb in {"grey": (100, 100, 100), "orange": (200, 120, 60)}.items():
        rng = np.random.default_rng(0)
        kept[name] = np.mean(
            [(distort(np.array([[rgb]], np.uint8), rng) == rgb).all() for _ in range(2000)]
        )
    assert kept["grey"] == pytest.approx(1 / 4, abs=0.04)
    assert kept["orange"] == pytest.approx(1 / 16, abs=0.02)


def test_the_input_is_not_changed():
    pixels = np.full((2, 2, 3), (10, 100, 200), np.uint8)
    for applied in ((1, 0, 0, 0), (0, 0, 1, 1), (0, 1, 0, 0)):
        distort(pixels, Draws(applied, False, 1.0))  # type: ignore[arg-type]
    assert (pixels == (10, 100, 200)).all()


def drawn(seed):
    """What :func:`distort` draws, in its order."""
    rng = np.random.default_rng(seed)
    applied, contrast_first = rng.random(4) < 0.5, rng.random() < 0.5
    return (
        applied,
        contrast_first,
        rng.uniform(-32, 32),
        rng.uniform(0.5, 1.5),
        rng.uniform(0.5, 1.5),
        rng.integers(-18, 19),
    )


def formula(rgb, applied, contrast_first, shift, contrast, saturation, hue):
    """The published augmentation: brightness, then contrast before or after the other two."""

    def scaled(values, factor=1.0, offset=0.0):
        return np.clip(
            values.astype(np.float32) * np.float32(factor) + np.float32(offset), 0, 255
        ).astype(np.uint8)

    def in_hsv(image, change):
        hsv = cv2.cvtColor(image, cv2.COLOR_BGR2HSV)
        change(hsv)
        return cv2.cvtColor(hsv, cv2.COLOR_HSV2BGR)

    def saturate(hsv):
        hsv[..., 1] = scaled(hsv[..., 1], saturation)

    def turn(hsv):
        hsv[..., 0] = (hsv[..., 0].astype(int) + hue) % 180

    image = np.ascontiguousarray(rgb[..., ::-1])
    image = scaled(image, offset=shift) if applied[0] else image
    image = scaled(image, contrast) if applied[1] and contrast_first else image
    image = in_hsv(image, saturate) if applied[2] else image
    image = in_hsv(image, turn) if applied[3] else image
    image = scaled(image, contrast) if applied[1] and not contrast_first else image
    return image[..., ::-1]


def test_equals_the_published_augmentation_bit_for_bit():
    applied = set()
    for seed in range(60):
        draws = drawn(seed)
        applied.add((*draws[0].tolist(), draws[1]))
        np.testing.assert_array_equal(
            distort(COLORS, np.random.default_rng(seed)), formula(COLORS, *draws)
        )
    assert len(applied) > 20  # of 32


@pytest.mark.detectron2
def test_equals_detectron2_bit_for_bit(monkeypatch):
    pytest.importorskip("detectron2")
    from detectron2.projects.point_rend import ColorAugSSDTransform, color_augmentation

    class Told:
        """Stands in for the module ``random``: gives what it was told, in turn."""

        def __init__(self, values):
            self.values = values

        def _next(self, *limits):
            return self.values.pop(0)

        randrange = uniform = randint = _next

    for seed in range(60):
        applied, contrast_first, *strengths = drawn(seed)
        brightness, contrast, saturation, hue = (
            [1, value] if on else [0] for on, value in zip(applied, strengths, strict=True)
        )
        told = [*brightness, int(contrast_first)]
        told += [*contrast, *saturation, *hue] if contrast_first else [*saturation, *hue, *contrast]
        monkeypatch.setattr(color_augmentation, "random", Told(told))
        expected = ColorAugSSDTransform(img_format="RGB").apply_image(COLORS)
        np.testing.assert_array_equal(distort(COLORS, np.random.default_rng(seed)), expected)
        assert told == []


def test_same_draws_follow_whatever_was_applied():
    left_over = set()
    for seed in range(20):
        rng = np.random.default_rng(seed)
        distort(np.full((2, 2, 3), (9, 99, 199), np.uint8), rng)
        other = np.random.default_rng(seed)
        other.random(4), other.random(), other.uniform(0, 1, 3), other.integers(-18, 19)
        left_over.add(rng.random() == other.random())
    assert left_over == {True}
