"""SIGTERM and SIGHUP save the step and end, as Ctrl-C does; the exit code names the signal."""

import os
import pty
import signal
import time
from functools import partial
from pathlib import Path

import psutil
import pytest

from encoder_ablations.engine.training.checkpoints import load_checkpoint
from encoder_ablations.experiments.cli import main
from encoder_ablations.utils.interrupts import Stopped, deferred_interrupt, leave_closed_terminal

CODES = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 129}
ONE_RUN = {
    "encoders": [{"name": "test_resnet", "weights": "random", "channels": 32}],
    "steps": 100_000,
}


def wait_for(condition, seconds=120):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)


def begun(process, count):
    return (
        len(list(Path("out").glob("runs/*/progress.json"))) == count or process.poll() is not None
    )


def saved_steps():
    files = Path("out").glob("runs/*/checkpoints/last.pt")
    return [load_checkpoint(path)["progress"]["step"] for path in files]


def test_a_signal_to_all_processes_leaves_workers_to_their_parent(studies):
    """Schedulers signal every process of a job, those that read files, too."""
    study = studies.write(**ONE_RUN, seeds=[0])
    process = studies.start("run", study, "--device", "cpu", "--output", "out", "--workers", "2")
    try:
        wait_for(partial(begun, process, 1))
        children = psutil.Process(process.pid).children(recursive=True)
        assert len(children) >= 2
        os.killpg(process.pid, signal.SIGTERM)
        output, _ = process.communicate(timeout=100)
    finally:
        process.kill()
    assert process.returncode == 143, output
    assert "Traceback" not in output, output[-3000:]
    assert len(saved_steps()) == 1
    _, alive = psutil.wait_procs(children, timeout=20)
    assert not alive


SEVERAL = pytest.param(["--processes", "2"], id="processes", marks=pytest.mark.slow)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("processes", [pytest.param([], id="here"), SEVERAL])
def test_a_signal_saves_the_step(studies, number, processes):
    changes = ONE_RUN | {"seeds": [0, 1][: 1 + len(processes) // 2]}
    runs = len(changes["seeds"])
    study = studies.write(**changes)
    process = studies.start("run", study, "--device", "cpu", "--output", "out", *processes)
    try:
        wait_for(partial(begun, process, runs))
        children = psutil.Process(process.pid).children(recursive=True)
        os.kill(process.pid, number)
        output, _ = process.communicate(timeout=100)
    finally:
        process.kill()
    assert process.returncode == CODES[number], output
    assert "stopped; the same command goes on" in output
    assert "Traceback" not in output
    assert len(saved_steps()) == runs
    _, alive = psutil.wait_procs(children, timeout=20)
    assert not alive
    assert main(["status", "out"]) == 0


@pytest.mark.slow
def test_all_processes_of_a_job_may_get_the_signal(studies):
    """Schedulers send it to each of them; children leave it to their parent."""
    study = studies.write(**ONE_RUN | {"seeds": [0, 1]})
    process = studies.start("run", study, "--device", "cpu", "--output", "out", "--processes", "2")
    try:
        wait_for(partial(begun, process, 2))
        workers = [each.parent.name for each in Path("out").glob("runs/*/progress.json")]
        assert len(workers) == 2
        for each in psutil.Process(process.pid).children():
            each.send_signal(signal.SIGTERM)
        os.kill(process.pid, signal.SIGTERM)
        output, _ = process.communicate(timeout=100)
    finally:
        process.kill()
    assert process.returncode == 143, output
    assert len(saved_steps()) == 2


def test_words_for_a_terminal_that_has_closed_are_no_error():
    """Closing a terminal sends SIGHUP; a progress bar that goes on must not fail the run."""
    here, terminal = pty.openpty()
    before = os.dup(2)
    try:
        os.dup2(terminal, 2)
        leave_closed_terminal()
        assert os.isatty(2), "a terminal that is open is kept"
        os.close(here)
        with pytest.raises(OSError, match="Input/output error"):
            os.write(2, b"lost")
        leave_closed_terminal()
        assert os.write(2, b"nowhere") == 7
    finally:
        os.dup2(before, 2)
        os.close(before)
        os.close(terminal)


@pytest.mark.parametrize("number", CODES)
def test_the_first_signal_waits_and_the_second_does_not(number):
    def signal_twice():
        with deferred_interrupt() as interrupt:
            signal.raise_signal(number)
            assert interrupt.requested
            signal.raise_signal(number)

    before = signal.getsignal(number)
    with pytest.raises(Stopped) as stopped:
        signal_twice()
    assert stopped.value.code == CODES[number]
    assert signal.getsignal(number) is before


def test_nohup_is_respected():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with deferred_interrupt() as interrupt:
            signal.raise_signal(signal.SIGHUP)
        assert not interrupt.requested
    finally:
        signal.signal(signal.SIGHUP, before)
