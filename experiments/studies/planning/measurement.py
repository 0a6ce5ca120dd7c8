"""Time real training steps of a run's encoder and head, on some of its own images."""

import gc
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar

import torch
from accelerate import Accelerator

from encoder_ablations.data.loading.batches import evaluation_items
from encoder_ablations.engine.devices import computing, make_accelerator
from encoder_ablations.engine.evaluation.evaluate import evaluate
from encoder_ablations.engine.frozen.feature_store import FeatureStore
from encoder_ablations.engine.recipe import Recipe
from encoder_ablations.engine.recipe_parts import ScheduleSpec
from encoder_ablations.engine.training.data import TrainingData
from encoder_ablations.engine.training.fitting import Fitting
from encoder_ablations.engine.training.loop import Trainer
from encoder_ablations.experiments.runs.batch_norm import prepare_statistics
from encoder_ablations.experiments.runs.execution import Execution
from encoder_ablations.experiments.runs.model import build_model
from encoder_ablations.experiments.runs.preparation import RunData, prepare_data
from encoder_ablations.experiments.runs.record_builder import cost_record
from encoder_ablations.experiments.runs.spec import RunSpec
from encoder_ablations.experiments.studies.planning.downloads import with_local_weights
from encoder_ablations.experiments.studies.planning.largest_batch import bisect
from encoder_ablations.experiments.studies.planning.measured import Measured
from encoder_ablations.segmenters.base import Segmenter
from encoder_ablations.utils.errors import InputError
from encoder_ablations.utils.texts import plural

Result = TypeVar("Result")
BATCHES = 3
"""Batches of images that are trained on, again and again."""
WARM_UP = 2
"""First steps that are not counted: kernels are chosen and compiled in them."""
PREDICTED = 8
"""Validation images that are predicted."""
NO_LIMIT = 2**50
"""Bytes of features that are kept while they are measured."""


@dataclass(frozen=True)
class _Bench:
    """What a kind of run is measured with.

    Attributes:
        spec: the run.
        data: all its images.
        images: those that the measurement trains and validates on, read already.
        store: where features are kept; None if they are not.
        folder: for checkpoints, deleted afterwards.
    """

    spec: RunSpec
    data: RunData
    images: TrainingData
    accelerator: Accelerator
    workers: int
    store: FeatureStore | None
    folder: Path

    @property
    def recipe(self) -> Recipe:
        """Return the run's recipe with a rate that needs no certain number of steps."""
        return self.spec.recipe.model_copy(
            update={"schedule": ScheduleSpec(decay="constant"), "early_stopping": None}
        )

    def trainer(self, segmenter: Segmenter, steps: int, batch: int) -> Trainer | Fitting:
        """Return what trains for some steps, with one evaluation after the last."""
        recipe = self.recipe.model_copy(
            update={"steps": steps, "evaluate_every": steps, "batch_size": batch}
        )
        place = (recipe, self.spec.seed, self.folder, self.accelerator, self.workers, self.store)
        kind: type[Trainer] | type[Fitting] = Trainer
        if not segmenter.head.learns:
            kind = Fitting
        return kind(segmenter, self.images, *place, self.spec.run_id)


def measure(spec: RunSpec, execution: Execution, steps: int) -> Measured:
    """Return what some real steps of a run take here. Nothing is downloaded, nothing is kept.

    Args:
        spec: the run, of central training.
        execution: device, processes that load data, and whether features are kept.
        steps: that are timed, after two more.

    Raises:
        InputError: dataset or model cannot be used here, or there are too few images.
    """
    accelerator = make_accelerator(execution.device)
    with (
        computing(accelerator.device, spec.recipe.precision, execution.deterministic),
        TemporaryDirectory() as folder,
    ):
        _prepare(spec)
        # every run of a study checks its images again, which are known by then
        data, prepared = _timed(lambda: _prepare(spec))
        decoded, read = _reading(data)
        bench = _bench_of(spec, data, accelerator, execution, Path(folder))
        for index in bench.images.train_indices[: BATCHES * spec.recipe.batch_size]:
            bench.images.train[index]
        segmenter, building = _timed(lambda: _built(bench))
        return Measured(
            **_trained(bench, segmenter, steps),
            decoded=decoded,
            read=read,
            start=prepared + building,
            train=len(data.checked.datasets["train"]),
            val=len(data.val.indices),
            report=len(data.report.indices),
        )


def _prepare(spec: RunSpec) -> RunData:
    """Return the run's images.

    Raises:
        InputError: they are not on this machine, or too few to time anything.
    """
    dataset = spec.dataset
    if dataset.hub is not None and not dataset.is_prepared:
        raise InputError(
            f"dataset {dataset.name} is on the hub and not on this machine yet; fetch it with "
            f"'ablate lint {dataset.name}' to time its runs."
        )
    data = prepare_data(spec)
    train, val = len(data.train.indices), len(data.val.indices)
    if spec.fraction and min(train, val) < 2:
        raise InputError(
            f"dataset {dataset.name} has {plural(train, 'training image')} and "
            f"{plural(val, 'validation image')} at the fraction {spec.fraction:g}; the time "
            "measurement needs 2 of each. Plan with a larger fraction."
        )
    return data


