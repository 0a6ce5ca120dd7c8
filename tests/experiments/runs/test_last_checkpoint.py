"""What training goes on from is kept as long as the run needs it, and no longer."""

from pathlib import Path

import pytest

from encoder_ablations.experiments.cli import main
from encoder_ablations.experiments.runs import run as run_module
from encoder_ablations.experiments.runs.record import load_record

COMMAND = ["run", "tiny.yaml", "--device", "cpu", "--output", "out"]


@pytest.fixture
def one_run(studies):
    """A study of one run in the current folder."""
    return studies.write(seeds=[0], encoders=[{"base": "darknet_tiny", "channels": 32}])


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
    assert main(COMMAND) == 0
    assert checkpoints() == ["best.pt"]


def test_one_run_alone_discards_it_too(one_run):
    assert main([*COMMAND, "--keep-last"]) == 0
    (config,) = Path("out").glob("runs/*/config.yaml")
    assert main(["train", "--config", str(config), "--output", "out", "--keep-last"]) == 0
    assert checkpoints() == ["best.pt", "last.pt"]
    assert main(["train", "--config", str(config), "--output", "out"]) == 0
    assert checkpoints() == ["best.pt"]
