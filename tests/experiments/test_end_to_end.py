"""Through the command line, as a user: a small study, killed and started again, reported,
evaluated."""

import errno
import json
import os
import re
import shutil
import signal
import time
from pathlib import Path

import numpy as np
import pytest
import yaml
from warm_processes import start_ablate

from encoder_ablations.engine.evaluation.per_image import load_per_image
from encoder_ablations.engine.training.checkpoints import CheckpointError
from encoder_ablations.engine.training.loop import Trainer
from encoder_ablations.experiments.cli import main
from encoder_ablations.experiments.reporting.findings.collection import collect
from encoder_ablations.experiments.runs.planned_run import locate
from encoder_ablations.experiments.runs.record import PER_IMAGE, load_record
from encoder_ablations.experiments.runs.run import execute_run
from encoder_ablations.experiments.studies.study import load_study_spec, plan
from encoder_ablations.experiments.workers import worker
from encoder_ablations.utils.errors import InputError

STUDY = {
    "name": "small",
    "encoders": [
        {"name": "test_resnet", "weights": "random", "channels": 32, "label": "darknet"},
        {"name": "test_vit", "weights": "random", "channels": 32, "label": "vit"},
    ],
    "segmenters": [
        {
            "base": "mask2former_small",
            "queries": 5,
            "hidden": 32,
            "heads": 4,
            "encoder_layers": 1,
            "decoder_layers": 1,
        }
    ],
    "fractions": [0.25, 1.0],
    "seeds": [0],
    "recipe": {
        "steps": 4,
        "batch_size": 2,
        "evaluate_every": 2,
        "augmentation": {"crop": [64, 64]},
        "schedule": {"warmup_steps": 1},
    },
}


@pytest.fixture
def study(tmp_path, terrain, monkeypatch):
    """The study's YAML in the current folder, a temporary one."""
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "small.yaml"
    path.write_text(yaml.safe_dump(STUDY | {"datasets": [terrain.model_dump(mode="json")]}))
    return path


@pytest.fixture(scope="module")
def outputs(tmp_path_factory, terrain):
    """The folder ``outputs`` after the study's two runs at 100 %."""
    folder = tmp_path_factory.mktemp("finished")
    path = folder / "small.yaml"
    path.write_text(
        yaml.safe_dump(STUDY | {"datasets": [terrain.model_dump(mode="json")], "fractions": [1.0]})
    )
    assert (
        main(["run", str(path), "--device", "cpu", "--output", str(folder / "outputs" / "small")])
        == 0
    )
    return folder / "outputs"


@pytest.fixture
def finished_study(study, outputs):
    """The study's two runs at 100 %, finished in ``outputs/small``."""
    shutil.copytree(outputs, "outputs")
    return study


def records(folder: Path):
    found = [json.loads(path.read_text()) for path in sorted(folder.glob("runs/*/record.json"))]
    return {record["run_id"]: record for record in found}


def what_counts(record):
    """What must be the same however often a run was interrupted."""
    keys = (
        "spec",
        "data",
        "metrics",
        "confusion_matrix",
        "curves",
        "convergence",
        "disclosures",
        "pictures",
    )
    return {key: record[key] for key in keys}


def test_study(study, capsys):
    assert main(["run", str(study), "--device", "cpu"]) == 0
    folder = Path("outputs/small")
    first = records(folder)
    assert len(first) == 4
    assert {record["status"] for record in first.values()} == {"finished"}
    assert {record["data"]["n_train"] for record in first.values()} == {6, 24}
    told = capsys.readouterr()
    assert told.err.splitlines()[-1] == "writing the report"
    out = told.out
    assert "darknet" in out
    assert str(folder / "report.html") in out
    page = (folder / "report.html").read_text()
    assert "darknet" in page
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert (folder / "runs.csv").read_text().count("\n") == 5

    # every image's own counts lie beside the record and add up to its matrix
    for name, record in first.items():
        images = load_per_image(
            folder / "runs" / name / PER_IMAGE, np.array(record["confusion_matrix"])
        )
        assert len(images.ids) == 8

    # a second call repeats nothing
    times = {path: path.stat().st_mtime_ns for path in folder.glob("runs/*/record.json")}
    assert main(["run", str(study), "--device", "cpu"]) == 0
    assert times == {path: path.stat().st_mtime_ns for path in folder.glob("runs/*/record.json")}

    # the resolved configuration of a run is that run
    run = next(iter(sorted(folder.glob("runs/*"))))
    capsys.readouterr()
    assert main(["train", "--config", str(run / "config.yaml"), "--output", str(folder)]) == 0
    assert f"run {run.name}: finished" in capsys.readouterr().out

    # evaluating the checkpoint again gives the recorded number
    assert main(["evaluate", str(run), "--json", "scores.json", "--device", "cpu"]) == 0
    scores = json.loads(Path("scores.json").read_text())
    assert scores["confusion_matrix"] == first[run.name]["confusion_matrix"]
    capsys.readouterr()
    assert main(["evaluate", str(run), "--json", "-", "--device", "cpu"]) == 0
    assert capsys.readouterr().out == Path("scores.json").read_text()
    assert main(["evaluate", str(folder)]) == 0
    assert main(["report", str(folder)]) == 0