def _reading(data: RunData) -> tuple[int, float]:
    """Return the bytes of a decoded image with its mask, and the seconds of reading it."""
    folder = data.checked.datasets["val"]
    chosen = _spread_out(data.val.indices)
    folder[chosen[0]]  # libraries are loaded
    samples, seconds = _timed(lambda: [folder[index] for index in chosen])
    # three bytes of a pixel's colour, and one of its class
    decoded = sum(sample.image.nbytes * 4 // 3 for sample in samples)
    return decoded // len(samples), seconds / len(samples)


def _spread_out(indices: Sequence[int]) -> list[int]:
    """Return some of the indices, from all over the list."""
    return list(indices[:: max(1, len(indices) // PREDICTED)][:PREDICTED])


def _bench_of(
    spec: RunSpec, data: RunData, accelerator: Accelerator, execution: Execution, folder: Path
) -> _Bench:
    """Return what a kind of run is measured with, in a folder that is deleted afterwards."""
    train, val = data.train, data.val
    chosen = train.indices[: BATCHES * spec.recipe.batch_size]
    if spec.recipe.privacy is not None:
        # the noise depends on the number of images
        chosen = train.indices
    pixels = data.record.class_pixels
    shown = (val.samples, _spread_out(val.indices))
    images = TrainingData(spec.dataset, train.samples, list(chosen), *shown, pixels)
    store = None
    if execution.store() is not None:
        store = FeatureStore(folder / "features", NO_LIMIT)
    return _Bench(spec, data, images, accelerator, execution.loaders, store, folder)


def _built(bench: _Bench) -> Segmenter:
    """Return the model on its device, as a run begins with it."""
    local, images = with_local_weights(bench.spec), bench.images
    segmenter = build_model(local, bench.data.record.class_pixels)
    if local == bench.spec:
        part = (images.train, images.train_indices)
        prepare_statistics(segmenter, bench.spec, part, bench.accelerator, bench.workers)
    return segmenter.to(bench.accelerator.device)


def _trained(bench: _Bench, segmenter: Segmenter, steps: int) -> dict[str, float | int]:
    """Return what training, prediction, checkpoints and the cost of the model take."""
    trainer = bench.trainer(segmenter, WARM_UP + steps + 1, bench.spec.recipe.batch_size)
    ends: list[float] = []
    progress = trainer.run(lambda _step, _status: ends.append(time.perf_counter()))
    ended = time.perf_counter()
    found: dict[str, float | int] = _sizes(bench.folder)
    found["memory"] = progress.peak_memory_bytes
    if isinstance(trainer, Fitting):
        found["fit"] = progress.seconds / max(1, len(bench.images.train_indices))
    else:
        # the last step's time holds the evaluation, too
        found["step"] = (ends[-2] - ends[WARM_UP - 1]) / steps
        found["save"] = (ended - ends[-1]) * (1 + found["best"] / max(1, found["last"]))
    found["features"] = _features(bench)
    found["predict"] = _predict_seconds(bench, trainer)
    _, found["cost"] = _timed(lambda: cost_record(segmenter, bench.spec, progress))
    return found


def _predict_seconds(bench: _Bench, trainer: Trainer | Fitting) -> float:
    """Return the seconds of predicting an image that has been read."""
    images = bench.images

    def predict() -> None:
        augmentation = bench.recipe.augmentation
        items = evaluation_items(images.val, images.val_indices, augmentation)
        read = partial(trainer.features.evaluation, images.val)
        classes = len(bench.spec.dataset.classes)
        evaluate(trainer.segmenter, items, classes, bench.accelerator, read=read)

    predict()  # kernels are compiled, images are read
    _, seconds = _timed(predict)
    return seconds / len(images.val_indices)


def _sizes(folder: Path) -> dict[str, float | int]:
    """Return the bytes of the checkpoints in a run's folder."""
    sizes = {path.name: path.stat().st_size for path in folder.glob("checkpoints/*.pt")}
    bodies = [size for name, size in sizes.items() if name.startswith("body-")]
    return {"best": sizes["best.pt"], "last": sizes.get("last.pt", 0), "body": sum(bodies)}


def _features(bench: _Bench) -> int:
    """Return the bytes that the features of an image take on disk; 0 if none are kept."""
    files = [path for path in bench.folder.glob("features/*/*") if path.suffix != ".json"]
    if not files:
        return 0
    return sum(path.stat().st_size for path in files) // len(files)


def _timed(work: Callable[[], Result]) -> tuple[Result, float]:
    """Return what a function returns, and the seconds that it took."""
    started = time.perf_counter()
    result = work()
    return result, time.perf_counter() - started


def largest_batch(spec: RunSpec, execution: Execution) -> int:
    """Return the most images per step with which a run's training fits on the GPU.

    A batch that is divided by ``accumulation`` counts whole. 0 = not even one part fits.
    """

    def fits(batch: int) -> bool:
        free_memory()
        with TemporaryDirectory() as folder:
            return _fits(spec, execution, batch, Path(folder))

    return bisect(fits, spec.recipe.accumulation)


def _fits(spec: RunSpec, execution: Execution, batch: int, folder: Path) -> bool:
    accelerator = make_accelerator(execution.device)
    with computing(accelerator.device, spec.recipe.precision, execution.deterministic):
        bench = _bench_of(spec, _prepare(spec), accelerator, execution, folder)
        try:
            # the second step holds the optimiser's state, too
            bench.trainer(_built(bench), 2, batch).run()
        except torch.cuda.OutOfMemoryError:
            return False
        return True


def free_memory() -> None:
    """Let go of the last model's memory, before another one is measured."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
