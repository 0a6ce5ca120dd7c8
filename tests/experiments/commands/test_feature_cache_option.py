"""``--feature-cache-gb``: an execution option, so it names no other run and changes no record."""

import json
from pathlib import Path

import pytest

from encoder_ablations.data.references import load_dataset
from encoder_ablations.encoders.spec import EncoderSpec
from encoder_ablations.experiments.cli import main
from encoder_ablations.experiments.runs.spec import RunSpec
from encoder_ablations.segmenters.heads.linear import LinearSpec

SETTINGS = [
    "encoder.weights=random",
    "encoder.freeze=body",
    "encoder.channels=32",
    "recipe.steps=4",
]
SETTINGS += ["recipe.batch_size=2", "recipe.evaluate_every=2", "recipe.augmentation.crop=[64,64]"]
SETTINGS += ["recipe.augmentation.views=2"]


@pytest.fixture
def command(tmp_path, terrain, monkeypatch):
    """A training command; its dataset lies in the current folder, a temporary one."""
    monkeypatch.chdir(tmp_path)
    Path("data.yaml").write_text(json.dumps(terrain.model_dump(mode="json")))
    return [
        "train",
        "--encoder",
        "vit_ti16",
        "--segmenter",
        "linear",
        "--dataset",
        "data.yaml",
        "--device",
        "cpu",
    ]


def record_in(folder):
    (path,) = Path(folder).glob("runs/*/record.json")
    return json.loads(path.read_text())


def test_records_are_the_same_with_and_without(command, capsys):
    assert main([*command, *SETTINGS, "--output", "without"]) == 0
    cached = ["--feature-cache-gb", "0.5", "--feature-cache", "features"]
    for output in ("filling", "reading"):
        assert main([*command, *SETTINGS, "--output", output, *cached]) == 0
    without, filling, reading = (record_in(name) for name in ("without", "filling", "reading"))
    for key in without.keys() - {"started", "finished", "environment", "cost", "checksum"}:
        assert without[key] == filling[key] == reading[key], key
    assert "feature_cache" not in without["environment"]
    assert reading["environment"]["feature_cache"]["computed"] == 0
    assert filling["environment"]["feature_cache"]["computed"] > 0

    (run,) = Path("reading/runs").iterdir()
    matrices = []
    for name, options in {"plain.json": [], "cached.json": cached}.items():
        assert main(["evaluate", str(run), "--device", "cpu", "--json", name, *options]) == 0
        matrices.append(json.loads(Path(name).read_text())["confusion_matrix"])
    assert matrices == [without["confusion_matrix"]] * 2


def test_rounding_counts_in_evaluation_too(command):
    rounded = [*SETTINGS, "recipe.feature_precision=bf16", "encoder.channels=64"]
    assert main([*command, *rounded, "--output", "rounded"]) == 0
    assert main([*command, *SETTINGS, "encoder.channels=64", "--output", "exact"]) == 0
    assert record_in("rounded")["run_id"] != record_in("exact")["run_id"]
    assert record_in("rounded")["curves"]["loss"] != record_in("exact")["curves"]["loss"]
    (run,) = Path("rounded/runs").iterdir()
    assert main(["evaluate", str(run), "--device", "cpu", "--json", "scores.json"]) == 0
    scores = json.loads(Path("scores.json").read_text())
    assert scores["confusion_matrix"] == record_in("rounded")["confusion_matrix"]


BAD = {
    "negative": (
        ["--feature-cache-gb", "-1"],
        "--feature-cache-gb -1: allowed are 0 (off) and more",
    ),
    "endless": (["--feature-cache-gb", "inf"], "allowed are 0 (off) and more"),
    "no size": (["--feature-cache", "there"], "add --feature-cache-gb N"),
    "nothing frozen": (
        ["recipe.feature_precision=fp16", "encoder.freeze=none"],
        "feature_precision fp16 rounds what a frozen body gives, but encoder.freeze is none",
    ),
    "no view": (["recipe.augmentation.views=0"], "recipe.augmentation.views"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input(command, capsys, name):
    options, message = BAD[name]
    assert main([*command, *SETTINGS, *options]) == 2
    error = capsys.readouterr().err.strip()
    assert message in error
    assert len(error.splitlines()) == 1


LEFT_OUT = {"task", "labels", "image_classes", "privacy", "federation", "pseudo_labels", "compile"}


def test_the_specification_of_a_run_holds_every_setting():
    spec = RunSpec(
        encoder=EncoderSpec(name="vit_ti16"),
        segmenter=LinearSpec(name="linear"),
        dataset=load_dataset("camvid"),
    )
    content = spec.model_dump(mode="json")
    for part, written in (
        (spec, content),
        (spec.dataset, content["dataset"]),
        (spec.recipe, content["recipe"]),
        (spec.recipe.augmentation, content["recipe"]["augmentation"]),
    ):
        # what has its own part of the documentation is left out where it is the default
        assert set(written) == set(type(part).model_fields) - LEFT_OUT
    assert RunSpec.model_validate(content).run_id == spec.run_id
    views = spec.recipe.augmentation.model_copy(update={"views": 1})
    recipe = spec.recipe.model_copy(update={"augmentation": views})
    assert spec.model_copy(update={"recipe": recipe}).run_id != spec.run_id