@pytest.mark.slow
def test_killed_and_started_again(study, tmp_path):
    """``kill -9`` of the process group at several moments: the end is bit for bit that of an
    undisturbed study."""
    arguments = [str(study), "fractions=[1.0]"]
    assert main(["run", *arguments, "--output", "whole", "--device", "cpu"]) == 0
    arguments += ["--output", "killed", "--device", "cpu"]
    kills = 0
    for moment in (1, 2, 3):
        process = start_ablate("run", *arguments)
        deadline = time.monotonic() + 120
        while process.poll() is None and time.monotonic() < deadline:
            checkpoints = list(Path("killed").glob("runs/*/checkpoints/last.pt"))
            if len(checkpoints) + len(records(Path("killed"))) >= moment:
                os.killpg(process.pid, signal.SIGKILL)
                kills += 1
                break
            time.sleep(0.01)
        process.wait()
    assert kills >= 2
    assert start_ablate("run", *arguments).wait() == 0
    whole, killed = records(Path("whole")), records(Path("killed"))
    assert whole.keys() == killed.keys()
    for name in whole:
        assert what_counts(whole[name]) == what_counts(killed[name])


BAD = {
    "unknown command": (["trian"], "unknown command 'trian'. Did you mean 'train'?"),
    "unknown encoder": (
        ["train", "--encoder", "dinov2_b15", "--dataset", "camvid"],
        "Did you mean 'dinov2_b14', ",
    ),
    "unknown dataset": (
        ["train", "--encoder", "mae_b16", "--dataset", "camvit"],
        "Did you mean 'camvid'?",
    ),
    "unknown study": (["run", "demmo"], "Did you mean 'demo'?"),
    "no such file": (["run", "nowhere.yaml"], "there is no file nowhere.yaml"),
    "unknown key": (
        ["run", "STUDY", "recipe.stepz=3"],
        "unknown key 'recipe.stepz'. Did you mean 'steps'?",
    ),
    "impossible value": (
        ["run", "STUDY", "recipe.steps=0"],
        "'recipe.steps': input should be greater than or equal",
    ),
    "no image left": (["run", "STUDY", "fractions=[0.001]"], "fraction"),
    "wrong neck": (
        ["taps", "--encoder", "test_vit", "weights=random", "neck=fpn_concat"],
        "tap_pyramid",
    ),
    "wrong grid": (
        ["taps", "--encoder", "mae_b16", "weights=random", "grid=resampled_patch"],
        "patch 16",
    ),
    "stated fact": (
        ["taps", "--encoder", "vit_ti16", "weights=random", "patch_size=14"],
        "as 14, the model has 16",
    ),
    "no pyramid": (["taps", "--encoder", "mixer_s16_224", "weights=random"], "4, 8, 16 and 32"),
    "offline": (["taps", "--encoder", "mae_b16"], "weights: random"),
    "no weights": (["taps", "--encoder", "darknet53", "weights=pretrained"], "darknet53_in1k"),
    "missing weights": (["taps", "--encoder", "vit_ti16", "weights=gone.pth"], "gone.pth"),
    "size": (["taps", "--encoder", "vit_ti16", "weights=random", "--size", "5by5"], "HxW"),
    "no study": (["report", "empty"], "empty"),
    "device": (["run", "STUDY", "--device", "tpu"], "unknown device 'tpu'"),
    "no GPU": (["run", "STUDY", "--device", "cuda"], "PyTorch sees no CUDA device"),
    "output": (
        ["run", "STUDY", "--output", "small.yaml/below"],
        "cannot write to the folder small.yaml/below",
    ),
    "batch": (["run", "STUDY", "recipe.accumulation=3"], "not a multiple"),
    "twice": (["run", "STUDY", "seeds=[1,1]"], "seeds lists '1' twice"),
    "neither": (["evaluate", "empty"], "neither a run"),
    "incomplete": (["train", "--encoder", "mae_b16"], "--dataset"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_is_one_line_and_exit_code_2(name, study, capsys):
    arguments, message = BAD[name]
    if name == "no GPU":
        import torch

        if torch.cuda.is_available():
            pytest.skip("there is a GPU here")
    Path("empty").mkdir()
    assert main([str(study) if argument == "STUDY" else argument for argument in arguments]) == 2
    error = capsys.readouterr().err.strip()
    assert message in error
    assert len(error.splitlines()) == 1
    assert "Traceback" not in error
    assert not Path("outputs").exists() or not list(Path("outputs").rglob("record.json"))


DAMAGE = {
    "older schema": (
        lambda text: text.replace('"schema_version": 3', '"schema_version": 0'),
        "has schema version 0",
    ),
    "truncated": (lambda text: text[: len(text) // 2], "is damaged (JSONDecodeError)"),
    "nested": (lambda text: "[" * 100_000, "is damaged (RecursionError)"),
    "a long number": (lambda text: '{"run_id": ' + "9" * 10_000 + "}", "is damaged (ValueError)"),
    "edited": (lambda text: text.replace('"miou": ', '"miou": maybe ', 1), "is damaged"),
    "edited well": (
        lambda text: re.sub(r'"miou": [0-9.e-]+', '"miou": 0.999', text, count=1),
        "was edited after",
    ),
    "another run's": (None, "is the record of another run"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_a_bad_record_is_told_from_a_good_one(name, finished_study):
    change, message = DAMAGE[name]
    bad, good = sorted(Path("outputs/small").glob("runs/*/record.json"))
    bad.write_text(change(bad.read_text()) if change else good.read_text())
    found = {
        run.folder: run
        for run in locate(
            plan(load_study_spec(str(finished_study), ["fractions=[1.0]"])), Path("outputs/small")
        )
    }
    assert found[bad.parent].state == "unreadable"
    assert message in found[bad.parent].problem
    assert str(bad) in found[bad.parent].problem
    assert found[good.parent].state == "finished"


def test_a_bad_record_is_named_and_the_rest_goes_on(finished_study, capsys):
    """It is neither repeated nor overwritten nor shown in the report, and stops nothing else."""
    bad, gone = sorted(Path("outputs/small").glob("runs/*/record.json"))
    text = bad.read_text()[:300]
    bad.write_text(text)
    gone.unlink()
    assert main(["run", str(finished_study), "--device", "cpu", "fractions=[1.0]"]) == 2
    error = capsys.readouterr().err
    assert error.count(f"{bad} is damaged") == 1, "it is said once"
    assert "Traceback" not in error
    assert bad.read_text() == text
    assert load_record(gone.parent).status == "finished"
    assert main(["status", "outputs/small"]) == 2
    assert "2 runs: 1 finished, 1 unreadable" in capsys.readouterr().out


def test_a_refused_checkpoint_names_the_way_out(study, capsys, monkeypatch):
    """Repeating alone would fail again."""

    def fail(trainer, batches):
        raise CheckpointError("last.pt is damaged")

    monkeypatch.setattr(Trainer, "_step", fail)
    arguments = ["run", str(study), "--device", "cpu", "fractions=[1.0]"]
    assert main(arguments) == 1
    error = capsys.readouterr().err
    assert (
        "2 runs have a checkpoint that cannot be used: restore it and say --retry-failed" in error
    )
    assert "delete the run's folder" in error
    assert "repeats what failed" not in error


@pytest.mark.slow
def test_a_failed_run_is_recorded_and_repeated_only_on_request(study, capsys, monkeypatch):
    arguments = ["run", str(study), "--device", "cpu", "fractions=[1.0]"]
    step = Trainer._step

    def fail(trainer, batches):
        if "darknet" in trainer.folder.name and trainer.progress.step == 3:
            raise FloatingPointError("the loss is nan")
        return step(trainer, batches)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_step", fail)
        assert main(arguments) == 1
    found = {
        record["spec"]["encoder"]["label"]: record
        for record in records(Path("outputs/small")).values()
    }
    assert {name: record["status"] for name, record in found.items()} == {
        "darknet": "failed",
        "vit": "finished",
    }
    assert found["darknet"]["error"]["message"] == "the loss is nan"
    assert "1 run failed; --retry-failed repeats what failed" in capsys.readouterr().err
    assert main(["status", "outputs/small"]) == 0
    out = capsys.readouterr().out
    assert "2 runs: 1 finished, 1 failed" in out
    assert "FloatingPointError: the loss is nan" in out

    path = Path("outputs/small/runs", found["darknet"]["run_id"], "record.json")
    before = path.read_bytes()
    assert main(arguments) == 1
    assert path.read_bytes() == before
    assert main([*arguments, "--retry-failed"]) == 0
    assert load_record(path.parent).status == "finished"
    assert main(["run", str(study), "--device", "cpu", "fractions=[1.0]", "--output", "whole"]) == 0
    whole = records(Path("whole"))[path.parent.name]
    assert what_counts(json.loads(path.read_text())) == what_counts(whole), (
        "it went on from its checkpoint"
    )


def test_an_encoder_with_its_own_recipe_is_disclosed_and_compared(study):
    content = yaml.safe_load(study.read_text())
    content["encoders"][0]["recipe"] = {"optimizer": {"lr": 0.001}}
    study.write_text(yaml.safe_dump(content | {"fractions": [1.0]}))
    assert main(["run", str(study), "--device", "cpu"]) == 0
    found = {
        record["spec"]["encoder"]["label"]: record
        for record in records(Path("outputs/small")).values()
    }
    assert found["darknet"]["spec"]["recipe"]["optimizer"]["lr"] == 0.001
    assert found["vit"]["spec"]["recipe"]["optimizer"]["lr"] == 0.0001
    own = (
        "Trained with a recipe of its own (the study's → this encoder's): optimizer.lr 0.0001 → "
        "0.001."
    )
    assert own in found["darknet"]["disclosures"]
    assert not any("recipe of its own" in text for text in found["vit"]["disclosures"])
    page = Path("outputs/small/report.html").read_text()
    assert "recipe of its own" in page
    assert len(collect(Path("outputs/small")).settings) == 1


@pytest.mark.slow
def test_a_changed_study_is_not_mixed_with_the_old_one(finished_study, capsys):
    arguments = ["run", str(finished_study), "--device", "cpu", "fractions=[1.0]"]
    assert main(["run", "outputs/small/study.yaml", "--dry-run"]) == 0
    assert "2 runs: 2 finished" in capsys.readouterr().out
    assert main([*arguments, "seeds=[0,1]", "recipe.steps=5"]) == 2
    error = capsys.readouterr().err
    assert "seeds [0] → [0, 1]; recipe.steps 4 → 5" in error
    assert "--extend" in error
    assert "name=" in error
    assert len(records(Path("outputs/small"))) == 2
    assert main([*arguments, "seeds=[0,1]", "--extend"]) == 0
    assert len(records(Path("outputs/small"))) == 4
    assert main([*arguments, "seeds=[1,0]", "--dry-run"]) == 0, (
        "the new version is the folder's study now"
    )
    assert main([*arguments, "seeds=[0,1]", "name=other", "--dry-run"]) == 0
    published = (
        "published=[{encoder: %s, segmenter: mask2former, dataset: %s, miou: 47.3, source: Doe "
        "2024}]"
    )
    named = published % ("vit", "mars_terrain")
    assert main([*arguments, "seeds=[0,1]", named]) == 0, "a published score is no other version"
    assert "47.3 [1]" in capsys.readouterr().out
    assert "Doe 2024" in Path("outputs/small/study.yaml").read_text()
    capsys.readouterr()
    Path("outputs/small/study.yaml").write_text("encoders: [")
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert "outputs/small/study.yaml, line 1: not valid YAML" in error
    assert "--extend" in error
    assert main([*arguments, "--extend"]) == 0
    assert main(arguments) == 0, "the file is whole again"


def test_runs_that_cannot_start_do_not_keep_the_others(study, capsys):
    content = yaml.safe_load(study.read_text())
    content["encoders"][0]["freeze"] = 99
    study.write_text(yaml.safe_dump(content | {"fractions": [1.0]}))
    assert main(["run", str(study), "--device", "cpu"]) == 2
    error = capsys.readouterr().err
    assert "not started (1 run)" in error
    assert "99 blocks asked for" in error
    assert [
        record["spec"]["encoder"]["label"] for record in records(Path("outputs/small")).values()
    ] == ["vit"]


def test_a_run_whose_input_breaks_later_is_recorded(study, capsys, monkeypatch):
    def broken(spec, *_):
        if spec.encoder.label == "darknet":
            raise InputError("the masks are gone")
        return execute_run(spec, *_)

    monkeypatch.setattr(worker, "execute_run", broken)
    assert main(["run", str(study), "--device", "cpu", "fractions=[1.0]"]) == 1
    found = {
        record["spec"]["encoder"]["label"]: record
        for record in records(Path("outputs/small")).values()
    }
    assert found["darknet"]["error"]["message"] == "the masks are gone"
    assert found["vit"]["status"] == "finished"


@pytest.mark.parametrize("where", ["checkpoint", "library"])
def test_a_full_disk_is_no_fault_of_the_run(where, study, capsys, monkeypatch):
    full = OSError(errno.ENOSPC, "No space left on device")

    def fail(*_):
        raise full

    if where == "checkpoint":
        monkeypatch.setattr("encoder_ablations.utils.files.os.replace", fail)
        monkeypatch.setattr(
            "encoder_ablations.experiments.commands.run.save_study", lambda *_: None
        )
    else:
        monkeypatch.setattr(Trainer, "_step", fail)
    assert main(["run", str(study), "--device", "cpu", "fractions=[1.0]"]) == 2
    error = [line for line in capsys.readouterr().err.splitlines() if "error:" in line]
    assert len(error) == 1
    assert "No space left on device" in error[0]
    assert "Free some space" in error[0]
    assert not records(Path("outputs/small")), (
        "the runs are not failed; they go on when there is space"
    )


def test_dry_run_sees_that_a_fraction_leaves_no_image(study, capsys):
    line = (
        "the fraction 0.0001 of 24 training images is less than half an image; the smallest "
        "fraction here is 0.020834."
    )
    for arguments in (["--dry-run"], []):
        assert main(["run", str(study), "--device", "cpu", "fractions=[0.0001]", *arguments]) == 2
        assert capsys.readouterr().err.splitlines()[-1].endswith(f"error: {line}")
    assert main(["run", str(study), "--dry-run", "fractions=[0.0001, 1.0]"]) == 2
    out, error = capsys.readouterr()
    assert "4 runs: 4 not begun" in out
    assert error == f"not started (2 runs): {line}\n"
    assert not Path("outputs").exists()


def test_a_plan_needs_no_dataset(study, capsys):
    assert main(["run", str(study), "--dry-run", "fractions=[0.0001]", "datasets=[voc2012]"]) == 0


def test_dry_run_prints_the_plan_and_writes_nothing(study, finished_study, capsys):
    before = {path: path.stat().st_mtime_ns for path in Path("outputs").rglob("*")}
    arguments = ["run", str(study), "--dry-run", "--extend", "fractions=[1.0]"]
    assert main([*arguments, "seeds=[0,1]"]) == 0
    out = capsys.readouterr().out
    assert "4 runs: 2 finished, 2 not begun" in out
    assert re.search(r"to do: 2 runs, 8 steps; about [\d.]+ s of training", out)
    assert sum(line.startswith("not begun ") for line in out.splitlines()) == 2
    assert main([*arguments, "recipe.batch_size=4"]) == 0
    out = capsys.readouterr().out
    assert "time unknown: no run like them has finished yet" in out
    assert {path: path.stat().st_mtime_ns for path in Path("outputs").rglob("*")} == before


def test_a_failed_run_counts_more_than_one_that_cannot_start(study, capsys, monkeypatch):
    """Exit code 1 = a failure inside; 2 = everything that could be used is done."""
    content = yaml.safe_load(study.read_text())
    content["encoders"][0]["freeze"] = 99
    study.write_text(yaml.safe_dump(content | {"fractions": [1.0]}))

    def fail(trainer, batches):
        raise FloatingPointError("the loss is nan")

    monkeypatch.setattr(Trainer, "_step", fail)
    assert main(["run", str(study), "--device", "cpu"]) == 1
    error = capsys.readouterr().err
    assert "not started (1 run)" in error
    assert "1 run failed" in error
