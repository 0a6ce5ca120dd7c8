"""The text that ``ablate plan`` and ``ablate run --dry-run`` print of a plan."""

from collections import defaultdict
from collections.abc import Sequence

from encoder_ablations.experiments.runs.planned_run import PlannedRun
from encoder_ablations.experiments.runs.record import RunRecord
from encoder_ablations.experiments.runs.spec import RunSpec
from encoder_ablations.experiments.studies.kinds import kind_key
from encoder_ablations.experiments.studies.planning.estimates import (
    Known,
    plan_error,
)
from encoder_ablations.experiments.studies.planning.measured import Measured, SavedPlan
from encoder_ablations.utils.texts import data_size, duration, plural

COLUMNS = ("encoder", "segmenter", "dataset", "runs", "a run", "in all", "memory", "best.pt")
BATCH = "largest batch"
UNKNOWN = "unknown"


def plan_lines(runs: Sequence[PlannedRun], known: Known) -> list[str]:
    """Return the table of a plan by encoder and head, and what all of it takes.

    Args:
        runs: of the study.
        known: what they take; its plan is there.
    """
    assert known.plan is not None
    on_gpu = known.plan.on_gpu
    rows = [_columns(on_gpu), *(_row(arm, known, on_gpu) for arm in _arms(runs))]
    widths = [max(map(len, column)) + 2 for column in zip(*rows, strict=True)]
    table = ["".join(map(str.ljust, row, widths)).rstrip() for row in rows]
    return [*table, "", *summary_lines(runs, known)]


def summary_lines(runs: Sequence[PlannedRun], known: Known) -> list[str]:
    """Return what a study takes in all, and how well its plan has foreseen what finished.

    Nothing is said without a plan.
    """
    plan = known.plan
    if plan is None:
        return []
    left = [run.spec for run in runs if run.state not in ("finished", "failed")]
    lines = [_time(left, known)]
    measured = _measured(left, plan)
    if measured:
        lines += [_memory(measured, plan), _disk(measured)]
    records = [run.record for run in runs if run.record is not None]
    return [*lines, _downloads(plan), *error_lines(records, plan)]


def error_lines(records: Sequence[RunRecord], plan: SavedPlan | None) -> list[str]:
    """Return how well a plan has foreseen what finished; nothing if it foresaw none of it."""
    found = plan_error(records, plan)
    if found is None:
        return []
    times = f"planned {duration(found.planned)}, took {duration(found.took)}"
    return [f"so far {plural(found.runs, 'run')}: {times}, an error of {found.error:+.0%}"]


def _arms(runs: Sequence[PlannedRun]) -> list[list[RunSpec]]:
    """Return the runs by what the table shows one line of."""
    arms: defaultdict[tuple[object, ...], list[RunSpec]] = defaultdict(list)
    for run in runs:
        spec = run.spec
        # values that are tuned change no time
        place = spec.model_dump_json(include={"dataset", "federation"})
        arms[kind_key(spec), place, spec.steps, spec.is_trial].append(spec)
    return list(arms.values())


def _columns(on_gpu: bool) -> tuple[str, ...]:
    if on_gpu:
        return (*COLUMNS, BATCH)
    return COLUMNS


def _row(arm: list[RunSpec], known: Known, on_gpu: bool) -> tuple[str, ...]:
    assert known.plan is not None
    spec, seconds = arm[0], _known_seconds(arm, known)
    found = known.plan.of(spec)
    needs = (UNKNOWN, UNKNOWN, UNKNOWN)
    if found is not None:
        memory = max(found.peak_memory(each, on_gpu) for each in arm)
        needs = (data_size(memory), data_size(found.best), str(found.largest_batch or UNKNOWN))
    times = (_range(seconds), _sum(seconds))
    titles = (spec.encoder.title, spec.segmenter.title, spec.dataset.name)
    count = str(len(arm))
    if spec.is_trial:
        count = plural(len(arm), "trial")
    return (*titles, count, *times, *needs)[: len(_columns(on_gpu))]


def _known_seconds(specs: Sequence[RunSpec], known: Known) -> list[float]:
    seconds = map(known.seconds, specs)
    return [each for each in seconds if each is not None]


def _range(seconds: Sequence[float]) -> str:
    """Return the shortest and the longest time, or one if they read the same."""
    ends = sorted(seconds)
    return " to ".join(dict.fromkeys(map(duration, ends[:1] + ends[-1:]))) or UNKNOWN


def _sum(seconds: Sequence[float]) -> str:
    if not seconds:
        return UNKNOWN
    return duration(sum(seconds))


def _time(left: Sequence[RunSpec], known: Known) -> str:
    if not left:
        return "nothing is left to compute"
    seconds = _known_seconds(left, known)
    trials = sum(spec.is_trial for spec in left)
    count = plural(len(left), "run")
    if trials:
        count += f" ({plural(trials, 'trial')} and {len(left) - trials} with the study's seeds)"
    text = f"time: about {_sum(seconds)} for {count} one after the other"
    unknown = len(left) - len(seconds)
    if unknown:
        text += f", and unknown for {plural(unknown, 'run')}"
    return text


def _measured(specs: Sequence[RunSpec], plan: SavedPlan) -> list[tuple[RunSpec, Measured]]:
    """Return the runs of which the plan knows more than the time."""
    pairs = [(spec, plan.of(spec)) for spec in specs]
    return [(spec, found) for spec, found in pairs if found is not None]


def _memory(measured: Sequence[tuple[RunSpec, Measured]], plan: SavedPlan) -> str:
    peak = max(found.peak_memory(spec, plan.on_gpu) for spec, found in measured)
    place = "of a process that computes one run, with libraries and images"
    if plan.on_gpu:
        place = "allocated on the GPU by PyTorch"
    return f"memory: up to {data_size(peak)} {place} (measured on {plan.device})"


def _disk(measured: Sequence[tuple[RunSpec, Measured]]) -> str:
    """Return the line about checkpoints and features."""
    best = sum(found.best * spec.recipe.checkpoints.keep for spec, found in measured)
    kinds = {kind_key(spec): found for spec, found in measured}
    # runs of a kind share the file of a fixed body, and the features
    kept = best + sum(found.body for found in kinds.values())
    last = max(found.last for found in kinds.values())
    text = f"disk: {data_size(kept)} of checkpoints, and {data_size(last)} while a run goes on"
    features = sum(found.all_features for found in kinds.values())
    if features:
        text += f"; {data_size(features)} of features"
    return text


def _downloads(plan: SavedPlan) -> str:
    listed = ", ".join(f"{name} ({_about(size)})" for name, size in plan.downloads.items())
    return f"downloads: {listed or 'none'}"


def _about(size: int | None) -> str:
    if size is None:
        return UNKNOWN
    return f"about {data_size(size)}"
