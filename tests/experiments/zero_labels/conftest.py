"""Studies of heads without training in a world of colours."""

from pathlib import Path

import pytest
import yaml
from toy_colors import ENCODER, HEAD, make_squares

from encoder_ablations.experiments.cli import main
from encoder_ablations.experiments.runs.folder import load_run

RECIPE = {
    "steps": 2,
    "batch_size": 2,
    "evaluate_every": 2,
    "augmentation": {"crop": [32, 32]},
    "schedule": {"warmup_steps": 1},
}


@pytest.fixture(scope="session")
def squares(tmp_path_factory):
    return make_squares(tmp_path_factory.mktemp("squares"))


def write(folder: Path, squares, **changes) -> Path:
    """A study of the colour head alone, or with changes."""
    study = {
        "name": "colors",
        "encoders": [ENCODER],
        "segmenters": [HEAD],
        "datasets": [squares.model_dump(mode="json")],
        "fractions": [1.0],
        "seeds": [0, 1],
        "recipe": RECIPE,
    }
    path = folder / "colors.yaml"
    path.write_text(yaml.safe_dump(study | changes))
    return path


@pytest.fixture
def write_study(squares, tmp_path, monkeypatch):
    """write_study(**changes) -> a study's YAML in the current folder."""
    monkeypatch.chdir(tmp_path)
    return lambda **changes: str(write(tmp_path, squares, **changes))


@pytest.fixture(scope="module")
def mixed(squares, tmp_path_factory):
    """The folder of a finished study: two methods without labels, and a head that learns."""
    folder = tmp_path_factory.mktemp("mixed")
    heads = [{"name": HEAD}, {"name": HEAD, "method": "farthest"}, "linear"]
    study = write(folder, squares, segmenters=heads, fractions=[0, 0.5])
    output = folder / "colors"
    assert main(["run", str(study), "--output", str(output), "--device", "cpu"]) == 0
    return output


TEACHING = RECIPE | {"steps": 4}


@pytest.fixture(scope="module")
def teachers(squares, tmp_path_factory):
    """Folders of finished runs: without labels always right and always wrong, and a linear head."""
    folder = tmp_path_factory.mktemp("teachers")
    heads = [{"name": HEAD}, {"name": HEAD, "method": "farthest"}, {"name": "linear"}]
    changes = {"segmenters": heads, "fractions": [0, 0.5], "seeds": [0], "recipe": TEACHING}
    output = folder / "teachers"
    study = str(write(folder, squares, **changes))
    assert main(["run", study, "--output", str(output), "--device", "cpu"]) == 0
    titles = {f"{HEAD} nearest": "right", f"{HEAD} farthest": "wrong", "linear": "linear"}
    runs = {load_run(run).spec.segmenter.title: run for run in output.glob("runs/*")}
    return {titles[title]: run for title, run in runs.items()}


@pytest.fixture
def arms(write_study, teachers):
    """arms(teacher, threshold, **changes) -> a study's YAML with and without that teacher.

    ``recipe`` holds only what differs; ``precision`` goes with ``threshold``.
    """

    def write(teacher="right", threshold=0.3, precision=None, recipe=(), **changes):
        choice = {"run": str(teachers[teacher]), "threshold": threshold}
        if precision is not None:
            choice["precision"] = precision
        settings = {"segmenters": ["linear"], "fractions": [0.5], "seeds": [0]}
        settings |= {"recipe": TEACHING | dict(recipe), "pseudo_labels": [None, choice]}
        return write_study(**settings | changes)

    return write
