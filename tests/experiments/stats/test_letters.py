"""Letters of significance."""

from itertools import combinations

import numpy as np

from encoder_ablations.experiments.stats.letters import significance_letters


def test_names_that_do_not_differ_share_a_letter():
    assert significance_letters(["x", "y", "z"], [("x", "z")]) == ["a", "ab", "b"]
    assert significance_letters(["x", "y"], []) == ["a", "a"]
    assert significance_letters(["x", "y"], [("x", "y")]) == ["a", "b"]


def test_any_set_of_differences_is_shown_exactly():
    random = np.random.default_rng(0)
    names = [f"n{number}" for number in range(7)]
    for _ in range(50):
        different = {pair for pair in combinations(names, 2) if random.random() < 0.4}
        letters = dict(zip(names, significance_letters(names, different), strict=True))
        apart = {
            pair
            for pair in combinations(names, 2)
            if not set(letters[pair[0]]) & set(letters[pair[1]])
        }
        assert apart == different


def test_too_few_letters_show_none():
    names = [f"n{number}" for number in range(27)]
    assert significance_letters(names, combinations(names, 2)) == [""] * 27
