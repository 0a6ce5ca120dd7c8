"""The YAML of a corrected copy says what it must, whatever the original's looks like."""

from pathlib import Path

import pytest
import yaml

from encoder_ablations.data.checks.copied_yaml import copied_yaml
from encoder_ablations.data.datasets.spec import DatasetSpec
from encoder_ablations.utils.config import read_yaml

NAMES = {"a": "a", "b": "b"}


def spec_of(**content) -> DatasetSpec:
    splits = {"train": "tr", "val": "va"}
    return DatasetSpec(
        **{"name": "rocks", "root": "old", "classes": ("x", "y"), "splits": splits, **content}
    )


def copied(spec: DatasetSpec, text: str | None, tmp_path: Path, names=NAMES) -> str:
    source = None
    if text is not None:
        source = tmp_path / "rocks.yaml"
        source.write_text(text)
    made = copied_yaml(spec, Path("/new"), names, source)
    expected = spec.model_copy(
        update={
            "name": "rocks_fixed",
            "root": "/new",
            "splits": {"train": "train", "val": "val"},
            "images": "images",
            "masks": "masks",
            "hub": None,
        }
    )
    read = DatasetSpec.model_validate(yaml.safe_load(made))
    assert read == expected.model_copy(update={"scene_pattern": read.scene_pattern})
    return made


BODY = "root: old\nclasses: [x, y]\nsplits: {train: tr, val: va}\n"


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        (f"# head\nname: rocks\n{BODY}", "# head"),
        (
            f"name: rocks\n# why\nvalue_map: {{0: 0, 255: 1}}  # inline\n{BODY}",
            "# why\nvalue_map: {0: 0, 255: 1}  # inline",
        ),
        (
            f"# head\nbase: other.yaml\n# why\nname: rocks\n{BODY}",
            "# head\n# why\nname: rocks_fixed",
        ),
        (f"name: rocks\n{BODY}ignore_ids:\n- 255\n# tail", "ignore_ids:\n- 255\n# tail"),
        (
            f"name: rocks\n{BODY}colors:\n  # of the paper\n  - [1, 2, 3]\n  - [4, 5, 6]",
            "  # of the paper\n  - [1, 2, 3]",
        ),
        ("{name: rocks, root: old, classes: [x, y], splits: {train: tr, val: va}}", ""),
        (f"name: rocks\nimages: &folder photos\nmasks: *folder\n{BODY}", ""),
    ],
)
def test_comments_stay_and_the_settings_are_right(tmp_path, text, kept):
    (tmp_path / "rocks.yaml").write_text(text)
    given = {
        key: value for key, value in read_yaml(tmp_path / "rocks.yaml").items() if key != "base"
    }
    assert kept in copied(spec_of(**given), text, tmp_path)


def test_what_was_tried_on_the_command_line_goes_before_the_file(tmp_path):
    text = f"name: rocks\n{BODY}# eleven\nignore_ids: [11]\n# a try\nreduce_zero_label: true\n"
    made = copied(spec_of(ignore_ids=(255,), value_map={0: 0, 9: 1}), text, tmp_path)
    assert "# eleven\nignore_ids: [255]\n" in made
    assert "# a try\nreduce_zero_label: false\n" in made
    assert "value_map:" in made


def test_without_a_yaml_there_is_one_line_of_comment(tmp_path):
    made = copied(spec_of(images="photos", ignore_ids=(11,)), None, tmp_path)
    assert made.startswith(
        "# The dataset rocks, corrected by  ablate lint --fix\nname: rocks_fixed\n"
    )


@pytest.mark.parametrize(
    ("pattern", "names", "kept"),
    [
        ("^([^_]+)_", {"a_1": "a_1", "b_1": "b_1"}, "^([^_]+)_"),
        ("^(.+?)/", {"a/1": "a__1", "b/1": "b__1"}, "^(.+?)__"),
        ("^([^_]+)_", {"a_1": "a_1", "b?_1": "b__1"}, "^([^_]+)_"),
        ("^(.+)x", {"1x": "1", "2x": "2"}, None),
        ("^(..)", {"a?1": "a_1", "a*1": "a_1_2"}, None),
    ],
)
def test_a_scene_pattern_stays_where_it_finds_the_same_scenes(tmp_path, pattern, names, kept):
    text = f"name: rocks\n{BODY}# one drive each\nscene_pattern: '{pattern}'\n"
    made = copied(spec_of(scene_pattern=pattern), text, tmp_path, names)
    assert DatasetSpec.model_validate(yaml.safe_load(made)).scene_pattern == kept
    assert ("# one drive each" in made) == (kept is not None)
    assert ("does not fit the names here" in made) == (kept is None)
