"""What users say about the jobs of SLURM: ``--slurm partition=gpu,gres=gpu:1,time=4:00:00``."""

import re
from dataclasses import dataclass, field

from encoder_ablations.utils.errors import InputError, nearest

TEXTS = (
    *("account", "comment", "constraint", "dependency", "exclude", "exclusive", "gres", "job_name"),
    *("mail_type", "mail_user", "mem", "mem_per_cpu", "mem_per_gpu", "nodelist", "partition"),
    *("qos", "wckey"),
)
COUNTS = (
    *("array_parallelism", "cpus_per_gpu", "cpus_per_task", "gpus_per_node", "gpus_per_task"),
    "signal_delay_s",
)
ALLOWED = sorted([*TEXTS, *COUNTS, "time"])
"""Parameters of submitit's SlurmExecutor that suit jobs of one process on one node."""

EXAMPLE = "--slurm partition=gpu,gres=gpu:1,time=4:00:00"
WHOLE = re.compile(r"(?:(?P<days>\d+)-)?(?P<parts>\d+(?::\d+){0,2})")


@dataclass(frozen=True)
class Slurm:
    """How runs become jobs.

    Attributes:
        parameters: those of submitit's SlurmExecutor; ``time`` in minutes.
        runs_per_job: how many runs a job computes one after the other.
        wait: whether the command stays until all runs have ended.
    """

    parameters: dict[str, object] = field(default_factory=dict)
    runs_per_job: int = 1
    wait: bool = True


def read_parameters(text: str, setup: list[str]) -> dict[str, object]:
    """Return the parameters of jobs by submitit's names.

    Args:
        text: ``name=value``, separated by commas; a value may hold commas. Names are those of
            sbatch's long options or submitit's.
        setup: lines of shell that a job begins with.

    Raises:
        InputError: a name is unknown or given twice, a value is not allowed, or ``time`` is
            missing.
    """
    parameters: dict[str, object] = {}
    # a comma separates only where a name and "=" follow it: nodelist=node[1,3],time=60
    for part in re.split(r",(?=[\w-]+=)", text):
        name, value = _read_one(part)
        if name in parameters:
            raise InputError(f"--slurm names {name} twice; leave one out.")
        parameters[name] = value
    if "time" not in parameters:
        raise InputError(f"--slurm needs time=…, the limit of a job: {EXAMPLE}.")
    if setup:
        parameters["setup"] = list(setup)
    return parameters


def _read_one(part: str) -> tuple[str, object]:
    """Return the name and the value of one parameter.

    Raises:
        InputError: it is not ``name=value``, or unknown, or its value is not allowed.
    """
    written, equals, value = part.partition("=")
    name = written.strip().lstrip("-").replace("-", "_")
    value = value.strip()
    if name not in ALLOWED:
        raise InputError(
            f"--slurm has no '{name}'.{nearest(name, ALLOWED)} Allowed: {', '.join(ALLOWED)}. "
            "Write other options of sbatch as --slurm-setup '#SBATCH --OPTION=VALUE'."
        )
    if not equals or not value:
        raise InputError(f"--slurm {part}: write {name}=VALUE, as in {EXAMPLE}.")
    if name == "time":
        return name, minutes(value)
    if name in COUNTS:
        return name, _count(name, value)
    if name == "exclusive" and value == "true":
        return name, True
    return name, value


def _count(name: str, value: str) -> int:
    if not value.isdigit() or int(value) < 1:
        raise InputError(f"--slurm {name}={value}: allowed are 1 and more.")
    return int(value)


def minutes(text: str) -> int:
    """Return SLURM's time limit in minutes, rounded up.

    Args:
        text: ``MINUTES``, ``MINUTES:SECONDS``, ``HOURS:MINUTES:SECONDS``, ``DAYS-HOURS``,
            ``DAYS-HOURS:MINUTES`` or ``DAYS-HOURS:MINUTES:SECONDS``.

    Raises:
        InputError: it is none of these, or no time at all.
    """
    found = WHOLE.fullmatch(text)
    seconds = 0
    if found is not None:
        seconds = _seconds(found["days"], list(map(int, found["parts"].split(":"))))
    if not seconds:
        raise InputError(
            f"--slurm time={text}: allowed are minutes, MM:SS, HH:MM:SS, D-HH, D-HH:MM and "
            "D-HH:MM:SS, such as 4:00:00 for four hours."
        )
    return -(-seconds // 60)


def _seconds(days: str | None, parts: list[int]) -> int:
    """Return the seconds of a time limit: its parts begin with hours where days precede them."""
    units = [3600, 60, 1]
    if days is None and len(parts) < 3:
        units = [60, 1]
    pairs = zip(units, parts, strict=False)
    return 86400 * int(days or 0) + sum(unit * part for unit, part in pairs)
