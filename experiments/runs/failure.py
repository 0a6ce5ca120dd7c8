"""The record of a run that has failed."""

import traceback
from pathlib import Path
from typing import Any

from encoder_ablations.experiments.runs.record import RunRecord, save_record
from encoder_ablations.experiments.runs.record_parts import ErrorRecord
from encoder_ablations.experiments.runs.spec import RunSpec
from encoder_ablations.utils.clock import now
from encoder_ablations.utils.environment import describe_environment
from encoder_ablations.utils.errors import InputError


def failed_record(
    spec: RunSpec, error: BaseException, started: str, environment: dict[str, Any]
) -> RunRecord:
    """Return the record of a run that ended with ``error``."""
    return RunRecord(
        task=spec.dataset.task,
        run_id=spec.run_id,
        status="failed",
        spec=spec,
        started=started,
        finished=now(),
        environment=environment,
        error=ErrorRecord(
            type=type(error).__name__,
            message=str(error),
            traceback=_traceback(error),
        ),
    )


def _traceback(error: BaseException) -> str:
    """Return where an error was raised; nothing for bad input, whose message says what to do."""
    if isinstance(error, InputError):
        return ""
    return "".join(traceback.format_exception(error))


def record_failure(
    spec: RunSpec, folder: Path, error: BaseException, started: str, device: str
) -> RunRecord:
    """Write the record of a run that ended with ``error`` before or outside of its computation.

    Args:
        spec: the run.
        folder: of the run.
        error: what ended it.
        started: when it was begun.
        device: what it was to be computed on, as ``--device`` names it.
    """
    environment = describe_environment(device.replace("auto", "cpu"))
    record = failed_record(spec, error, started, environment)
    save_record(record, folder)
    return record
