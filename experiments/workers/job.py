"""How the runs of a study are computed."""

from collections.abc import Callable
from dataclasses import dataclass

from encoder_ablations.experiments.runs.execution import Advance, Execution
from encoder_ablations.experiments.runs.planned_run import PlannedRun
from encoder_ablations.experiments.workers.outcome import Outcome

LOCK_SECONDS = 60.0
"""A file server may take this long to notice that a machine which held a lock is gone."""

Compute = Callable[[PlannedRun, "Job", Advance], Outcome]


@dataclass(frozen=True)
class Job:
    """How the runs of a study are computed.

    Attributes:
        compute: computes one run; a function of a module, so that any process finds it.
        retry_failed: whether a failed run is computed again.
        lock_seconds: how long to wait for a run that another process holds; longer than a dying
            process needs.
    """

    compute: Compute
    execution: Execution
    retry_failed: bool = False
    lock_seconds: float = 2.0
