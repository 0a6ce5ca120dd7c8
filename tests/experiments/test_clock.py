"""A machine's clock is set back or forward while a study is computed: nothing depends on it."""

import os
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import torch

from encoder_ablations.engine.frozen.feature_store import TOUCH_SECONDS, FeatureStore
from encoder_ablations.engine.training.loop import Trainer
from encoder_ablations.experiments.cli import main
from encoder_ablations.experiments.runs.record import load_record
from encoder_ablations.experiments.workers.locks import holding, is_held
from encoder_ablations.utils import clock
from encoder_ablations.utils.files import write_text
from encoder_ablations.utils.leftovers import remove_leftovers

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


def test_what_another_machine_writes_does_not_grow_old(tmp_path, wall_clock):
    """The file server's clock dates files; only that clock says how old they are."""
    remove_leftovers.cache_clear()
    young, old = (tmp_path / f".last.pt~elsewhere~{number}~abc" for number in (1, 2))
    young.touch()
    old.touch()
    os.utime(old, (REAL() - 2 * DAY,) * 2)
    wall_clock[0] = 2 * DAY
    write_text(tmp_path / "last.pt", "whole")
    assert sorted(os.listdir(tmp_path)) == [young.name, "last.pt"]


def test_cached_features_in_use_do_not_grow_old(tmp_path, wall_clock):
    """Another process, whose clock is a day ahead, deletes none of them to make room."""
    maps = [torch.zeros(1000)]
    used = FeatureStore(tmp_path, 6000).group({"encoder": "used"})
    used.write("image", "", maps)
    wall_clock[0] = DAY
    FeatureStore(tmp_path, 6000).group({"encoder": "new"}).write("image", "", maps)
    assert FeatureStore(tmp_path, 6000).group({"encoder": "new"}).read("image", "") is None
    assert used.read("image", "") is not None


def test_a_group_is_marked_as_in_use_though_the_clock_is_set_back(
    tmp_path, wall_clock, monkeypatch
):
    group = FeatureStore(tmp_path, 9000).group({})
    group.write("image", "", [torch.zeros(1000)])
    about, passed = group.folder / "key.json", time.monotonic() + 2 * TOUCH_SECONDS
    os.utime(about, (0, 0))
    wall_clock[0] = -DAY
    monkeypatch.setattr(time, "monotonic", lambda: passed)
    assert group.read("image", "") is not None
    assert about.stat().st_mtime > 0
