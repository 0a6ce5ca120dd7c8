"""Our resizing against Pillow's, which is the definition."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from encoder_ablations.data.resampling import Span, resize, whole_span

BILINEAR = Image.Resampling.BILINEAR


@st.composite
def spans(draw):
    """Any part of a side of 1 to 90 pixels that is resized by 1/8 to 4, or not at all."""
    source = draw(st.integers(1, 90))
    full = draw(st.one_of(st.just(source), st.integers(max(1, source // 8), 4 * source)))
    length = draw(st.one_of(st.just(full), st.integers(1, full)))
    return Span(draw(st.integers(0, full - length)), length, full, source)


def by_pillow(image, rows, columns):
    """Columns first, as all of Pillow up to 12 does it and later ones mostly do."""
    (top, bottom), (left, right) = rows.box, columns.box
    narrow = Image.fromarray(image).resize((columns.length, rows.source), BILINEAR, box=(left, 0, right, rows.source))
    return np.asarray(narrow.resize((columns.length, rows.length), BILINEAR, box=(0, top, columns.length, bottom)))


@settings(max_examples=300, deadline=None)
@given(rows=spans(), columns=spans(), seed=st.integers(0, 99))
def test_equals_pillow_bit_for_bit(rows, columns, seed):
    image = np.random.default_rng(seed).integers(0, 256, (rows.source, columns.source, 3), dtype=np.uint8)
    np.testing.assert_array_equal(resize(image, rows, columns), by_pillow(image, rows, columns))


def test_usual_sizes_equal_one_call_of_pillow():
    image = np.random.default_rng(0).integers(0, 256, (90, 120, 3), dtype=np.uint8)
    for factor in (0.3, 0.5, 0.75, 1.25, 2.0):
        rows, columns = whole_span(90, factor), whole_span(120, factor)
        expected = Image.fromarray(image).resize((columns.full, rows.full), BILINEAR)
        np.testing.assert_array_equal(resize(image, rows, columns), np.asarray(expected))


def test_a_view_of_other_strides_is_fine():
    image = np.random.default_rng(0).integers(0, 256, (40, 30, 3), dtype=np.uint8)
    rows, columns = whole_span(20, 1.6), whole_span(30, 0.7)
    np.testing.assert_array_equal(resize(image[::-2], rows, columns), resize(np.array(image[::-2]), rows, columns))


def test_nearest_takes_the_pixel_that_a_centre_lies_in():
    assert Span(0, 4, 4, 2).nearest().tolist() == [0, 0, 1, 1]
    assert Span(1, 2, 3, 9).nearest().tolist() == [4, 7]
    assert Span(0, 1, 1, 3).nearest().tolist() == [1]
