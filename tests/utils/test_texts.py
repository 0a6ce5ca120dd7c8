import pytest
from hypothesis import given
from hypothesis import strategies as st

from encoder_ablations.utils.texts import as_cell, duration, plural, readable


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.44, "0.4 s"),
        (9.96, "10 s"),
        (59.4, "59 s"),
        (65, "1 min 05 s"),
        (605, "10 min"),
        (12_000, "3 h 20 min"),
        (187_200, "2 d 04 h"),
    ],
)
def test_durations(seconds, text):
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("count", "word", "rest", "text"),
    [
        (1, "run", "", "1 run"),
        (0, "run", "", "0 runs"),
        (2, "class", "", "2 classes"),
        (1, "class", "", "1 class"),
        (
            1,
            "colour",
            "stands/stand in no table and is/are ignored",
            "1 colour stands in no table and is ignored",
        ),
        (
            3,
            "colour",
            "stands/stand in no table and is/are ignored",
            "3 colours stand in no table and are ignored",
        ),
    ],
)
def test_words_agree_with_their_number(count, word, rest, text):
    assert plural(count, word, rest) == text


@given(st.text(st.characters() | st.sampled_from("\t\n\x00\x1f\x7f\x85\u2028 ~")) | st.floats())
def test_cells_are_readable_and_on_one_line(value):
    cell = as_cell(value)
    assert cell == readable(" ".join(str(value).replace("\t", " ").splitlines()))
    assert len(cell.splitlines()) <= 1
