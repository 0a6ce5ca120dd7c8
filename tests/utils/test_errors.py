"""Hints at the name that was meant."""

import pytest

from encoder_ablations.utils.errors import nearest


@pytest.mark.parametrize(
    ("given", "allowed", "hint"),
    [
        ("stepz", ["seeds", "steps"], " Did you mean 'steps'?"),
        ("upernt", ["upernet", "linear"], " Did you mean 'upernet'?"),
        ("frobnicate", ["job_name", "partition"], ""),
    ],
)
def test_only_what_is_alike_is_suggested(given, allowed, hint):
    assert nearest(given, allowed) == hint
