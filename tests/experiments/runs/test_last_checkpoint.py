"""What training goes on from is kept as long as the run needs it, and no longer."""

import json
import shutil
import signal
from pathlib import Path

import pytest

from encoder_ablations.engine.training.checkpoints import load_checkpoint
from encoder_ablations.experiments.cli import main
from encoder_ablations.experiments.runs import run as run_module
from encoder_ablations.experiments.runs.record import load_record
from encoder_ablations.experiments.workers.display import Display

COUNTS = ("metrics", "confusion_matrix", "curves", "convergence")
COMMAND = ["run", "tiny.yaml", "--device", "cpu", "--output", "out"]


@pytest.fixture
def one_run(studies):
    """A study of one run in the current folder."""
    return studies.write(
        seeds=[0], encoders=[{"name": "test_resnet", "weights": "random", "channels": 32}]
    )


def checkpoints():
    return sorted(path.name for path in Path("out").glob("runs/*/checkpoints/*"))


class Crash(BaseException):
    pass


def test_a_finished_run_keeps_only_its_best_weights(one_run):
    assert main([*COMMAND, "--keep-last"]) == 0
    assert checkpoints() == ["best.pt", "last.pt"]
    assert main([*COMMAND, "--keep-last"]) == 0
    assert checkpoints() == ["best.pt", "last.pt"]
    assert main(COMMAND) == 0
    assert checkpoints() == ["best.pt"]


def test_a_crash_between_record_and_deletion_is_made_good(one_run, monkeypatch):
    def crash(folder):
        raise Crash

    with monkeypatch.context() as patch:
        patch.setattr(run_module, "discard_last", crash)
        with pytest.raises(Crash):
            main(COMMAND)
    (folder,) = Path("out").glob("runs/*")
    assert load_record(folder).status == "finished"
    assert checkpoints() == ["best.pt", "last.pt"]
    (folder / "progress.json").touch()  # a process that is killed there leaves it, too
    assert main(COMMAND) == 0
    assert checkpoints() == ["best.pt"]
    assert not (folder / "progress.json").exists()


def test_one_run_alone_discards_it_too(one_run):
    assert main([*COMMAND, "--keep-last"]) == 0
    (config,) = Path("out").glob("runs/*/config.yaml")
    assert main(["train", "--config", str(config), "--output", "out", "--keep-last"]) == 0
    assert checkpoints() == ["best.pt", "last.pt"]
    assert main(["train", "--config", str(config), "--output", "out"]) == 0
    assert checkpoints() == ["best.pt"]


def interrupt_at(step, monkeypatch):
    """Stop the run of the study after a step, as Ctrl-C does."""

    def advance(display, run, done, status):
        if done == step:
            signal.raise_signal(signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(Display, "advance", advance)
        assert main(COMMAND) == 130


def result():
    (path,) = Path("out").glob("runs/*/record.json")
    record = json.loads(path.read_text())
    return {key: record[key] for key in COUNTS}


def best():
    (path,) = Path("out").glob("runs/*/checkpoints")
    return path / "best.pt"


def test_lost_best_weights_are_restored_from_the_same_step(one_run, monkeypatch, capsys):
    assert main(COMMAND) == 0
    undisturbed = result()
    shutil.rmtree("out")
    interrupt_at(2, monkeypatch)
    best().unlink()
    capsys.readouterr()
    assert main(COMMAND) == 0
    assert capsys.readouterr().err.count("best.pt was gone; it is restored from last.pt") == 1
    assert result() == undisturbed


def test_best_weights_that_nothing_else_holds_are_asked_for_at_once(one_run, monkeypatch, capsys):
    """The best of later evaluations alone would be another result."""
    interrupt_at(3, monkeypatch)
    best().unlink()
    capsys.readouterr()
    assert main(COMMAND) == 1
    error = capsys.readouterr().err
    assert "best.pt is gone, and with it the weights of step 2" in error
    assert "delete the run's folder" in error
    shutil.rmtree(best().parent.parent)
    assert main(COMMAND) == 0, "the message's advice helps"


def test_damaged_best_weights_stop_a_run_before_it_goes_on(one_run, monkeypatch, capsys):
    interrupt_at(3, monkeypatch)
    best().write_bytes(best().read_bytes()[:1000])
    capsys.readouterr()
    assert main(COMMAND) == 1
    assert "best.pt is damaged" in capsys.readouterr().err
    (last,) = Path("out").glob("runs/*/checkpoints/last.pt")
    assert load_checkpoint(last)["progress"]["step"] == 3, "no step was computed in vain"
