import re

import pytest

from encoder_ablations.data.palette import colors_of
from encoder_ablations.data.spec import DatasetSpec
from encoder_ablations.utils.config import build, config_names, find_config, read_yaml
from encoder_ablations.utils.errors import InputError


@pytest.mark.parametrize("name", config_names("datasets"))
def test_every_dataset_builds_and_says_what_it_is(name):
    path = find_config("datasets", name)
    spec = build(DatasetSpec, read_yaml(path), path)
    assert spec.name == name
    assert len(set(colors_of(spec))) == len(spec.classes)
    head = path.read_text().split("\nname:")[0]
    assert all(line.startswith("#") for line in head.splitlines())
    assert re.search("Get it:.*Layout:", head, re.DOTALL)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"ignore_ids": [-1]}, "ignore_ids.0"),
        ({"ignore_ids": [65536]}, "ignore_ids.0"),
        ({"value_map": {-1: 0}}, "value_map"),
        ({"value_map": {0: 3}}, "value_map sends 0 to 3"),
    ],
)
def test_values_that_no_mask_can_hold_are_refused(make_dataset, change, message):
    with pytest.raises(InputError, match=message):
        make_dataset(**change)
