"""The training loop: any segmenter, one data order, resumable bit for bit."""

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path

from accelerate import Accelerator
from torch import Tensor

from encoder_ablations.data.loading.items import Batch
from encoder_ablations.engine.cost.memory import PeakMemory
from encoder_ablations.engine.evaluation.evaluate import Evaluation, evaluate
from encoder_ablations.engine.evaluation.main_metric import MAIN_METRICS
from encoder_ablations.engine.evaluation.metrics import validation_metrics
from encoder_ablations.engine.frozen.feature_store import FeatureStore
from encoder_ablations.engine.frozen.features import FeatureSource
from encoder_ablations.engine.recipe import Recipe
from encoder_ablations.engine.training.batch_norm import check_images, synchronise
from encoder_ablations.engine.training.blends import check_blends
from encoder_ablations.engine.training.callbacks import (
    Callback,
    Callbacks,
    EvaluationReport,
    StepReport,
    Training,
)
from encoder_ablations.engine.training.checkpointing.averaging import averaged, make_average
from encoder_ablations.engine.training.checkpointing.saving import (
    Agreement,
    BestCheckpoint,
    LastCheckpoint,
    Stateful,
)
from encoder_ablations.engine.training.checkpointing.top_checkpoints import TopCheckpoints
from encoder_ablations.engine.training.course import Advance, Course, Loop
from encoder_ablations.engine.training.data import TrainingData
from encoder_ablations.engine.training.early_stopping import EarlyStopping
from encoder_ablations.engine.training.logs.curves import MetricsFile
from encoder_ablations.engine.training.logs.tensorboard import TensorBoard
from encoder_ablations.engine.training.optimizer import build_optimizer
from encoder_ablations.engine.training.private.step import PrivateStep
from encoder_ablations.engine.training.schedule import rate_factor, set_rates
from encoder_ablations.engine.training.state import LOSS_POINTS, Progress
from encoder_ablations.engine.training.statistic_images import statistic_batches
from encoder_ablations.engine.training.steps import MicroBatch, PlainStep, Step, StepSetup
from encoder_ablations.segmenters.base import Segmenter
from encoder_ablations.segmenters.ops.transfers import sent
from encoder_ablations.utils.interrupts import deferred_interrupt
from encoder_ablations.utils.seeding import seed_global

PICTURES = 4
"""Images of every evaluation that callbacks are shown."""


