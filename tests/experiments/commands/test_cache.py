"""``ablate cache`` from the command line, and a run that reads what it wrote."""

import json

import numpy as np
import pytest
import yaml
from PIL import Image

from encoder_ablations.data.datasets.folder import FolderDataset
from encoder_ablations.data.loading.balancing import Mixed
from encoder_ablations.data.loading.set_files import set_folder
from encoder_ablations.data.loading.stored_set import StoredSet
from encoder_ablations.encoders.references import load_encoder
from encoder_ablations.experiments.cli import main
from encoder_ablations.experiments.runs.preparation import prepare_data
from encoder_ablations.experiments.runs.spec import RunSpec
from encoder_ablations.segmenters.references import load_segmenter
from encoder_ablations.utils.config import build
from encoder_ablations.utils.errors import InputError


@pytest.fixture
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def dataset_yaml(tmp_path, terrain):
    path = tmp_path / "terrain.yaml"
    path.write_text(yaml.safe_dump(terrain.model_dump(mode="json", exclude_none=True)))
    return str(path)


def test_runs_read_the_set_and_end_with_the_same_numbers(
    own_cache, dataset_yaml, terrain, tmp_path, capsys
):
    arguments = [
        "train",
        "--encoder",
        "vit_ti16",
        "--segmenter",
        "linear",
        "--dataset",
        dataset_yaml,
    ]
    arguments += [
        "encoder.weights=random",
        "recipe.steps=2",
        "recipe.batch_size=2",
        "recipe.evaluate_every=1",
    ]
    arguments += ["recipe.augmentation.crop=[32,32]", "--device", "cpu", "--output"]
    assert main([*arguments, str(tmp_path / "before")]) == 0
    assert "cached set" not in capsys.readouterr().out
    assert main(["cache", dataset_yaml]) == 0
    assert "mars_terrain/test: 8 images in" in capsys.readouterr().out
    assert main([*arguments, str(tmp_path / "after")]) == 0
    folder = set_folder(FolderDataset(terrain, "train"), None).parent
    assert (
        capsys.readouterr().out.count(
            f"reading images from the cached set in {folder} (train-full, val-full"
        )
        == 1
    )
    first, second = (
        json.loads(next((tmp_path / name).rglob("record.json")).read_text())
        for name in ("before", "after")
    )
    for key in ("metrics", "confusion_matrix", "curves", "data"):
        assert first[key] == second[key]
    assert first["run_id"] == second["run_id"]
    assert main(["cache", dataset_yaml, "--remove"]) == 0
    assert capsys.readouterr().out.count("deleted") == 3


def test_a_prepared_run_reads_all_its_splits_from_sets(own_cache, dataset_yaml, terrain):
    assert main(["cache", dataset_yaml]) == 0
    parts = {
        "encoder": load_encoder("vit_ti16"),
        "segmenter": load_segmenter("linear"),
        "dataset": terrain,
    }
    spec = build(RunSpec, parts, "test")
    data = prepare_data(spec)
    assert all(
        isinstance(each, StoredSet)
        for each in (data.train.samples, data.val.samples, data.report.samples)
    )


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        (["--short-side", "7"], "--short-side 7: allowed are 32 and more."),
        (["--max-gb", "0"], "--max-gb 0: allowed is more than 0."),
        (
            ["--max-gb", "0.0001"],
            " GiB, more than --max-gb 0.0001. Choose a smaller --short-side, or raise --max-gb",
        ),
    ],
)
def test_what_cannot_be_is_said_in_a_line(own_cache, dataset_yaml, extra, message, capsys):
    assert main(["cache", dataset_yaml, *extra]) == 2
    assert message in capsys.readouterr().err


def test_removing_what_is_not_there(own_cache, dataset_yaml, capsys):
    assert main(["cache", dataset_yaml, "--remove"]) == 0
    assert "there was no such set" in capsys.readouterr().out


def test_a_full_disk_is_found_before_anything_is_written(
    own_cache, dataset_yaml, terrain, monkeypatch, capsys
):
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": 1000})())
    assert main(["cache", dataset_yaml]) == 2
    assert "0.00 GiB left" in capsys.readouterr().err
    assert not set_folder(FolderDataset(terrain, "train"), None).exists()


def test_a_share_of_positives_needs_two_classes(terrain, own_cache, tmp_path):
    parts = {"encoder": load_encoder("vit_ti16"), "segmenter": load_segmenter("linear")}
    recipe = {"pos_ratio": 0.75}
    with pytest.raises(InputError, match=r"pos_ratio needs a dataset of two classes.* has 3"):
        prepare_data(build(RunSpec, {**parts, "dataset": terrain, "recipe": recipe}, "test"))
    for split in ("train", "val"):
        for number in range(8):
            mask = np.zeros((32, 32), np.uint8)
            mask[:4] = number < 2
            for kind, pixels in (("images", np.zeros((32, 32, 3), np.uint8)), ("masks", mask)):
                path = tmp_path / "binary" / kind / split / f"{number}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(pixels).save(path)
    dataset = {
        "name": "binary",
        "root": str(tmp_path / "binary"),
        "classes": ["background", "object"],
    }
    dataset["splits"] = {"train": "train", "val": "val"}
    spec = build(RunSpec, {**parts, "dataset": dataset, "recipe": recipe}, "test")
    data = prepare_data(spec)
    assert isinstance(data.train.indices, Mixed)
    shown = data.train.indices.draw(np.random.default_rng(0))
    assert sum(bool((data.train.samples[int(index)].mask == 1).any()) for index in shown) == round(
        0.75 * len(shown)
    )
