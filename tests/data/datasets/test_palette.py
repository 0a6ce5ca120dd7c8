import numpy as np
import pytest

from encoder_ablations.data.datasets.palette import OKABE_ITO, colorize, colors_of, palette


def test_colors_are_distinct_and_never_black():
    colors = palette(255)
    assert len(set(colors)) == 255
    assert (0, 0, 0) not in colors
    assert all(0 <= value <= 255 for color in colors for value in color)


def test_short_palette_begins_the_long_one():
    assert palette(3) == OKABE_ITO[:3]
    assert palette(40) == palette(255)[:40]


def test_first_twenty_are_far_apart():
    colors = np.array(palette(20), dtype=float)
    distance = np.linalg.norm(colors[:, None] - colors[None], axis=-1) + 1e9 * np.eye(20)
    assert distance.min() > 50


def test_colorize_paints_ids_and_leaves_ignored_pixels_black():
    picture = colorize(np.array([[0, 1], [255, 1]]), ((1, 2, 3), (4, 5, 6)))
    assert picture.dtype == np.uint8
    assert picture.tolist() == [[[1, 2, 3], [4, 5, 6]], [[0, 0, 0], [4, 5, 6]]]


@pytest.mark.parametrize("label", [2, 254, -1])
def test_colorize_rejects_an_id_without_a_color(label):
    with pytest.raises(ValueError, match=f"class id {label} has no colour"):
        colorize(np.array([[label]]), ((1, 2, 3), (4, 5, 6)))


def test_own_colors_go_first(make_dataset):
    own = [[1, 1, 1], [2, 2, 2], [3, 3, 3]]
    assert colors_of(make_dataset(colors=own)) == ((1, 1, 1), (2, 2, 2), (3, 3, 3))


def test_colors_are_chosen_otherwise(make_dataset):
    assert colors_of(make_dataset()) == palette(3)
