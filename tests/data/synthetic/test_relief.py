import numpy as np
import pytest

from encoder_ablations.data.synthetic.relief import (
    BOULDER,
    CRATER,
    Ground,
    Sun,
    _dig_crater,
    _light,
    _place_boulder,
    draw_scene,
)

SUN = Sun(-1.0, 0.0, float(np.radians(30)))


def flat(side: int = 96) -> Ground:
    return Ground(
        np.zeros((side, side), np.float32),
        np.zeros((side, side), np.uint8),
        np.zeros((side, side), np.float32),
    )


def test_scene_has_the_promised_form_and_all_classes():
    seen = np.zeros(3, np.int64)
    for seed in range(8):
        image, mask = draw_scene(64, np.random.default_rng(seed))
        assert (image.shape, image.dtype) == ((64, 64, 3), np.uint8)
        assert (mask.shape, mask.dtype) == ((64, 64), np.uint8)
        assert 40 < image.mean() < 200
        assert (image[..., 0].mean() > image[..., 2].mean() + 20).all()  # reddish
        seen += np.bincount(mask.ravel(), minlength=3)
    share = seen / seen.sum()
    assert share[0] > 0.6
    assert share[CRATER] > 0.05
    assert share[BOULDER] > 0.004


def test_scene_follows_from_its_stream():
    first, second, other = (draw_scene(48, np.random.default_rng(seed)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first[0], second[0])
    np.testing.assert_array_equal(first[1], second[1])
    assert not np.array_equal(first[0], other[0])


@pytest.mark.parametrize("seed", range(5))
def test_crater_is_a_hole_with_a_rim_and_lit_on_the_far_side(seed):
    ground = flat()
    _dig_crater(ground, np.array([48.0, 48.0]), 16.0, np.random.default_rng(seed))
    inside = ground.mask == CRATER
    assert inside.sum() == pytest.approx(np.pi * 16**2, rel=0.25)
    assert ground.height[48, 48] < -1
    assert ground.height[inside].mean() < 0
    assert ground.height[48, 66:70].mean() > 0  # the rim
    assert ground.height[0, 0] == 0
    light = _light(ground.height, SUN, reach=30)  # the sun is on the left
    assert light[48, 36:40].mean() < 0.8 < 1.1 < light[48, 56:60].mean()


@pytest.mark.parametrize("seed", range(5))
def test_boulder_is_lit_towards_the_sun_and_throws_a_shadow_away_from_it(seed):
    ground = flat()
    _place_boulder(ground, np.array([48.0, 48.0]), 6.0, np.random.default_rng(seed))
    rock = ground.mask == BOULDER
    assert rock[48, 48]
    assert (ground.height[rock] > 0).all()
    assert (ground.height[~rock] == 0).all()
    light = _light(ground.height, SUN, reach=30)
    right = int(np.flatnonzero(rock[48]).max())
    left = int(np.flatnonzero(rock[48]).min())
    assert light[48, right + 2] < 0.1  # shadow
    assert light[48, left - 4] == pytest.approx(1, abs=0.01)  # level ground
    assert light[48, left : left + 2].max() > 1.2


@pytest.mark.parametrize(("x", "y"), [(1, 0), (-1, 0), (0, 1), (0, -1), (0.6, 0.8), (-0.8, 0.6)])
def test_shadow_of_a_pillar_is_as_long_as_its_height_says(x, y):
    height = np.zeros((81, 81), np.float32)
    height[38:43, 38:43] = 10
    light = _light(height, Sun(x, y, float(np.radians(45))), reach=40)
    for away in (4, 6, 8):
        assert light[round(40 - y * away), round(40 - x * away)] < 0.2 or away < 4
        assert light[round(40 + y * (away + 4)), round(40 + x * (away + 4))] > 0.9
    assert light[round(40 - y * 16), round(40 - x * 16)] == pytest.approx(1, abs=1e-3)
