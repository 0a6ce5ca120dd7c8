"""The settings of built-in heads, which are read without importing the heads."""

from pathlib import Path

import pytest

from encoder_ablations.segmenters import heads
from encoder_ablations.segmenters.built_in import BUILT_IN
from encoder_ablations.segmenters.registry import head_entry
from encoder_ablations.segmenters.spec import CLASSIFIERS


@pytest.mark.parametrize("name", BUILT_IN)
def test_the_row_is_what_the_head_registers(name):
    assert head_entry(name).spec is BUILT_IN[name]


def test_the_heads_for_whole_images_are_named():
    found = [name for name, spec in BUILT_IN.items() if spec.task == "classification"]
    assert tuple(found) == CLASSIFIERS


def test_every_registered_file_has_a_row():
    files = Path(heads.__file__).parent.glob("*.py")
    registering = {path.stem for path in files if "@register_head(" in path.read_text()}
    assert registering == set(BUILT_IN)
