"""The file of facts says what the heads say."""

import pytest

from encoder_ablations.segmenters.built_in import BUILT_IN
from encoder_ablations.segmenters.facts import FILE, read_facts
from encoder_ablations.segmenters.facts_writer import as_yaml
from encoder_ablations.segmenters.registry import head_entry


def test_the_file_is_that_of_the_heads():
    assert FILE.read_text(encoding="utf-8") == as_yaml(), (
        "run python -m encoder_ablations.segmenters.facts_writer"
    )


@pytest.mark.parametrize("name", BUILT_IN)
def test_every_head_says_what_it_reads(name):
    entry = head_entry(name)
    assert read_facts()[name].reads == entry.reads == entry.head.reads


def test_parameters_by_hand():
    """The linear head: 1024 channels, twice for BatchNorm; 12 classes and their biases. EoMT at
    width 768: 100 queries, 13 classes, an MLP of three layers, two doublings."""
    width = 768
    doubling = 4 * width**2 + width + 9 * width + 2 * width
    eomt = 100 * width + 13 * (width + 1) + 3 * (width**2 + width) + 2 * doubling
    facts = read_facts()
    assert facts["linear"].parameters == 2 * 1024 + 12 * 1025
    assert facts["eomt"].parameters == eomt
