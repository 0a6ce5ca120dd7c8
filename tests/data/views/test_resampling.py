"""Our resizing against the formula in float64, and against Pillow's, whose filter it is."""

from fractions import Fraction
from math import floor

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch.nn.functional import interpolate

from encoder_ablations.data.views.resampling import Span, resize, resize_mask, whole_span


@st.composite
def spans(draw):
    """Any window of a side of 1 to 90 pixels that is resized by 1/8 to 4, or not at all."""
    pixels = draw(st.integers(1, 90))
    source = draw(st.integers(1, pixels))
    length = draw(st.one_of(st.just(source), st.integers(max(1, source // 8), 4 * source)))
    return pixels, Span(draw(st.integers(0, pixels - source)), source, length)


def triangle(span):
    """length×source float64: each pixel's weights, a triangle two coarse pixels wide."""
    centres = (np.arange(span.length) + 0.5) * span.scale
    distances = np.abs(np.arange(span.source) + 0.5 - centres[:, None])
    weights = np.maximum(0, 1 - distances / max(span.scale, 1))
    return weights / weights.sum(axis=1, keepdims=True)


@settings(max_examples=100, deadline=None)
@given(rows=spans(), columns=spans(), seed=st.integers(0, 99))
def test_equals_the_formula(rows, columns, seed):
    (height, rows), (width, columns) = rows, columns
    image = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    window = image[
        rows.start : rows.start + rows.source, columns.start : columns.start + columns.source
    ]
    weights = triangle(rows), triangle(columns)
    expected = np.einsum(
        "yh,hwc,xw->yxc", weights[0], window.astype(float), weights[1], optimize=True
    )
    got = resize(image, rows, columns)
    assert (got.shape, got.dtype) == (expected.shape, np.uint8)
    assert np.abs(got - expected).max() <= 1.1  # rounded after the rows and after the columns


@pytest.mark.parametrize("factor", [0.3, 0.5, 0.75, 1.25, 2.0])
def test_differs_from_pillow_by_a_level_at_most(factor):
    image = np.random.default_rng(0).integers(0, 256, (90, 120, 3), dtype=np.uint8)
    rows, columns = whole_span(90, factor), whole_span(120, factor)
    pillow = np.asarray(
        Image.fromarray(image).resize((columns.length, rows.length), Image.Resampling.BILINEAR)
    )
    assert np.abs(resize(image, rows, columns).astype(int) - pillow).max() <= 1


@pytest.mark.parametrize("size", [(20, 30), (31, 97), (110, 60), (1, 1)])
def test_equals_each_colour_resized_on_its_own_bit_for_bit(size):
    image = np.random.default_rng(0).integers(0, 256, (50, 70, 3), dtype=np.uint8)
    rows, columns = Span(3, 40, size[0]), Span(0, 61, size[1])
    planes = torch.from_numpy(image[rows.pixels, columns.pixels].copy()).movedim(2, 0)
    expected = [
        interpolate(plane[None, None], size, mode="bilinear", antialias=True)[0, 0]
        for plane in planes
    ]
    found = resize(image, rows, columns)
    np.testing.assert_array_equal(found, torch.stack(expected, dim=2).numpy())
    assert found.flags.c_contiguous


def test_views_of_other_strides_and_read_only_ones_are_fine():
    image = np.random.default_rng(0).integers(0, 256, (40, 30, 3), dtype=np.uint8)
    mirrored = image[::-2]
    mirrored.flags.writeable = False
    rows, columns = whole_span(20, 1.6), whole_span(30, 0.7)
    np.testing.assert_array_equal(
        resize(mirrored, rows, columns), resize(np.array(mirrored), rows, columns)
    )


def test_what_is_not_resized_is_cut_out_exactly():
    image = np.random.default_rng(0).integers(0, 256, (40, 30, 3), dtype=np.uint8)
    np.testing.assert_array_equal(resize(image, Span(3, 20, 20), Span(5, 9, 9)), image[3:23, 5:14])


def test_nearest_takes_the_pixel_that_a_centre_lies_in():
    assert Span(0, 2, 4).nearest().tolist() == [0, 0, 1, 1]
    assert Span(3, 6, 2).nearest().tolist() == [4, 7]
    assert Span(0, 3, 1).nearest().tolist() == [1]


@settings(max_examples=100, deadline=None)
@given(rows=spans(), columns=spans())
def test_masks_are_those_of_the_nearest_pixel(rows, columns):
    (height, rows), (width, columns) = rows, columns
    mask = (
        np.arange(height * width).reshape(height, width) + 60_000
    )  # beyond 16 bits: nothing may be rounded
    got = resize_mask(mask, rows, columns)

    def nearest(span):
        step = Fraction(span.source, span.length)
        return [span.start + floor(Fraction(2 * n + 1, 2) * step) for n in range(span.length)]

    y, x = nearest(rows), nearest(columns)
    np.testing.assert_array_equal(got, mask[np.ix_(y, x)])
