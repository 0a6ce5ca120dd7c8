"""As much of SLURM as studies use: programs that compute jobs on this machine, for tests.

``install`` writes sbatch, srun, squeue, sacct, scontrol and scancel. Each element of an array is
followed by a process of its own, as by a node: it starts the script, and starts it again where
``scontrol requeue`` asks for that.
"""

import os
import re
import signal
import subprocess
import sys
import time
from contextlib import ExitStack, suppress
from pathlib import Path

PROGRAMS = ("sbatch", "srun", "squeue", "sacct", "scontrol", "scancel")
LIVE = ("PENDING", "RUNNING")


def install(folder, monkeypatch):
    """Put the programs on PATH; returns the folder in which they keep the states of jobs."""
    programs, states = folder / "bin", folder / "states"
    programs.mkdir(parents=True)
    states.mkdir()
    for name in PROGRAMS:
        here = str(Path(__file__).parent)
        lines = [f"#!{sys.executable}", "import sys", f"sys.path.insert(0, {here!r})"]
        lines += ["import fake_slurm", f"fake_slurm.{name}(sys.argv[1:])"]
        (programs / name).write_text("\n".join(lines))
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("FAKE_SLURM", str(states))
    return states


def states():
    """Job id -> state."""
    found = sorted(Path(os.environ["FAKE_SLURM"]).glob("*.state"))
    return {path.stem: path.read_text() for path in found}


def processes_of(job_id):
    """The processes of a job that runs: of its script and what that has started."""
    import psutil

    process = psutil.Process(int(_file(job_id, "pid").read_text()))
    return [process, *process.children(recursive=True)]


def end_all():
    """Kill what still runs."""
    for path in Path(os.environ["FAKE_SLURM"]).glob("*.node"):
        for name in (path, path.with_suffix(".pid")):
            if name.exists():
                _kill_group(int(name.read_text()), signal.SIGKILL)


def _file(job_id, kind):
    return Path(os.environ["FAKE_SLURM"], f"{job_id}.{kind}")


def _kill_group(number, which):
    with suppress(ProcessLookupError):
        os.killpg(number, which)


def sbatch(arguments):
    script = Path(arguments[-1]).read_text()
    if "--partition=nonsense" in script:
        sys.exit("sbatch: error: invalid partition specified: nonsense")
    number = 100 + len(list(Path(os.environ["FAKE_SLURM"]).glob("*.array")))
    _file(number, "array").touch()
    array = re.search(r"--array=0-(\d+)", script)
    names = [str(number)]
    if array is not None:
        names = [f"{number}_{index}" for index in range(int(array[1]) + 1)]
    for name in names:
        _file(name, "state").write_text("PENDING")
        _file(name, "script").write_text(script)
        program = f"import fake_slurm; fake_slurm.node({name!r})"
        started = subprocess.Popen(
            [sys.executable, "-c", program],
            env=os.environ | {"PYTHONPATH": _with_helpers()},
            start_new_session=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        _file(name, "node").write_text(str(started.pid))
    print(f"Submitted batch job {number}")


def _with_helpers():
    return os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])


def node(job_id):
    """Compute a job until it has ended and nobody wants it again."""
    array_id, _, index = job_id.partition("_")
    place = {"SLURM_JOB_ID": job_id, "SLURM_PROCID": "0", "SLURM_LOCALID": "0"}
    if index:
        place |= {"SLURM_ARRAY_JOB_ID": array_id, "SLURM_ARRAY_TASK_ID": index}
    while True:
        if os.environ.get("FAKE_SLURM_FULL"):
            time.sleep(0.2)
            continue
        with open(_log(job_id, "error"), "a") as errors:
            process = subprocess.Popen(
                ["bash", str(_file(job_id, "script"))],
                env=os.environ | place,
                start_new_session=True,
                stderr=errors,
            )
        _file(job_id, "pid").write_text(str(process.pid))
        _file(job_id, "state").write_text("RUNNING")
        code = process.wait()
        if not _file(job_id, "requeue").exists():
            break
        _file(job_id, "requeue").unlink()
        _file(job_id, "state").write_text("PENDING")
    state = "FAILED" if code else "COMPLETED"
    for name in ("CANCELLED", "NODE_FAIL"):
        if _file(job_id, name).exists():
            state = name
    _file(job_id, "state").write_text(state)


def _log(job_id, kind):
    pattern = re.search(rf"#SBATCH --{kind}=(\S+)", _file(job_id, "script").read_text())[1]
    return _filled(pattern, job_id)


def _filled(pattern, job_id):
    array_id, _, index = job_id.partition("_")
    filled = pattern.replace("%j", job_id).replace("%A", array_id).replace("%a", index)
    return filled.replace("%t", "0")


def srun(arguments):
    job_id = os.environ["SLURM_JOB_ID"]
    with ExitStack() as stack:
        streams = {}
        while arguments[0].startswith("--"):
            option = arguments.pop(0)
            if option in ("--output", "--error"):
                file = open(_filled(arguments.pop(0), job_id), "a")  # noqa: SIM115
                streams[option] = stack.enter_context(file)
        sys.exit(subprocess.call(arguments, stdout=streams["--output"], stderr=streams["--error"]))


def squeue(arguments):
    for job_id, state in states().items():
        if state in LIVE:
            print(f"{job_id}|{state}")


def sacct(arguments):
    print("JobID|State|NodeList")
    for job_id, state in states().items():
        print(f"{job_id}|{state}|node1")


def scontrol(arguments):
    assert arguments[0] == "requeue"
    if os.environ.get("FAKE_SLURM_NO_REQUEUE"):
        sys.exit("Requeue of job is disabled")
    _file(arguments[1], "requeue").touch()


def scancel(arguments):
    _file(arguments[0], "CANCELLED").touch()
    _kill_group(int(_file(arguments[0], "pid").read_text()), signal.SIGTERM)
