"""What lies in a run's folder is that run's, and whole: anything else is refused by name, and stops
no other run."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from encoder_ablations.engine.evaluation.per_image import load_per_image
from encoder_ablations.engine.training.checkpoints import save_checkpoint
from encoder_ablations.experiments.cli import main
from encoder_ablations.experiments.reporting.figures import qualitative
from encoder_ablations.experiments.reporting.findings.collection import collect
from encoder_ablations.experiments.runs.execution import Execution
from encoder_ablations.experiments.runs.folder import load_run
from encoder_ablations.experiments.runs.record import PER_IMAGE, load_record, save_record
from encoder_ablations.experiments.runs.run import execute_run
from encoder_ablations.experiments.studies.study import load_study_spec, plan
from encoder_ablations.experiments.workers.progress import ProgressFile, read_progress
from encoder_ablations.utils.checked_json import write_checked
from encoder_ablations.utils.errors import InputError

ENCODER = {"name": "test_resnet", "weights": "random", "channels": 32, "label": "dark"}
RECIPE = {"steps": 4, "batch_size": 2, "evaluate_every": 2, "augmentation": {"crop": [64, 64]}}
STUDY = {
    "name": "pair",
    "encoders": [ENCODER],
    "segmenters": ["linear"],
    "seeds": [0, 1],
    "recipe": RECIPE,
}


@pytest.fixture(scope="module")
def outputs(tmp_path_factory, terrain):
    """A study of two finished runs that differ in the seed alone, so that every file of one fits
    the other."""
    folder = tmp_path_factory.mktemp("pair")
    (folder / "pair.yaml").write_text(
        yaml.safe_dump(STUDY | {"datasets": [terrain.model_dump(mode="json")]})
    )
    assert (
        main(
            [
                "run",
                str(folder / "pair.yaml"),
                "--device",
                "cpu",
                "--output",
                str(folder / "outputs"),
                "--keep-last",
            ]
        )
        == 0
    )
    return folder


@pytest.fixture
def runs(outputs, tmp_path, monkeypatch):
    """The folders of both runs, in a copy of the study in the current folder."""
    shutil.copytree(outputs, tmp_path / "copy")
    monkeypatch.chdir(tmp_path / "copy")
    return sorted(Path("outputs/runs").iterdir())


def rewrite(path, **changes):
    """Change a file that holds its own checksum, with the right checksum for what it then holds."""
    write_checked(path, json.loads(path.read_text()) | changes)


def without_checksum(path):
    content = json.loads(path.read_text())
    path.write_text(json.dumps({key: value for key, value in content.items() if key != "checksum"}))


def better(path):
    scores = json.loads(path.read_text())["metrics"]
    rewrite(path, metrics=scores | {"miou": 0.999})


def better_class(path):
    scores = json.loads(path.read_text())["metrics"]
    rewrite(path, metrics=scores | {"per_class_dice": scores["per_class_dice"] | {"crater": 0.999}})


def smaller_matrix(path):
    rewrite(path, confusion_matrix=[[5, 0], [0, 5]])


def other_classes(path):
    data = json.loads(path.read_text())["data"]
    rewrite(path, data=data | {"class_names": data["class_names"][::-1]})


def other_spec(path):
    spec = json.loads(path.read_text())["spec"]
    rewrite(path, spec=spec | {"seed": 7})


def without_scores(path):
    rewrite(path, metrics=None)


def edited_config(path):
    path.write_text(path.read_text().replace("lr: ", "lr: 1", 1))


def renamed_config(path):
    path.write_text(path.read_text().partition("\n")[2])


def of_another(path):
    (other,) = [run for run in path.parents[1].iterdir() if run != path.parent]
    shutil.copy(other / path.name, path)


def other_files(path):
    rewrite(path, dataset_sha256="0" * 64)


FAULTS = {
    "record without checksum": ("record.json", without_checksum, "has no checksum"),
    "record with another score": ("record.json", better, "miou 0.999"),
    "record with another class's score": (
        "record.json",
        better_class,
        "per_class_dice.crater 0.999",
    ),
    "record with a matrix of other classes": (
        "record.json",
        smaller_matrix,
        "not one of 3 classes",
    ),
    "record with other classes": ("record.json", other_classes, "other classes"),
    "record with another specification": ("record.json", other_spec, "its settings are those of"),
    "record without scores": ("record.json", without_scores, "finished without metrics"),
    "record of another run": ("record.json", of_another, "is the record of another run"),
    "config of another run": ("config.yaml", of_another, "is that of another run"),
    "config edited": ("config.yaml", edited_config, "was edited"),
    "config without its first line": ("config.yaml", renamed_config, "was edited"),
    "data deleted": ("data.json", Path.unlink, "is missing"),
    "data truncated": (
        "data.json",
        lambda path: path.write_text(path.read_text()[:40]),
        "is damaged",
    ),
    "data edited": (
        "data.json",
        lambda path: path.write_text(path.read_text().replace("a", "b")),
        "data.json",
    ),
    "data without checksum": ("data.json", without_checksum, "has no checksum"),
    "data of another run": ("data.json", of_another, "is that of another run"),
    "data of other files": ("data.json", other_files, "names other files than the record"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_it_is_named_by_every_command_and_the_other_run_goes_on(name, runs, capsys):
    bad, good = runs
    file, damage, message = FAULTS[name]
    damage(bad / file)
    before = {path: path.read_bytes() for path in bad.rglob("*") if path.is_file()}

    assert main(["status", "outputs"]) == 2
    out = capsys.readouterr().out
    assert "2 runs: 1 finished, 1 unreadable" in out
    (line,) = [line for line in out.splitlines() if line.startswith("  unreadable")]
    assert message in line
    assert str(bad / file) in line

    study = collect(Path("outputs"))
    assert [record.run_id for record in study.records] == [good.name]
    (line,) = study.damaged
    assert message in line

    assert main(["evaluate", "outputs"]) == 2
    error = capsys.readouterr().err
    assert f"left out: {line}" in error
    assert main(["evaluate", str(bad), "--device", "cpu"]) == 2
    assert message in capsys.readouterr().err

    assert (
        main(
            [
                "run",
                "pair.yaml",
                "--device",
                "cpu",
                "--output",
                "outputs",
                "seeds=[0,1,2]",
                "--extend",
            ]
        )
        == 2
    )
    error = capsys.readouterr().err
    assert error.count(line) == 1, "it is said once"
    assert len(collect(Path("outputs")).records) == 2, "the new run was computed"
    assert before == {path: path.read_bytes() for path in before}, (
        "nothing of the refused run is overwritten"
    )


def test_an_interrupted_run_without_its_data_file_does_not_go_on(runs, capsys):
    bad = runs[0]
    (bad / "record.json").unlink()
    (bad / "data.json").unlink()
    assert main(["run", "pair.yaml", "--device", "cpu", "--output", "outputs"]) == 2
    assert re.search(
        r"left out: .*data\.json is missing.*delete the run's folder", capsys.readouterr().err
    )
    spec = next(spec for spec in plan(load_study_spec("pair.yaml")) if spec.run_id == bad.name)
    with pytest.raises(InputError, match="is missing"):
        execute_run(spec, bad, Execution("cpu"))
    shutil.rmtree(bad)
    assert main(["run", "pair.yaml", "--device", "cpu", "--output", "outputs"]) == 0, (
        "the way out that it names"
    )


def other_run(path):
    of_another_checkpoint = path.parents[2]
    (other,) = [run for run in of_another_checkpoint.iterdir() if run != path.parents[1]]
    shutil.copy(other / "checkpoints" / path.name, path)


def changed_weight(path):
    content = torch.load(path, weights_only=True)
    next(iter(content["model"].values())).view(-1)[0] += 1e-3
    torch.save(content, path)


def earlier_step(path):
    content = torch.load(path, weights_only=True)
    save_checkpoint(
        path, {key: value for key, value in content.items() if key != "sha256"} | {"step": 1}
    )


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (other_run, "is a checkpoint of another run"),
        (changed_weight, "is damaged"),
        (earlier_step, "of step 1, but"),
    ],
)
def test_weights_that_are_not_the_runs_own_are_not_evaluated(
    damage, message, runs, terrain, capsys
):
    bad, good = runs
    damage(bad / "checkpoints/best.pt")
    (bad.parent / "notes.txt").write_text("no run")
    assert main(["evaluate", str(bad), "--device", "cpu"]) == 2
    assert message in capsys.readouterr().err
    Path("moon.yaml").write_text(yaml.safe_dump(terrain.model_dump(mode="json") | {"name": "moon"}))
    assert main(["evaluate", "outputs", "--dataset", "moon.yaml", "--device", "cpu"]) == 2
    error = capsys.readouterr().err
    assert re.search(rf"left out: .*best\.pt.*{message}", error)
    assert list(good.glob("transfer/moon-test-*.json"))
    assert not list(bad.glob("transfer/*"))


def test_a_run_that_ends_refuses_weights_of_another_run_and_the_other_run_goes_on(runs, capsys):
    """Training is over but the record is not written: the best weights are read once more."""
    bad, good = runs
    for folder in runs:
        (folder / "record.json").unlink()
    shutil.copy(good / "checkpoints/best.pt", bad / "checkpoints/best.pt")
    assert main(["run", "pair.yaml", "--device", "cpu", "--output", "outputs"]) == 1
    assert re.search(r"failed: .*best\.pt is a checkpoint of another run", capsys.readouterr().err)
    assert (load_record(bad).status, load_record(good).status) == ("failed", "finished")


@pytest.mark.parametrize("command", ["status", "report", "evaluate"])
def test_commands_that_leave_a_run_out_say_so_by_their_exit_code(command, runs, capsys):
    """They do all that they can before."""
    assert main([command, "outputs"]) == 0
    bad, good = runs
    (bad / "record.json").write_text("{")
    capsys.readouterr()
    assert main([command, "outputs"]) == 2
    out, error = capsys.readouterr()
    assert bad.name in out + error
    assert "1 finished" in out or good.name in out or "dark" in out


def test_a_copy_of_a_run_under_another_name_is_no_second_run(runs, terrain, capsys):
    bad = runs[0]
    copy = bad.with_name("copy")
    shutil.copytree(bad, copy)
    with pytest.raises(InputError, match=r"copy/record\.json is the record of another run"):
        load_run(copy)
    assert len(collect(Path("outputs")).records) == 2
    assert main(["evaluate", str(copy), "--device", "cpu"]) == 2
    Path("moon.yaml").write_text(yaml.safe_dump(terrain.model_dump(mode="json") | {"name": "moon"}))
    assert main(["evaluate", "outputs", "--dataset", "moon.yaml", "--device", "cpu"]) == 2
    assert "left out: outputs/runs/copy/record.json" in capsys.readouterr().err
    assert not (copy / "transfer").exists()
    (copy / "record.json").unlink()
    assert main(["evaluate", str(copy), "--device", "cpu"]) == 2, (
        "unfinished, but its files name another run"
    )
    assert f"is that of another run, {bad.name}" in capsys.readouterr().err


def test_a_run_is_known_by_its_folder_however_that_is_written(runs, monkeypatch):
    monkeypatch.chdir(runs[0])
    assert load_run(Path()).run_id == runs[0].name
    assert load_run(Path("checkpoints/..")).run_id == runs[0].name


def test_counts_of_images_of_another_run_are_refused(runs):
    """Also where they add up to the same matrix, as they may in small sets."""
    bad, good = runs
    matrix = np.array(load_record(good).confusion_matrix)
    load_per_image(good / PER_IMAGE, matrix, good.name)
    with pytest.raises(
        InputError, match=rf"that of another run, {good.name}; this is the run {bad.name}"
    ):
        load_per_image(good / PER_IMAGE, matrix, bad.name)


@pytest.mark.parametrize("kind", ["image.jpg", "truth.png", "prediction.png"])
def test_pictures_of_another_run_are_not_shown(kind, runs):
    bad, good = runs
    (setting,) = collect(Path("outputs")).settings
    shown = qualitative.picture_grid(collect(Path("outputs")), setting, setting.encoders)
    assert (len(shown.rows), shown.notes) == (qualitative.MOST_IMAGES, [])
    assert shown.seed == load_record(bad).spec.seed
    name = f"{shown.rows[0].id}.{kind}"
    shutil.copy(good / "pictures" / name, bad / "pictures" / name)
    found = qualitative.picture_grid(collect(Path("outputs")), setting, setting.encoders)
    assert len(found.rows) == len(shown.rows) - 1
    assert f"{name} is of another run, {good.name}" in found.notes[0]


def test_progress_of_another_run_is_not_shown(tmp_path):
    ProgressFile(tmp_path, "other", 50)(7, "loss 1")
    assert read_progress(tmp_path, "mine") is None
    assert read_progress(tmp_path, "other").step == 7


def test_a_changed_record_needs_its_own_checksum(runs):
    """A text with another file's checksum in it, 64 zeros for instance, survives writing and
    reading."""
    record = load_record(runs[0])
    save_record(record.model_copy(update={"disclosures": ["0" * 64]}), runs[0])
    assert load_record(runs[0]).disclosures == ["0" * 64]
