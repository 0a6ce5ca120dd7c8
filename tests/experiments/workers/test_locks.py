"""One process for a run: also when the other one crashed, and seen from outside; how far a run says
it is."""

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from encoder_ablations.experiments.workers import locks, progress
from encoder_ablations.experiments.workers.locks import holding, is_held
from encoder_ablations.experiments.workers.progress import ProgressFile, read_progress

HOLD = """
import sys, time
from pathlib import Path
from encoder_ablations.experiments.workers.locks import holding
with holding(Path(sys.argv[1]), 1) as mine:
    print(mine, flush=True)
    time.sleep(60)
"""


def test_a_lock_keeps_others_out_and_ends_with_its_process(tmp_path):
    assert not is_held(tmp_path)
    assert not list(tmp_path.iterdir()), "looking leaves no trace"
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert holder.stdout.readline() == "True\n"
        assert is_held(tmp_path)
        with holding(tmp_path, 0.1) as mine:
            assert not mine
        assert is_held(tmp_path), "who did not get it does not release it"
        os.kill(holder.pid, signal.SIGKILL)
        holder.wait()
        with holding(tmp_path, 1) as mine:
            assert mine
    finally:
        holder.kill()
        holder.wait()
        holder.stdout.close()
    assert not is_held(tmp_path)


def test_looking_at_a_lock_keeps_nobody_out(tmp_path):
    """``ablate status`` may look at the very moment at which a run begins."""
    with holding(tmp_path, 1):
        pass
    looker = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import sys; from pathlib import Path\n"
            "from encoder_ablations.experiments.workers.locks import is_held\n"
            "print('ready', flush=True)\nwhile True: is_held(Path(sys.argv[1]))",
            str(tmp_path),
        ],
        stdout=subprocess.PIPE,
    )
    try:
        looker.stdout.readline()
        for _ in range(20):
            with holding(tmp_path, 2) as mine:
                assert mine
            time.sleep(0.005)
    finally:
        looker.kill()
        looker.wait()
        looker.stdout.close()


def test_who_waits_for_a_lock_that_is_removed_gets_it_alone(tmp_path):
    """The classic race: the file that is locked is no longer the one that others find."""
    inside, most = [], []

    def take():
        for _ in range(12):
            with holding(tmp_path, 100) as mine:
                assert mine
                inside.append(None)
                most.append(len(inside))
                time.sleep(0.002)
                inside.pop()

    with ThreadPoolExecutor(4) as threads:
        for future in [threads.submit(take) for _ in range(4)]:
            future.result()
    assert most == [1] * 48
    assert not list(tmp_path.iterdir()), "nothing is left when nobody holds it"


def test_the_file_is_removed_while_it_is_locked(tmp_path, monkeypatch):
    """Afterwards it might be the next holder's, whom the one after would no longer find."""
    left = []

    class Watched(locks.FileLock):
        def release(self, *arguments, **options):
            left.append((tmp_path / "run.lock").exists())
            super().release(*arguments, **options)

    monkeypatch.setattr(locks, "FileLock", Watched)
    with holding(tmp_path, 1):
        assert (tmp_path / "run.lock").exists()
    assert left[0] is False


def test_progress_is_written_now_and_then(tmp_path, monkeypatch):
    clock = iter([100.0, 100.0, 101.0, 104.0, 104.0])
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
    file = ProgressFile(tmp_path, "run", 50)
    file(11, "loss 2")
    assert read_progress(tmp_path, "run").model_dump() == {
        "run_id": "run",
        "step": 11,
        "steps": 50,
        "seconds_per_step": None,
        "status": "loss 2",
    }
    file(12, "loss 1")
    assert read_progress(tmp_path, "run").step == 11, "too soon"
    file(19, "loss 1")
    assert read_progress(tmp_path, "run").model_dump() == {
        "run_id": "run",
        "step": 19,
        "steps": 50,
        "seconds_per_step": 0.5,
        "status": "loss 1",
    }
    file.remove()
    assert read_progress(tmp_path, "run") is None
    file.remove()


def test_slow_disks_are_written_to_less_often(tmp_path, monkeypatch):
    clock = iter([0.0, 0.5, 99.0, 101.0, 101.0])
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
    file = ProgressFile(tmp_path, "run", 50)
    for step in (1, 2, 3):
        file(step, "")
        assert read_progress(tmp_path, "run").step == (3 if step == 3 else 1)


@pytest.mark.parametrize("text", ["", "{", '{"step": 3}'])
def test_progress_that_makes_no_sense_is_none(tmp_path, text):
    (tmp_path / "progress.json").write_text(text)
    assert read_progress(tmp_path, "run") is None
