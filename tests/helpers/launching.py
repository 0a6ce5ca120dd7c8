"""Programs that several processes run together, with a limit after which a test fails instead of hanging."""

import os
import signal
import subprocess
import sys

import psutil


def launch(program, *arguments, processes=2, seconds=150):
    """Runs ``program`` (a path) under torchrun with gloo; returns (exit code, what it printed).

    A process that is still there after ``seconds`` waits for another one: all are killed, and the test fails.
    """
    launcher = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc_per_node",
        str(processes),
    ]
    started = subprocess.Popen(
        [*launcher, str(program), *map(str, arguments)],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        output, _ = started.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        output = "\n".join(_killed(started))
        raise AssertionError(f"{program} hangs:\n{output[-3000:]}") from None
    return started.returncode, output


def _killed(started):
    """Ends the launcher and its processes, each of which leads a session of its own."""
    family = [*psutil.Process(started.pid).children(recursive=True), psutil.Process(started.pid)]
    for process in family:
        os.kill(process.pid, signal.SIGKILL)
    yield started.communicate()[0]
