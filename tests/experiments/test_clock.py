"""A machine's clock is set back or forward while a study is computed: nothing depends on it."""

import os
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from encoder_ablations.engine.training.loop import Trainer
from encoder_ablations.experiments.cli import main
from encoder_ablations.experiments.runs.record import load_record
from encoder_ablations.experiments.workers.locks import holding, is_held
from encoder_ablations.utils import clock

DAY = 86_400.0
REAL = time.time


@pytest.fixture
def wall_clock(monkeypatch):
    """Seconds by which the wall clock is wrong from now on, in every way to ask for it."""
    wrong = [0.0]

    class Wrong(datetime):
        @classmethod
        def now(cls, tz=None):
            return datetime.now(tz) + timedelta(seconds=wrong[0])

    monkeypatch.setattr(clock, "datetime", Wrong)
    monkeypatch.setattr(time, "time", lambda: REAL() + wrong[0])
    return wrong


@pytest.mark.parametrize("jump", [-DAY, DAY], ids=["back", "forward"])
def test_a_clock_that_is_set_between_two_steps_and_two_starts(
    studies, wall_clock, monkeypatch, capsys, jump
):
    arguments = ["run", studies.write(), "--device", "cpu", "--output", "out"]
    step = Trainer._step

    def set_and_stop(trainer, batches):
        done = step(trainer, batches)
        wall_clock[0] += jump
        if trainer.progress.step == 2:
            raise KeyboardInterrupt
        return done

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "_step", set_and_stop)
        assert main(arguments) == 130
    wall_clock[0] += jump
    assert main(["status", "out"]) == 0
    assert main(arguments) == 0
    assert main(["status", "out"]) == 0
    assert main(["report", "out"]) == 0
    out, error = capsys.readouterr()
    assert "2 finished" in out
    assert " -" not in error.replace("--", ""), "a time that is less than nothing"
    for path in Path("out").glob("runs/*/record.json"):
        record = load_record(path.parent)
        assert 0 < record.cost.train_seconds < 100
        year = datetime.fromisoformat(record.finished).year
        assert abs(year - datetime.now(UTC).year) <= 1


@pytest.mark.parametrize("jump", [-DAY, DAY], ids=["back", "forward"])
def test_a_lock_does_not_grow_old(tmp_path, wall_clock, jump):
    with holding(tmp_path, 0) as first:
        wall_clock[0] = jump
        os.utime(tmp_path / "run.lock", (REAL() + jump,) * 2)
        assert is_held(tmp_path)
        with holding(tmp_path, 0) as second:
            assert (first, second) == (True, False)
    assert not is_held(tmp_path)
