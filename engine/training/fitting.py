"""What a run does in place of training where the head does not learn by gradients."""

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import torch
from accelerate import Accelerator
from torch import Tensor

from encoder_ablations.data.loading.batches import evaluation_items
from encoder_ablations.engine.cost.memory import PeakMemory
from encoder_ablations.engine.evaluation.evaluate import Evaluation
from encoder_ablations.engine.evaluation.main_metric import MAIN_METRICS
from encoder_ablations.engine.frozen.feature_store import FeatureStore
from encoder_ablations.engine.frozen.features import FeatureSource
from encoder_ablations.engine.recipe import Recipe
from encoder_ablations.engine.training.callbacks import Callback, Callbacks, Training
from encoder_ablations.engine.training.checkpointing.frozen_body import save_model
from encoder_ablations.engine.training.checkpoints import load_checkpoint
from encoder_ablations.engine.training.data import TrainingData
from encoder_ablations.engine.training.state import Progress
from encoder_ablations.engine.training.validation import PICTURES, record_validation, validate
from encoder_ablations.segmenters.base import Segmenter
from encoder_ablations.segmenters.features import Features
from encoder_ablations.utils.arithmetic import tensor_float32
from encoder_ablations.utils.seeding import torch_stream


class Fitting:
    """Takes the place of a :class:`~.loop.Trainer`: no optimiser, no steps, no schedule.

    The head reads the training images once, or nothing at all. It is then evaluated once on the
    validation images. The best checkpoint is what it is then. A run that was killed afterwards goes
    on from that checkpoint.

    Attributes:
        validation: what the head predicted on the validation images; None where an earlier start
            evaluated it.
    """

    def __init__(
        self,
        segmenter: Segmenter,
        data: TrainingData,
        recipe: Recipe,
        seed: int,
        folder: Path,
        accelerator: Accelerator,
        workers: int = 0,
        store: FeatureStore | None = None,
        run_id: str | None = None,
        callbacks: Sequence[Callback] = (),
        pictures: int = PICTURES,
    ) -> None:
        """Prepare everything; nothing is read from or written to ``folder`` before :meth:`run`.

        Args:
            segmenter: the model; its head is changed in place.
            data: images to read, and those to validate on.
            recipe: gives the size at which images are read.
            seed: of everything that is random.
            folder: where the checkpoint lies.
            accelerator: the device, and the processes that share the run. Each reads all images.
            workers: processes that load data; 0 = this one.
            store: where the body's features are kept; None = computed every time.
            run_id: whose checkpoint ``folder`` holds; None = the run that the folder is named by.
            callbacks: told when it begins, of the evaluation, and when it ends.
            pictures: how many images of the evaluation are kept as pictures.
        """
        self.segmenter = segmenter.to(accelerator.device)
        self.data = data
        self.recipe = recipe
        self.seed = seed
        self.folder = folder
        self.run_id = run_id or folder.name
        self.accelerator = accelerator
        self.workers = workers
        self.features = FeatureSource(self.segmenter, recipe, store)
        self.progress = Progress(metric=MAIN_METRICS[data.spec.task].key)
        self.best = folder / "checkpoints" / "best.pt"
        self.callbacks = Callbacks(list(callbacks))
        self.pictures = pictures
        self.validation: Evaluation | None = None

    def run(self, advance: Callable[[int, str], object] = lambda step, status: None) -> Progress:
        """Let the head read the images and evaluate it, unless an earlier start has done so.

        Args:
            advance: called once, with 0 steps and a short status.

        Returns:
            The time that reading took, and the score on the validation images.

        Raises:
            CheckpointError: the checkpoint of an earlier start is damaged or another run's.
        """
        advance(0, "without training steps")
        writes = self.accelerator.is_main_process
        self.callbacks.on_start(
            Training(self.segmenter, self.progress, self.folder, self.run_id, 0, writes)
        )
        if self.best.exists():
            self.progress.load_state_dict(load_checkpoint(self.best, self.run_id)["progress"])
        else:
            self._fit()
            self._validate()
            if writes:
                self._save()
        self.accelerator.wait_for_everyone()
        self.callbacks.on_end(0, True)
        return self.progress

    def _fit(self) -> None:
        memory = PeakMemory(self.accelerator.device)
        self.progress.peak_memory_of = memory.words(self.accelerator.num_processes)
        memory.restart()
        started = time.perf_counter()
        self.segmenter.eval()
        # a head that needs no images is given none
        if self.data.train_indices:
            with torch_stream(self.seed, "fit"), torch.no_grad(), tensor_float32(False):
                self.segmenter.fit(self._images())
        self.progress.seconds = time.perf_counter() - started
        self.progress.peak_memory_bytes = memory.read()

    def _validate(self) -> None:
        """Evaluate the head as a :class:`~.loop.Trainer` evaluates; its score is that of step 0."""
        data, accelerator = self.data, self.accelerator
        items = data.validation(self.recipe.augmentation, accelerator, self.workers)
        place = (self.features, data.val, items, data.spec, accelerator)
        found = validate(*place, self.pictures, data.validate_together)
        self.validation = found
        report = record_validation(found, self.progress, data.spec.task, self.recipe)
        self.callbacks.on_evaluation(report)

    def _images(self) -> Iterator[tuple[Tensor | Features, Tensor]]:
        """Yield every training image once, as evaluation sees it, with its mask at its size."""
        items = evaluation_items(
            self.data.train,
            sorted(set(self.data.train_indices)),
            self.recipe.augmentation,
            workers=self.workers,
        )
        for item in items:
            height, width = item.image.shape[-2:]
            mask = nearest(item.mask, (height, width)).to(self.accelerator.device)
            yield self.features.evaluation(self.data.train, item), mask

    def _save(self) -> None:
        content = {"run_id": self.run_id, "step": 0, "val_score": self.progress.best_score}
        save_model(self.best, self.segmenter, {**content, "progress": self.progress.state_dict()})


def nearest(mask: Tensor, size: tuple[int, int]) -> Tensor:
    """Return a mask H×W at another size: each pixel is that below its middle.

    Args:
        mask: class ids.
        size: (H, W) of the result.
    """
    rows, columns = (
        ((torch.arange(new) + 0.5) * old / new).long()
        for new, old in zip(size, mask.shape, strict=True)
    )
    return mask[rows[:, None], columns]
