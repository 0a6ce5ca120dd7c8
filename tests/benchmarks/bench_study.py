"""What a study of many short runs costs beside building, training and evaluating its models."""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from resource import RUSAGE_CHILDREN, RUSAGE_SELF, getrusage
from unittest.mock import patch

import numpy as np
from accelerate import Accelerator
from bench_data import own_cache
from scaling_fit import silent
from scaling_studies import plans_growth, write_computed_study

from encoder_ablations.data.loading.batches import evaluation_items
from encoder_ablations.engine.cost import measure
from encoder_ablations.engine.cost.model_cost import Latency
from encoder_ablations.engine.devices import computing, make_accelerator
from encoder_ablations.engine.evaluation.evaluate import evaluate
from encoder_ablations.engine.training.data import TrainingData
from encoder_ablations.engine.training.optimizer import build_optimizer
from encoder_ablations.engine.training.schedule import rate_factor, set_rates
from encoder_ablations.engine.training.steps import MicroBatch, PlainStep, StepSetup
from encoder_ablations.experiments.commands import run as run_command
from encoder_ablations.experiments.runs.execution import Execution
from encoder_ablations.experiments.runs.model import build_model
from encoder_ablations.experiments.runs.preparation import RunData, prepare_data
from encoder_ablations.experiments.runs.spec import RunSpec
from encoder_ablations.experiments.studies.study import load_study_spec, plan
from encoder_ablations.experiments.study_options import Choices

PLANNED, RUNS, PAIRS = 10_000, 40, 3
PLAN_TARGET, TARGET = 2.0, 0.1
"""Seconds of processor time: of a plan, and of a run."""
EXECUTION = Execution("cpu")
NO_LATENCY = Latency(
    batch_size=1, median=1, p10=1, p90=1, median_by_part=dict.fromkeys(measure.PARTS, 0.0)
)


def run(seconds: float) -> Iterator[str]:
    """One row for the plan of a large study, one for the runs; ``seconds`` is not used."""
    with tempfile.TemporaryDirectory() as temporary, own_cache(Path(temporary) / "cache"):
        (planned,) = plans_growth([PLANNED], Path(temporary)).costs
        yield (
            f"plan of {PLANNED:,} runs with their ids: {planned.seconds:.2f} s of processor time, "
            f"{planned.memory / 2**20:.0f} MiB; target ≤ {PLAN_TARGET:g} s"
        )
        yield _overhead(Path(temporary))


def _overhead(folder: Path) -> str:
    """Return the row about runs.

    A study of runs of one step is computed as ``ablate run`` does it. The same models are built,
    trained and evaluated in a plain loop, in turn with the study. Three things are left out. A
    latency is a measurement that takes the time which it is given, so none is measured. The report
    and the start of the command have benchmarks of their own.
    """
    yaml = write_computed_study(folder, range(RUNS))
    specs = plan(load_study_spec(str(yaml)))
    compute_study(yaml, folder / "warm", ["seeds=[0]"])
    compute_plainly(specs[:1])
    pairs = []
    for number in range(PAIRS):
        study = _seconds(partial(compute_study, yaml, folder / str(number)))
        pairs.append((study, _seconds(partial(compute_plainly, specs))))
    study, work = np.median(pairs, axis=0) / RUNS
    overhead = np.median([study - work for study, work in pairs]) / RUNS
    return (
        f"study of {RUNS} runs of one step: {overhead:.3f} s of processor time a run beside the "
        f"work ({study:.3f} s; a plain loop takes {work:.3f} s); without latencies, report and "
        f"start; target ≤ {TARGET:g} s"
    )


def compute_study(yaml: Path, output: Path, overrides: Sequence[str] = ()) -> None:
    """``ablate run``, without latencies and without the report."""
    study = load_study_spec(str(yaml), overrides)
    no_latency = patch.object(measure, "measure_latency", lambda *_: NO_LATENCY)
    no_report = patch.object(run_command, "_write_report", lambda *_: [])
    with silent(), no_latency, no_report:
        assert run_command.run_study(study, output, Choices(EXECUTION)) == 0


def compute_plainly(specs: Sequence[RunSpec]) -> list[np.ndarray]:
    """Build each model, train it by one step, and evaluate it on the images of val and test.

    Returns:
        The confusion matrix K×K of each model on the test images.
    """
    data, accelerator = prepare_data(specs[0]), make_accelerator("cpu")
    with computing(accelerator.device, specs[0].recipe.precision, False):
        return [_compute(spec, data, accelerator) for spec in specs]


def _compute(spec: RunSpec, data: RunData, accelerator: Accelerator) -> np.ndarray:
    segmenter = build_model(spec, data.record.class_pixels).train()
    optimizer = build_optimizer(segmenter, spec.recipe.optimizer)
    step = PlainStep(StepSetup(segmenter, optimizer, spec.recipe, accelerator))
    train, val = data.train, data.val
    places = (spec.dataset, train.samples, train.indices, val.samples, val.indices)
    images = TrainingData(*places, data.record.class_pixels)
    set_rates(optimizer, rate_factor(0, spec.recipe.steps, spec.recipe.schedule))
    for (batch,) in images.batches(spec.recipe, spec.seed, 0, accelerator, 0):
        step.take([MicroBatch.of(batch, batch.images, accelerator.device)], float)
    for each in (val, data.report):
        items = evaluation_items(each.samples, each.indices, spec.recipe.augmentation)
        result = evaluate(segmenter, items, len(spec.dataset.classes), accelerator)
    return result.confusion.counts


def _seconds(work: Callable[[], object]) -> float:
    """Return the processor time that some work takes, with that of the processes it starts."""
    before = _used()
    work()
    return _used() - before


def _used() -> float:
    both = (getrusage(RUSAGE_SELF), getrusage(RUSAGE_CHILDREN))
    return sum(each.ru_utime + each.ru_stime for each in both)
