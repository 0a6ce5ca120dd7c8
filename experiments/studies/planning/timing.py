"""Measure every kind of run of a study, and write the plan."""

import os
import platform
from collections.abc import Callable, Sequence

import torch

from encoder_ablations.engine.devices import make_accelerator
from encoder_ablations.experiments.runs.execution import Execution
from encoder_ablations.experiments.runs.spec import RunSpec
from encoder_ablations.experiments.studies.kinds import kinds_of
from encoder_ablations.experiments.studies.planning.downloads import downloads
from encoder_ablations.experiments.studies.planning.measured import (
    Measured,
    SavedPlan,
)
from encoder_ablations.experiments.studies.planning.measurement import (
    free_memory,
    largest_batch,
    measure,
)
from encoder_ablations.utils.errors import InputError
from encoder_ablations.utils.texts import plural


def device_in_words(device: str) -> tuple[str, bool]:
    """Return a device's name and whether it is a GPU.

    Raises:
        InputError: it does not exist.
    """
    found = make_accelerator(device).device
    if found.type == "cuda":
        return torch.cuda.get_device_name(found), True
    threads = plural(torch.get_num_threads(), "thread")
    return f"{platform.machine()} CPU, {threads} of {os.cpu_count()}", False


def measure_kinds(
    specs: Sequence[RunSpec],
    execution: Execution,
    steps: int,
    earlier: SavedPlan | None,
    advance: Callable[[str], object],
) -> tuple[SavedPlan, dict[str, str]]:
    """Measure every kind of run that an earlier plan of this device lacks.

    Args:
        specs: runs of a study.
        execution: how they will be computed.
        steps: that are timed of each kind.
        earlier: what was measured before; it counts if the device is the same.
        advance: called with the encoder's title before each measurement.

    Returns:
        The plan, and why kinds could not be measured: encoder and head -> a line.

    Raises:
        InputError: the device does not exist, or no kind could be measured.
    """
    device, on_gpu = device_in_words(execution.device)
    kinds: dict[str, Measured] = {}
    if earlier is not None and earlier.device == device:
        kinds |= earlier.kinds
    problems: dict[str, str] = {}
    for key, spec in kinds_of(specs).items():
        if key in kinds:
            continue
        advance(spec.encoder.title)
        try:
            kinds[key] = _measured(spec, execution, steps, on_gpu)
        except InputError as error:
            problems[f"{spec.encoder.title}, {spec.segmenter.title}"] = str(error)
        free_memory()
    if problems and not any(key in kinds for key in kinds_of(specs)):
        raise InputError(next(iter(problems.values())))
    plan = SavedPlan(device=device, on_gpu=on_gpu, kinds=kinds, downloads=downloads(specs))
    return plan, problems


def _measured(spec: RunSpec, execution: Execution, steps: int, on_gpu: bool) -> Measured:
    if spec.federation is not None and not spec.federation.is_local:
        raise InputError(
            "runs of several clients are not timed; their first finished run tells how long they "
            "take."
        )
    found = measure(spec, execution, steps)
    if not on_gpu or spec.segmenter.learning != "steps":
        return found
    free_memory()
    return found.model_copy(update={"largest_batch": largest_batch(spec, execution)})


def with_seconds(
    plan: SavedPlan, earlier: SavedPlan | None, pending: Sequence[RunSpec]
) -> SavedPlan:
    """Return a plan that says what each run will take, for a comparison afterwards.

    What was planned for a run before it finished stays.

    Args:
        plan: what was measured.
        earlier: the plan before.
        pending: runs that have not finished.
    """
    seconds = dict[str, float]()
    if earlier is not None:
        seconds |= earlier.seconds
    for spec in pending:
        measured = plan.of(spec)
        if measured is not None:
            seconds[spec.run_id] = round(measured.seconds(spec), 3)
    return plan.model_copy(update={"seconds": seconds})
