"""The text that ``ablate plan`` and ``ablate run --dry-run`` print of a plan."""

from collections.abc import Iterable, Mapping, Sequence

from encoder_ablations.experiments.runs.fractions import alike
from encoder_ablations.experiments.runs.planned_run import PlannedRun
from encoder_ablations.experiments.runs.record import RunRecord
from encoder_ablations.experiments.runs.spec import RunSpec
from encoder_ablations.experiments.studies.kinds import kinds_of
from encoder_ablations.experiments.studies.planning.budget import Proposal
from encoder_ablations.experiments.studies.planning.estimates import (
    Known,
    plan_error,
)
from encoder_ablations.experiments.studies.planning.measured import Measured, SavedPlan
from encoder_ablations.utils.texts import data_size, duration, plural

HEADER = ("encoder", "segmenter", "dataset", "runs", "a run", "in all", "memory", "best.pt")
BATCH = "largest batch"
UNKNOWN = "unknown"


def plan_lines(runs: Sequence[PlannedRun], known: Known) -> list[str]:
    """Return the table of a plan by encoder and head, and what all of it takes.

    Args:
        runs: of the study.
        known: what they take; its plan is there.
    """
    assert known.plan is not None
    specs = [run.spec for run in runs]
    rows = [HEADER, *_rows(specs, known)]
    batches = [measured.largest_batch for measured in known.plan.kinds.values()]
    if any(batches):
        rows = [(*row, batch) for row, batch in zip(rows, _batches(specs, known.plan), strict=True)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [" ".join(map(str.ljust, row, [width + 1 for width in widths])) for row in rows]
    return [*map(str.rstrip, lines), "", *summary_lines(runs, known)]


def summary_lines(runs: Sequence[PlannedRun], known: Known) -> list[str]:
    """Return what a study takes in all, and how well its plan has foreseen what finished.

    Nothing is said without a plan.
    """
    plan = known.plan
    if plan is None:
        return []
    left = [run.spec for run in runs if run.state not in ("finished", "failed")]
    lines = [*_time(left, known), *_memory(left, plan), *_disk(left, plan), *_downloads(plan)]
    records = [run.record for run in runs if run.record is not None]
    return [*lines, *error_lines(records, plan)]


def error_lines(records: Sequence[RunRecord], plan: SavedPlan | None) -> list[str]:
    """Return how well a plan has foreseen what finished; nothing if it foresaw none of it."""
    found = plan_error(records, plan)
    if found is None:
        return []
    times = f"planned {duration(found.planned)}, took {duration(found.took)}"
    return [f"so far {plural(found.runs, 'run')}: {times}, an error of {found.error:+.0%}"]


def proposal_lines(budget: float, needed: float, found: Sequence[Proposal]) -> list[str]:
    """Return what fits into a budget, and what is lost.

    Args:
        budget: seconds.
        needed: seconds of what is left of the study.
        found: smaller studies that fit.
    """
    if needed <= budget:
        return [f"budget {duration(budget)}: everything fits (about {duration(needed)})"]
    lines = [f"budget {duration(budget)}: about {duration(needed)} are needed. What fits:"]
    if not found:
        return [f"{lines[0].partition(' What')[0]} No smaller form of this study fits."]
    for each in found:
        lines.append(f"  {each.change}: about {duration(each.seconds)}; {each.lost}")
    return lines


def _rows(specs: Sequence[RunSpec], known: Known) -> Iterable[tuple[str, ...]]:
    for group in _arms(specs):
        spec = group[0]
        seconds = [known.seconds(each) for each in group]
        times = [each for each in seconds if each is not None]
        measured = known.plan and known.plan.of(spec)
        memory = best = UNKNOWN
        if known.plan and measured:
            memory = data_size(_peak(group, known.plan))
            best = data_size(measured.best)
        yield (
            spec.encoder.title,
            spec.segmenter.title,
            spec.dataset.name,
            str(len(group)),
            _range(times),
            _sum(times),
            memory,
            best,
        )


def _arms(specs: Sequence[RunSpec]) -> list[list[RunSpec]]:
    return alike(specs, ("encoder", "segmenter", "dataset", "recipe", "federation"))


def _batches(specs: Sequence[RunSpec], plan: SavedPlan) -> list[str]:
    """Return the cells of the largest batch, below their header."""
    found = [plan.of(group[0]) for group in _arms(specs)]
    cells = [each.largest_batch if each else None for each in found]
    return [BATCH, *(UNKNOWN if cell is None else str(cell) for cell in cells)]


def _range(seconds: Sequence[float]) -> str:
    """Return the shortest and the longest time, or one if they read the same."""
    if not seconds:
        return UNKNOWN
    ends = dict.fromkeys(map(duration, (min(seconds), max(seconds))))
    return " to ".join(ends)


def _sum(seconds: Sequence[float]) -> str:
    if not seconds:
        return UNKNOWN
    return duration(sum(seconds))


def _time(left: Sequence[RunSpec], known: Known) -> list[str]:
    seconds = [known.seconds(spec) for spec in left]
    times = [each for each in seconds if each is not None]
    if not left:
        return ["nothing is left to compute"]
    unknown = ""
    if len(times) < len(left):
        unknown = f", and unknown for {plural(len(left) - len(times), 'run')}"
    what = f"{plural(len(left), 'run')} one after the other"
    return [f"time: about {_sum(times)} for {what}{unknown}"]


def _peak(specs: Sequence[RunSpec], plan: SavedPlan) -> int:
    known = [(spec, plan.of(spec)) for spec in specs]
    return max(found.peak_memory(spec, plan.on_gpu) for spec, found in known if found)


def _memory(left: Sequence[RunSpec], plan: SavedPlan) -> list[str]:
    known = [spec for spec in left if plan.of(spec) is not None]
    if not known:
        return []
    place = "of a process that computes one run, with libraries and images"
    if plan.on_gpu:
        place = "allocated on the GPU by PyTorch"
    return [f"memory: up to {data_size(_peak(known, plan))} {place} (measured on {plan.device})"]


def _disk(left: Sequence[RunSpec], plan: SavedPlan) -> list[str]:
    """Return the line about checkpoints and features."""
    known = [(spec, found) for spec in left if (found := plan.of(spec)) is not None]
    if not known:
        return []
    best = sum(found.best * spec.recipe.checkpoints.keep for spec, found in known)
    kinds = _kinds_left(left, plan)
    bodies = sum(found.body for found in kinds.values())
    last = max(found.last for found in kinds.values())
    line = f"disk: {data_size(best + bodies)} of checkpoints, and {data_size(last)} while a run is "
    line += "in progress"
    features = sum(
        found.features * (found.train + found.val + found.report) for found in kinds.values()
    )
    if features:
        line += f"; {data_size(features)} of features"
    return [line]


def _kinds_left(left: Sequence[RunSpec], plan: SavedPlan) -> Mapping[str, Measured]:
    return {key: plan.kinds[key] for key in kinds_of(left) if key in plan.kinds}


def _downloads(plan: SavedPlan) -> list[str]:
    if not plan.downloads:
        return ["downloads: none"]
    sizes = {
        name: UNKNOWN if size is None else f"about {data_size(size)}"
        for name, size in plan.downloads.items()
    }
    listed = ", ".join(f"{name} ({size})" for name, size in sizes.items())
    return [f"downloads: {listed}"]