class Trainer:
    """Trains one segmenter in one folder.

    Random numbers of step t come from the stream (seed, "step", t), the data of step t from its
    position, and all else is in the checkpoint: a run that is killed and started again ends with
    the same bits.
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
        make_step: Callable[[StepSetup], Step] | None = None,
        make_course: Callable[[StepSetup, Step], Course] | None = None,
    ) -> None:
        """Prepare everything; nothing is read from or written to ``folder`` before :meth:`run`.

        Args:
            segmenter: the model; it is trained in place.
            data: images to train and to validate on.
            recipe: how to train.
            seed: of data order, augmentation and everything else that is random.
            folder: where checkpoints, curves and events lie.
            accelerator: the device, and the processes that share the run.
            workers: processes that load data; 0 = this one.
            store: where a frozen body's features are kept; None = computed every time.
            run_id: whose checkpoints ``folder`` holds; None = the run that the folder is named by.
            callbacks: called in this order, after the built-in ones, before a checkpoint is saved.
            make_step: makes the way in which a batch becomes a step; None = the recipe's own.
            make_course: makes the order of the steps; None = one after the other.
        """
        self.segmenter = segmenter.to(accelerator.device)
        self.data = data
        self.recipe = recipe
        self.seed, self.folder = seed, folder
        self.run_id = run_id or folder.name
        self.accelerator, self.workers = accelerator, workers
        self.features = FeatureSource(self.segmenter, recipe, store)
        self.average = make_average(self.segmenter, recipe, self._statistic_images)
        self.progress = Progress(metric=MAIN_METRICS[data.spec.task].key)
        self.optimizer = build_optimizer(segmenter, recipe.optimizer)
        setup = self._step_setup()
        self.step = (make_step or self._usual_step)(setup)
        self.course = make_course and make_course(setup, self.step)
        self.memory = PeakMemory(accelerator.device)
        self.agreement = Agreement(accelerator)
        self.log_every = max(1, recipe.steps // LOSS_POINTS)
        self.best = folder / "checkpoints" / "best.pt"
        self.callbacks = Callbacks([*self._own_callbacks(), *callbacks])
        self.checkpoint = self._last_checkpoint()

    def _step_setup(self) -> StepSetup:
        if self.accelerator.num_processes > 1:
            synchronise(self.segmenter)
        return StepSetup(self.segmenter, self.optimizer, self.recipe, self.accelerator)

    def _usual_step(self, setup: StepSetup) -> Step:
        if self.recipe.privacy is None:
            return PlainStep(setup)
        return PrivateStep(setup, self.seed, len(self.data.train_indices))

    def _statistic_images(self) -> Iterable[Tensor]:
        images = (self.data.train, self.data.train_indices)
        return statistic_batches(*images, self.recipe.augmentation, self.seed, self.workers)

    def _own_callbacks(self) -> list[Callback]:
        # the best checkpoint may refuse to go on, before the others open their files
        found: list[Callback] = [BestCheckpoint(self.best, partial(averaged, self.average))]
        if self.recipe.checkpoints.keep > 1:
            found.append(TopCheckpoints(self.best, self.recipe.checkpoints))
        if self.average is not None:
            found.append(self.average)
        if self.recipe.early_stopping is not None:
            found.append(EarlyStopping(self.recipe.early_stopping))
        return [*found, TensorBoard(self.data.spec), MetricsFile()]

    def _last_checkpoint(self) -> LastCheckpoint:
        parts: dict[str, Stateful] = {
            "optimizer": self.optimizer,
            "step_state": self.step,
            "progress": self.progress,
            "callbacks": self.callbacks,
        }
        if self.course is not None:
            parts["course"] = self.course
        return LastCheckpoint(self.best.with_name("last.pt"), self.run_id, self.segmenter, parts)

    def run(self, advance: Advance = lambda step, status: None) -> Progress:
        """Train to the last step, from the last checkpoint if there is one.

        Args:
            advance: called after every step with the number of steps done and a short status.

        Raises:
            InputError: the head's BatchNorm needs more images at a time than the recipe gives, or
                the head cannot learn from images that are blended.
            FloatingPointError: the loss is not finite.
            Stopped: Ctrl-C, SIGTERM or SIGHUP, after the step has been finished and saved. Of
                several processes all stop after the same step, whichever of them it reached.
        """
        check_images(self.segmenter, self.recipe)
        check_blends(self.segmenter, self.recipe)
        self.checkpoint.resume()
        self.progress.peak_memory_of = self.memory.words(self.accelerator.num_processes)
        self.memory.restart()
        self.segmenter.train()
        with deferred_interrupt() as self.agreement.interrupt:
            self._start()
            try:
                self._train(advance)
            finally:
                self.callbacks.on_end(self.progress.step, self._finished)
        return self.progress

    @property
    def _finished(self) -> bool:
        return self.progress.step == self.recipe.steps or self.progress.stopped is not None

    def _start(self) -> None:
        training = Training(
            self.segmenter,
            self.progress,
            self.folder,
            self.run_id,
            self.recipe.steps,
            self.accelerator.is_main_process,
        )
        self.callbacks.on_start(training)
        self.checkpoint.on_start(training)

    def _train(self, advance: Advance) -> None:
        self.agreement.restart()
        if self._finished:  # killed before the run was recorded
            return
        if self.course is not None:
            self.course.train(self._loop(), advance)
            return
        for batches in self.data.batches(
            self.recipe, self.seed, self.progress.step, self.accelerator, self.workers
        ):
            loss = self._step(batches)
            self._report(loss, self.step.terms)
            evaluated = self._evaluate_if_due()
            # whoever is told may ask for an interruption, which saves this step, too
            advance(self.progress.step, f"loss {loss:.3f}")
            if evaluated or self.agreement.due:
                self._save()
            if self._finished:
                break

    def _loop(self) -> Loop:
        asked = (lambda: self.agreement.due, lambda: self.agreement.interrupt.requested)
        actions = (self._step, self._report, self._evaluate_if_due, self._save)
        return Loop(self.progress, *actions, *asked, lambda: self._finished)

    def _step(self, batches: list[Batch], seed: int | None = None) -> float:
        """Make one optimiser step, by default with the run's seed; return the batch's loss."""
        if seed is None:
            seed = self.seed
        started = time.perf_counter()
        step = self.progress.step
        set_rates(self.optimizer, rate_factor(step, self.recipe.steps, self.recipe.schedule))
        self.segmenter.head.progressed(step / self.recipe.steps)
        seed_global(seed, "step", step, self.accelerator.process_index)
        reduce = partial(self.agreement.reduce, step=step)
        loss = self.step.take([self._moved(batch) for batch in batches], reduce)
        self.progress.step += 1
        self.progress.seconds += time.perf_counter() - started
        self.progress.peak_memory_bytes = max(self.progress.peak_memory_bytes, self.memory.read())
        return loss

    def _moved(self, batch: Batch) -> MicroBatch:
        device = self.accelerator.device
        images = self.features.training(self.data.train, batch, sent(batch.images, device))
        return MicroBatch.of(batch, images, device)

    def _report(self, loss: float, terms: Mapping[str, float]) -> None:
        new_point = self.progress.record_loss(loss, self.log_every, terms)
        mean_loss, mean_terms = None, {}
        if new_point:
            mean_loss = self.progress.loss[-1]
            mean_terms = {name: curve[-1] for name, curve in self.progress.terms.items()}
        rate = self.optimizer.param_groups[0]["lr"]
        self.callbacks.on_step(StepReport(self.progress.step, loss, mean_loss, rate, mean_terms))

    def _evaluate_if_due(self) -> bool:
        """Evaluate after the last step and at the recipe's intervals; return whether it did."""
        step = self.progress.step
        if step < self.recipe.steps and step % self.recipe.evaluate_every:
            return False
        self._evaluate()
        self.memory.restart()
        return True

    def _evaluate(self) -> None:
        with averaged(self.average):
            result = self._predictions()
            values = validation_metrics(result.confusion, self.data.spec.task)
            best = self.progress.record_evaluation(values, self.recipe.checkpoints.metric)
            self.progress.record_privacy(self.step.privacy())
            miou = MAIN_METRICS[self.data.spec.task].of(result.confusion)
            report = EvaluationReport(
                self.progress.step, miou, best, result.confusion, result.pictures
            )
            self.callbacks.on_evaluation(report)
        if self.progress.step < self.recipe.steps:
            self.progress.stopped = self.callbacks.reason_to_stop()

    def _predictions(self) -> Evaluation:
        """Return what the model predicts on the validation images."""
        augmentation = self.recipe.augmentation
        items = self.data.validation(augmentation, self.accelerator, self.workers)
        return evaluate(
            self.segmenter,
            items,
            len(self.data.spec.classes),
            self.accelerator,
            keep_pictures=PICTURES,
            read=partial(self.features.evaluation, self.data.val),
            batch=self.data.validate_together,
        )

    def _save(self) -> None:
        """Save a checkpoint, together with all processes.

        Raises:
            Stopped: one of them was interrupted.
        """
        stops = self.agreement.stops()
        self.progress.peak_memory_bytes = self.agreement.most(self.progress.peak_memory_bytes)
        self.callbacks.on_checkpoint(self.progress.step)
        self.checkpoint.on_checkpoint(self.progress.step)
        self.callbacks.on_saved()
        self.accelerator.wait_for_everyone()
        self.agreement.restart()
        if stops:
            self.agreement.interrupt.stop()
