"""The list of the page's parts."""

from pathlib import Path

import pytest

from encoder_ablations.experiments.reporting.page import parts
from encoder_ablations.experiments.reporting.text.table import Table

FOLDER = Path(parts.__file__).parent


@pytest.mark.parametrize(
    ("listed", "folder"), [(parts.OF_SETTINGS, "of_settings"), (parts.OF_STUDY, "of_study")]
)
def test_every_part_has_its_template_and_every_template_is_listed(listed, folder):
    ids = [part.id for part in listed]
    assert len(ids) == len(set(ids))
    assert {path.stem for path in (FOLDER / folder).glob("*.html")} == set(ids)


def test_parts_without_anything_to_show_are_left_out():
    some = Table("", ["a"], [["1"]])
    values = {"first": Table("", ["a"], []), "second": some, "third": []}
    shown = [parts.Part("x", "X", ("first", "second")), parts.Part("y", "Y", ("third",))]
    assert parts.shown_parts([*shown, parts.Part("z", "Z")], values) == [
        shown[0],
        parts.Part("z", "Z"),
    ]
