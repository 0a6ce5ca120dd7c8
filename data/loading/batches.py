"""Batches that depend on the seed and the step alone.

Position p = 0, 1, 2, … counts the samples of a whole run: batch t holds the positions from t·B to
t·B + B - 1. Position p lies in epoch p // n. Each epoch visits the n samples in an order of its
own, and the augmentation of position p has its own random stream. So has the choice of the sample
that it is mixed with. Neither the number of workers or processes nor an interruption changes what a
model is trained on.
"""

from collections.abc import Callable, Generator, Iterator, Sequence
from typing import Any, TypeVar

import cv2
import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from encoder_ablations.data.datasets.sample import Sample
from encoder_ablations.data.loading.items import Batch, EvaluationItem, Samples, ShrunkSamples
from encoder_ablations.data.loading.mixing import mixer_of
from encoder_ablations.data.loading.training_views import Key, Order, TrainingViews, collate
from encoder_ablations.data.views.augmentation import AugmentationSpec
from encoder_ablations.data.views.transforms import evaluation_view
from encoder_ablations.utils.errors import InputError
from encoder_ablations.utils.interrupts import held_back, leave_to_parent
from encoder_ablations.utils.seeding import numpy_stream

Value = TypeVar("Value")


def training_batches(
    dataset: Samples,
    indices: Sequence[int],
    augmentation: AugmentationSpec,
    *,
    seed: int,
    batch_size: int,
    steps: int,
    start_step: int = 0,
    accumulation: int = 1,
    rank: int = 0,
    world: int = 1,
    workers: int = 0,
    class_pixels: Sequence[int] | None = None,
    pinned: bool = False,
) -> Iterator[list[Batch]]:
    """Yield this process's ``accumulation`` micro-batches for each of the steps.

    The micro-batches of all ``world`` processes, by rank and then in their order, are the batch of
    a single process.

    Args:
        dataset: where the samples come from.
        indices: the samples of ``dataset`` that are trained on.
        augmentation: what is done to them.
        seed: of the order and the augmentation.
        batch_size: samples per step, over all processes and micro-batches.
        steps: the steps of the whole run.
        start_step: the first step, counted from 0.
        accumulation: micro-batches per step and process.
        rank: the number of this process, from 0.
        world: how many processes train together.
        workers: processes that read files for this one.
        class_pixels: of each class in those samples; to balance them.
        pinned: whether batches lie in page-locked memory, from where a GPU copies at once.

    Raises:
        InputError: the batch cannot be divided evenly; while iterating: a file cannot be read.
    """
    micro = micro_batch(batch_size, accumulation, world)
    mixer = mixer_of(augmentation.mix, indices, seed, batch_size)
    order = Order(indices, seed, mixer)
    parts = range(rank * accumulation, (rank + 1) * accumulation)
    steps_left = range(start_step, steps)
    starts = (step * batch_size + part * micro for step in steps_left for part in parts)
    keys = ([order[position] for position in range(start, start + micro)] for start in starts)
    views = TrainingViews(dataset, augmentation, seed, mixer, class_pixels)
    micro_batches = _load(views, keys, collate, workers, pinned)
    return map(list, zip(*[micro_batches] * accumulation, strict=True))


def poisson_batches(
    dataset: Samples,
    indices: Sequence[int],
    augmentation: AugmentationSpec,
    *,
    seed: int,
    batch_size: int,
    steps: int,
    start_step: int = 0,
    workers: int = 0,
) -> Iterator[list[Batch]]:
    """Yield a Poisson sample of the images for each of the steps, as one batch that may be empty.

    Each image is in the sample of step t with probability ``batch_size`` / n, whatever the others
    do. The choice comes from the stream (seed, "poisson", t). The augmentation of an image depends
    on the step and on the image alone.

    Args:
        dataset: where the samples come from.
        indices: the n samples of ``dataset`` that are trained on.
        augmentation: what is done to them.
        seed: of the choice and the augmentation.
        batch_size: the expected number of images.
        steps: the steps of the whole run.
        start_step: the first step, counted from 0.
        workers: processes that read files for this one; 0 = none.

    Raises:
        InputError: while iterating: a file cannot be read.
    """
    count = len(indices)

    def keys(step: int) -> list[Key]:
        chosen = numpy_stream(seed, "poisson", step).random(count) < batch_size / count
        epoch = step * batch_size // count
        return [
            Key(step * count + place, indices[place], epoch)
            for place in np.flatnonzero(chosen).tolist()
        ]

    views = TrainingViews(dataset, augmentation, seed, None, None)
    samples = _load(views, (keys(step) for step in range(start_step, steps)), collate, workers)
    return ([sample] for sample in samples)


