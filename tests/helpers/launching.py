"""Programs that several processes run together, with a limit after which a test fails instead of
hanging."""

import os
import socket
import subprocess
import sys
import time

import psutil
from warm_processes import start_program


def launch(program, *arguments, processes=2, seconds=150):
    """Run ``program`` (a path) in processes that find each other as under torchrun.

    Unlike torchrun it ends no process when another one fails: each must end by itself.

    Returns:
        The exit code of the first that failed (else 0), and what all of them printed.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    count = {"WORLD_SIZE": str(processes), "LOCAL_WORLD_SIZE": str(processes)}
    place = count | {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    started = [
        start_program(program, *arguments, **place, RANK=str(rank), LOCAL_RANK=str(rank))
        for rank in range(processes)
    ]
    deadline = time.monotonic() + seconds
    try:
        for process in started:
            process.wait(max(0.0, deadline - time.monotonic()))
    except subprocess.TimeoutExpired:
        hanging = True
        for process in started:
            process.kill()
    else:
        hanging = False
    output = "\n".join(process.communicate()[0] for process in started)
    assert not hanging, f"{program} hangs:\n{output[-3000:]}"
    codes = [process.returncode for process in started]
    return next((code for code in codes if code), 0), output


def torchrun(program, *arguments, processes=2, seconds=150):
    """Run ``program`` (a path) by torchrun itself; returns its exit code and what was printed."""
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    launcher += ["--nproc_per_node", str(processes)]
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
        _kill(started)
        output, _ = started.communicate()
        raise AssertionError(f"{program} hangs:\n{output[-3000:]}") from None
    return started.returncode, output


def _kill(launcher):
    """End the launcher and its processes, each of which leads a session of its own."""
    process = psutil.Process(launcher.pid)
    for each in [*process.children(recursive=True), process]:
        each.kill()
