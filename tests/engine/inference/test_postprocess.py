"""Clean-up of masks, on drawings small enough to see the answer."""

import numpy as np
import pytest
import torch

from encoder_ablations.engine.inference.guided_filter import box_mean, refined
from encoder_ablations.engine.inference.postprocess import Postprocessing, filled
from encoder_ablations.engine.inference.spec import PostprocessSpec
from encoder_ablations.utils.errors import InputError

CLASSES = ("sky", "car", "road")


def drawn(*lines):
    """Return a mask of digits."""
    return np.array([[int(digit) for digit in line] for line in lines], np.uint8)


def cleaned(mask, **settings):
    before = mask.copy()
    found = Postprocessing(PostprocessSpec(**settings), CLASSES).of(mask)
    assert np.array_equal(mask, before)
    assert found.dtype == mask.dtype
    return found.tolist()


def test_nothing_is_done_by_default():
    mask = drawn("0120", "2102")
    assert cleaned(mask) == mask.tolist()


def test_small_areas_go_to_their_neighbours():
    mask = drawn("00000", "01002", "00002", "11000")
    expected = drawn("00000", "00002", "00002", "11000")
    assert cleaned(mask, smallest_area={"car": 2}) == expected.tolist()
    # areas that touch at a corner are one
    diagonal = drawn("1000", "0100", "0000")
    assert cleaned(diagonal, smallest_area={"car": 2}) == diagonal.tolist()
    # "all" is for the classes that are not named
    expected = drawn("00000", "01000", "00000", "11000")
    assert cleaned(mask, smallest_area={"all": 3, "car": 0}) == expected.tolist()


def test_holes_are_filled_whatever_they_hold():
    mask = drawn("22222", "20122", "22222", "00002")
    expected = drawn("22222", "22222", "22222", "00002")
    assert cleaned(mask, largest_hole={"road": 2}) == expected.tolist()
    assert cleaned(mask, largest_hole={"road": 1}) == mask.tolist()


def test_only_the_largest_area_is_kept():
    mask = drawn("11010", "11000", "00011")
    assert cleaned(mask, largest_only=["car"]) == drawn("11000", "11000", "00000").tolist()


def test_opening_removes_lines_and_closing_fills_gaps():
    line = np.zeros((9, 9), np.uint8)
    line[:, :4] = 1
    line[4, 4:] = 1
    opened = np.array(cleaned(line, opening={"car": 1}))
    assert (opened[:, 6:] == 0).all()
    assert (opened[:, :3] == 1).all()
    gap = np.zeros((9, 9), np.uint8)
    gap[:, [0, 1, 2, 4, 5, 6]] = 1
    assert (np.array(cleaned(gap, closing={"car": 1}))[:, 3] == 1).all()


def test_an_unknown_class_is_refused():
    with pytest.raises(InputError, match="bus"):
        Postprocessing(PostprocessSpec(smallest_area={"bus": 3}), CLASSES)


def test_a_mask_is_never_emptied():
    mask = drawn("111", "111")
    assert cleaned(mask, smallest_area={"car": 100}) == mask.tolist()
    assert filled(mask, np.ones((2, 3), bool)) is mask


def test_box_means_are_those_of_a_loop():
    values = torch.rand(1, 2, 7, 9)
    found = box_mean(values, 2)
    for row in range(7):
        for column in range(9):
            part = values[0, :, max(0, row - 2) : row + 3, max(0, column - 2) : column + 3]
            torch.testing.assert_close(found[0, :, row, column], part.mean(dim=(1, 2)))


def test_the_guided_filter_is_the_papers_formula():
    """Equations 5, 6 and 8, square by square."""
    torch.manual_seed(0)
    image = torch.randint(0, 256, (1, 3, 8, 8)).double()
    probabilities = torch.rand(1, 2, 8, 8).double().softmax(dim=1)
    radius, epsilon = 1, 0.01
    guide = (image[0] * torch.tensor([0.299, 0.587, 0.114]).view(3, 1, 1)).sum(0) / 255
    slopes, offsets = torch.zeros(2, 8, 8).double(), torch.zeros(2, 8, 8).double()

    def square(row, column):
        rows = slice(max(0, row - radius), row + radius + 1)
        return rows, slice(max(0, column - radius), column + radius + 1)

    for row in range(8):
        for column in range(8):
            at = square(row, column)
            for k in range(2):
                p, g = probabilities[0, k][at], guide[at]
                slope = ((g * p).mean() - g.mean() * p.mean()) / (g.var(unbiased=False) + epsilon)
                slopes[k, row, column] = slope
                offsets[k, row, column] = p.mean() - slope * g.mean()
    expected = torch.zeros(2, 8, 8).double()
    for row in range(8):
        for column in range(8):
            at = square(row, column)
            for k in range(2):
                here = slopes[k][at].mean() * guide[row, column] + offsets[k][at].mean()
                expected[k, row, column] = here
    expected = expected.clamp_min(0)
    found = refined(probabilities, image, radius, epsilon)
    torch.testing.assert_close(found[0], expected / expected.sum(0), rtol=1e-6, atol=1e-6)


def test_edges_move_onto_those_of_the_image():
    image = torch.zeros(1, 3, 32, 32)
    image[..., 16:] = 200
    # the prediction's edge is blurred and three pixels off
    column = torch.linspace(0, 31, 32)
    right = torch.sigmoid((column - 19) / 2).expand(1, 1, 32, 32)
    before = torch.cat([1 - right, right], dim=1)
    after = refined(before, image, 8, 1e-4)
    edges = [int((each[0, 1, 16] > 0.5).float().argmax()) for each in (before, after)]
    assert edges == [20, 16]
