import json
from pathlib import Path

import pytest

from encoder_ablations.data.checks.training_check import check_dataset
from encoder_ablations.data.datasets.spec import DatasetSpec
from encoder_ablations.data.synthetic import terrain
from encoder_ablations.data.synthetic.terrain import generate_terrain
from encoder_ablations.utils.config import build, find_config, read_yaml
from encoder_ablations.utils.errors import InputError

PARAMETERS = {"train": 4, "val": 2, "test": 2, "size": 48, "seed": 0}


def contents(root: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()
    }


def test_generated_terrain_is_the_dataset_of_its_yaml(tmp_path, monkeypatch):
    monkeypatch.setenv("DATASETS_ROOT", str(tmp_path))
    path = find_config("datasets", "mars_terrain")
    spec = build(DatasetSpec, read_yaml(path), path)
    generate_terrain(tmp_path / spec.root, train=12, val=6, test=6, size=96, seed=0)
    checked = check_dataset(spec)
    assert {split: len(dataset) for split, dataset in checked.datasets.items()} == {
        "train": 12,
        "val": 6,
        "test": 6,
    }
    assert checked.warnings == []
    assert checked.datasets["train"][0].image.shape == (96, 96, 3)


def test_equal_parameters_give_equal_files_and_another_seed_does_not(tmp_path):
    for name in ("a", "b"):
        generate_terrain(tmp_path / name, **PARAMETERS)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    generate_terrain(tmp_path / "c", **{**PARAMETERS, "seed": 1})
    first, other = contents(tmp_path / "a"), contents(tmp_path / "c")
    assert first.keys() == other.keys()
    assert all(first[name] != other[name] for name in first if name.startswith("images"))
    assert len({first[name] for name in first if name.startswith("images")}) == 8


def test_second_call_draws_nothing_and_a_broken_off_one_is_completed(tmp_path, monkeypatch):
    generate_terrain(tmp_path, **PARAMETERS)
    complete = contents(tmp_path)
    drawn = []
    original = terrain.draw_scene
    monkeypatch.setattr(
        terrain, "draw_scene", lambda *arguments: (drawn.append(1), original(*arguments))[1]
    )
    generate_terrain(tmp_path, **PARAMETERS)
    assert drawn == []
    (tmp_path / "images/train/train_00002.png").unlink()
    (tmp_path / "masks/test/test_00001.png").unlink()
    generate_terrain(tmp_path, **PARAMETERS)
    assert len(drawn) == 2
    assert contents(tmp_path) == complete


def test_an_image_does_not_depend_on_how_many_there_are(tmp_path):
    generate_terrain(tmp_path / "a", **PARAMETERS)
    generate_terrain(tmp_path / "b", **{**PARAMETERS, "train": 1, "val": 1})
    first, other = contents(tmp_path / "a"), contents(tmp_path / "b")
    assert all(first[name] == content for name, content in other.items() if name != "terrain.json")


@pytest.mark.parametrize("change", [{"train": 5}, {"size": 64}, {"seed": 7}])
def test_other_parameters_are_refused(tmp_path, change):
    generate_terrain(tmp_path, **PARAMETERS)
    before = contents(tmp_path)
    with pytest.raises(
        InputError, match=r"holds terrain with other parameters .*Choose another folder"
    ):
        generate_terrain(tmp_path, **{**PARAMETERS, **change})
    assert contents(tmp_path) == before


def test_somebody_elses_data_are_left_alone(tmp_path):
    (tmp_path / "images/train").mkdir(parents=True)
    with pytest.raises(InputError, match="already holds a dataset that was not generated"):
        generate_terrain(tmp_path, **PARAMETERS)
    assert contents(tmp_path) == {}


@pytest.mark.parametrize("content", ["", "[]", "{", json.dumps({"version": 0})])
def test_damaged_marker_is_named(tmp_path, content):
    (tmp_path / "terrain.json").write_text(content)
    with pytest.raises(InputError, match="terrain"):
        generate_terrain(tmp_path, **PARAMETERS)


@pytest.mark.parametrize(
    ("change", "message"), [({"val": 0}, "'val' .* at least one"), ({"size": 31}, "at least 32")]
)
def test_impossible_parameters_are_refused(tmp_path, change, message):
    with pytest.raises(InputError, match=message):
        generate_terrain(tmp_path, **{**PARAMETERS, **change})
    assert contents(tmp_path) == {}
