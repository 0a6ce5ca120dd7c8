"""Processes that need not import PyTorch first: they are forked from a server that has.

Importing what a study needs takes seven seconds, of which a test would wait for each process it
starts. A forked process is a process like any other: it leads a session of its own, runs without
the test's patches, can be killed at any moment and has an exit code. Only the interpreter's start
is left out; a few tests start ``python`` itself for that reason.
"""

import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

PRELOADED = [
    "torch.distributed",
    "encoder_ablations.experiments.cli",
    "encoder_ablations.experiments.commands.run",
    "encoder_ablations.experiments.runs.run",
    "encoder_ablations.experiments.workers.worker",
    "encoder_ablations.experiments.reporting.page.page",
    "encoder_ablations.segmenters.heads.linear",
    "encoder_ablations.segmenters.heads.mask2former",
]
SETTINGS = {"OMP_NUM_THREADS": "1"}


FORKSERVER = multiprocessing.get_context("forkserver")


def warm_context():
    """Return a context of ``multiprocessing`` whose processes begin with everything imported."""
    os.environ |= SETTINGS  # what the server begins with, where this is the first process
    FORKSERVER.set_forkserver_preload(PRELOADED)
    return FORKSERVER


class Started:
    """A process, with as much of the interface of ``subprocess.Popen`` as tests use.

    What it prints goes to a file, so that it never waits for a reader.
    """

    def __init__(self, function, *arguments, **environment):
        with tempfile.NamedTemporaryFile(prefix="output-", delete=False) as file:
            self.printed = Path(file.name)
        begin = (str(self.printed), os.getcwd(), os.environ | environment, function, arguments)
        self.process = warm_context().Process(target=_begin, args=begin)
        self.process.start()
        self.pid = self.process.pid

    @property
    def returncode(self):
        return self.process.exitcode

    def poll(self):
        return self.process.exitcode

    def kill(self):
        self.process.kill()

    def wait(self, timeout=None):
        self.process.join(timeout)
        if self.process.exitcode is None:
            raise subprocess.TimeoutExpired(self.process.name, timeout)
        return self.process.exitcode

    def communicate(self, timeout=None):
        """Wait for its end; return what it printed, outputs and errors, and None."""
        self.wait(timeout)
        text = self.printed.read_text()
        self.printed.unlink()
        return text, None


def _begin(printed, folder, environment, function, arguments):
    """Make the forked process what a new one would be, and call ``function``."""
    os.setsid()
    file = os.open(printed, os.O_WRONLY | os.O_APPEND)
    for stream in (1, 2):
        os.dup2(file, stream)
    # the server inherits what is blocked where it is started, such as among a study's processes
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    os.chdir(folder)
    os.environ.clear()
    os.environ |= environment
    sys.exit(function(*arguments))


def start_ablate(*arguments):
    """Start ``ablate ARGUMENTS``; returns the process. Its own runs measure latencies quickly."""
    return Started(_ablate, *map(str, arguments))


def start_program(path, *arguments, **environment):
    """Start ``python PATH ARGUMENTS``; returns the process."""
    return Started(_program, str(path), *map(str, arguments), **environment)


def _ablate(*arguments):
    from encoder_ablations.engine.cost import regions
    from encoder_ablations.experiments.cli import main

    regions.measure_cost = partial(regions.measure_cost, seconds=0.0)
    return main(arguments)


def _program(path, *arguments):
    sys.argv = [path, *arguments]
    sys.path.insert(0, str(Path(path).parent))
    runpy.run_path(path, run_name="__main__")