def micro_batch(batch_size: int, accumulation: int, world: int) -> int:
    """Return the images per forward pass.

    Raises:
        InputError: the batch cannot be divided evenly over processes and accumulation steps.
    """
    parts = world * accumulation
    if batch_size % parts:
        raise InputError(
            f"batch_size {batch_size} cannot be divided evenly over {world} processes × "
            f"accumulation {accumulation}; allowed are multiples of {parts}."
        )
    return batch_size // parts


def evaluation_items(
    dataset: Samples,
    indices: Sequence[int],
    augmentation: AugmentationSpec,
    *,
    rank: int = 0,
    world: int = 1,
    workers: int = 0,
) -> Iterator[EvaluationItem]:
    """Yield one image at a time, in the order of ``indices``.

    With several processes, each takes every ``world``-th image.

    Raises:
        InputError: while iterating: a file cannot be read.
    """
    keys = ([index] for index in indices[rank::world])
    return _load(_EvaluationViews(dataset, augmentation), keys, _first, workers)


class EvaluationLoader:
    """Yields the images of :func:`evaluation_items` as often as it is iterated over.

    Its workers go on to live in between, with what their datasets keep in memory. They end with the
    object.

    Args:
        dataset: where the samples come from.
        indices: of the samples, in their order.
        augmentation: says at which size images are evaluated.
        workers: processes that read files; at least 1.
        pinned: see :func:`training_batches`.
    """

    def __init__(
        self,
        dataset: Samples,
        indices: Sequence[int],
        augmentation: AugmentationSpec,
        workers: int,
        pinned: bool = False,
    ) -> None:
        _stop_opencv_threads()
        self._loader: DataLoader[Any] = DataLoader(
            _EvaluationViews(dataset, augmentation),
            sampler=list(indices),
            batch_size=None,
            num_workers=workers,
            persistent_workers=True,
            pin_memory=pinned,
            worker_init_fn=_begin_worker,
            generator=torch.Generator(),
        )

    def __iter__(self) -> Iterator[EvaluationItem]:
        """Yield all images.

        Raises:
            InputError: a file cannot be read.
        """
        with held_back():  # the workers start here
            loader = iter(self._loader)
        for result in loader:
            if isinstance(result, InputError):
                raise result
            yield result


class _EvaluationViews(Dataset[Any]):
    def __init__(self, dataset: Samples, augmentation: AugmentationSpec) -> None:
        self._dataset = dataset
        self._augmentation = augmentation

    def __getitem__(self, index: int) -> EvaluationItem | InputError:
        try:
            sample = self._dataset[index]
            mask = self._full_mask(sample, index)
        except InputError as error:
            return error
        pixels = evaluation_view(sample, self._augmentation).transpose(2, 0, 1).copy()
        return EvaluationItem(
            torch.from_numpy(pixels), torch.from_numpy(mask), sample.id, index, sample.image_class
        )

    def _full_mask(self, sample: Sample, index: int) -> np.ndarray:
        """Return the mask at its own size, at which metrics are computed."""
        truth = sample.truth
        if isinstance(self._dataset, ShrunkSamples) and truth.shape != sample.size:
            return self._dataset.full_mask(index)
        return truth


def _load(
    views: Dataset[Any],
    keys: Generator[list[Any]],
    collate: Callable[[list[Any]], Value | InputError],
    workers: int,
    pinned: bool = False,
) -> Iterator[Value]:
    """Yield one result of ``collate`` for each list of ``keys``, in order.

    Errors in a worker come back as values: PyTorch would wrap their one line in a traceback. When
    the caller stops early, what is under way is finished and the workers end: left to the garbage
    collector they block for seconds.
    """
    # here, too: forked workers must not inherit a pool whose threads are not theirs
    _stop_opencv_threads()
    batches = DataLoader(
        views,
        batch_sampler=keys,
        collate_fn=collate,
        num_workers=workers,
        pin_memory=pinned,
        worker_init_fn=_begin_worker,
        # seeds for workers are drawn from it: the global generator stays as it is
        generator=torch.Generator(),
    )
    with held_back():  # the workers start here
        loader = iter(batches)
    try:
        for result in loader:
            if isinstance(result, InputError):
                raise result
            yield result
    except (InputError, GeneratorExit):
        keys.close()
        for _ in loader:
            pass
        raise


def _begin_worker(_number: int) -> None:
    leave_to_parent()
    _stop_opencv_threads()


def _stop_opencv_threads() -> None:
    """Let OpenCV compute in the thread that calls it: workers run side by side already."""
    cv2.setNumThreads(0)


def _first(views: list[Value]) -> Value:
    return views[0]
