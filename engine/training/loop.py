"""The training loop: any segmenter, one data order, resumable bit for bit."""

import json
import math
import time
from collections.abc import Callable, Iterable
from contextlib import closing, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from encoder_ablations.data.datasets.spec import DatasetSpec
from encoder_ablations.data.loading.batches import (
    Batch,
    Samples,
    evaluation_items,
    training_batches,
)
from encoder_ablations.engine.cost.memory import PeakMemory
from encoder_ablations.engine.devices import autocast
from encoder_ablations.engine.evaluation.evaluate import evaluate
from encoder_ablations.engine.evaluation.metrics import mean_iou
from encoder_ablations.engine.frozen.feature_store import FeatureStore
from encoder_ablations.engine.frozen.features import FeatureSource
from encoder_ablations.engine.recipe import Recipe
from encoder_ablations.engine.training.batch_norm import synchronise
from encoder_ablations.engine.training.checkpoints import (
    load_checkpoint,
    load_model,
    save_checkpoint,
)
from encoder_ablations.engine.training.optimizer import build_optimizer, rate_factor, set_rates
from encoder_ablations.engine.training.state import LOSS_POINTS, Progress
from encoder_ablations.engine.training.tensorboard import Curves
from encoder_ablations.segmenters.base import Features, Segmenter
from encoder_ablations.utils.files import write_text
from encoder_ablations.utils.interrupts import Interrupt, deferred_interrupt
from encoder_ablations.utils.seeding import seed_global

CHECKPOINT_SECONDS = 30.0


@dataclass(frozen=True)
class TrainingData:
    """Which images are trained on, and which decide the best checkpoint."""

    spec: DatasetSpec
    train: Samples
    train_indices: list[int]
    val: Samples
    val_indices: list[int]


class _Losses(nn.Module):
    """Makes the loss the forward pass, which is what DistributedDataParallel synchronises."""

    def __init__(self, segmenter: Segmenter) -> None:
        super().__init__()
        self.segmenter = segmenter

    def forward(
        self, images: Tensor | Features, masks: Tensor, totals: dict[str, Tensor]
    ) -> dict[str, Tensor]:
        return self.segmenter.loss(images, masks, totals)


class Trainer:
    """Trains one segmenter in one folder.

    Random numbers of step t come from the stream (seed, "step", t), the data of step t from its position, and all else
    is in the checkpoint: a run that is killed and started again ends with the same bits.
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
    ) -> None:
        """
        Args:
            run_id: whose checkpoints ``folder`` holds; None = the run that the folder is named by.
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
        self.progress = Progress()
        self.optimizer = build_optimizer(segmenter, recipe.optimizer)
        self.scaler = torch.amp.GradScaler(
            accelerator.device.type, enabled=recipe.precision == "fp16"
        )
        if accelerator.num_processes > 1:
            synchronise(segmenter)
        self.losses = accelerator.prepare_model(_Losses(segmenter))
        self.memory = PeakMemory(accelerator.device)
        self.interrupt = Interrupt()
        self.saved = time.monotonic()
        self.save_agreed = False
        self.log_every = max(1, recipe.steps // LOSS_POINTS)
        self.last = folder / "checkpoints" / "last.pt"
        self.best = folder / "checkpoints" / "best.pt"

    def run(self, advance: Callable[[int, str], object] = lambda step, status: None) -> Progress:
        """Trains to the last step, from the last checkpoint if there is one.

        Args:
            advance: called after every step with the number of steps done and a short status.

        Raises:
            FloatingPointError: the loss is not finite.
            KeyboardInterrupt: Ctrl-C, after the step has been finished and saved; of several processes in all of them
                after the same step, whichever of them it reached.
        """
        self._resume()
        self.progress.peak_memory_of = self.memory.words(self.accelerator.num_processes)
        self.memory.restart()
        curves = Curves(self.folder, self.progress.step, enabled=self.accelerator.is_main_process)
        self.segmenter.train()
        with closing(curves), deferred_interrupt() as self.interrupt:
            self._train(curves, advance)
        return self.progress

    def _train(self, curves: Curves, advance: Callable[[int, str], object]) -> None:
        alone = self.accelerator.num_processes == 1
        self.saved = time.monotonic()
        for batches in self._batches():
            loss = self._step(batches)
            if self.progress.record_loss(loss, self.log_every):
                self._write_metrics()
                curves.scalar("train/loss", self.progress.loss[-1], self.progress.step)
                curves.scalar("train/lr", self.optimizer.param_groups[0]["lr"], self.progress.step)
            due = (
                self.progress.step == self.recipe.steps
                or self.progress.step % self.recipe.evaluate_every == 0
            )
            if due:
                self._evaluate(curves)
                self.memory.restart()
            advance(
                self.progress.step, f"loss {loss:.3f}"
            )  # may ask for an interruption, which saves this step, too
            if due or self.save_agreed or (alone and self.interrupt.requested):
                stop = self._share()
                self._save()
                self.saved = time.monotonic()
                if stop:
                    raise KeyboardInterrupt

    def _share(self) -> bool:
        """Take the largest memory of all processes; return whether any of them was interrupted."""
        own = [self.progress.peak_memory_bytes, int(self.interrupt.requested)]
        everyone = self.accelerator.gather(torch.tensor([own], device=self.accelerator.device))
        memory, stop = everyone.amax(dim=0).tolist()
        self.progress.peak_memory_bytes = memory
        return bool(stop)

    def _batches(self) -> Iterable[list[Batch]]:
        return training_batches(
            self.data.train,
            self.data.train_indices,
            self.recipe.augmentation,
            seed=self.seed,
            batch_size=self.recipe.batch_size,
            steps=self.recipe.steps,
            start_step=self.progress.step,
            accumulation=self.recipe.accumulation,
            rank=self.accelerator.process_index,
            world=self.accelerator.num_processes,
            workers=self.workers,
        )

    def _step(self, batches: list[Batch]) -> float:
        """One optimiser step; returns the loss of the whole batch."""
        started = time.perf_counter()
        step, device = self.progress.step, self.accelerator.device
        set_rates(self.optimizer, rate_factor(step, self.recipe.steps, self.recipe.schedule))
        seed_global(self.seed, "step", step, self.accelerator.process_index)
        moved = [
            (
                self.features.training(self.data.train, batch, batch.images.to(device)),
                batch.masks.to(device),
            )
            for batch in batches
        ]
        totals = self._totals([masks for _, masks in moved])
        value = torch.zeros((), device=device)
        for index, (images, masks) in enumerate(moved):
            last = index == len(moved) - 1
            with nullcontext() if last else self.accelerator.no_sync(self.losses):
                with autocast(device, self.recipe.precision):
                    loss = torch.stack(list(self.losses(images, masks, totals).values())).sum()
                # DistributedDataParallel averages over processes; the totals are those of all of them together
                self.scaler.scale(loss * self.accelerator.num_processes).backward()
            value += loss.detach()
        # saving is done together, so it is decided together: the wish to save travels with the loss
        wish = torch.tensor(float(self._wants_to_save()), device=device)
        loss_sum, wishes = self.accelerator.reduce(torch.stack([value, wish]), "sum").tolist()
        if not math.isfinite(loss_sum):
            raise FloatingPointError(
                f"the loss is {loss_sum} at step {step}; a lower learning rate may help"
            )
        self._update()
        self.progress.step += 1
        self.progress.seconds += time.perf_counter() - started
        self.progress.peak_memory_bytes = max(self.progress.peak_memory_bytes, self.memory.read())
        self.save_agreed = wishes > 0
        return loss_sum

    def _wants_to_save(self) -> bool:
        """The first process's clock counts for all, and an interruption of any."""
        due = time.monotonic() - self.saved > CHECKPOINT_SECONDS
        return self.interrupt.requested or (self.accelerator.is_main_process and due)

    def _totals(self, masks: list[Tensor]) -> dict[str, Tensor]:
        """Counts of the whole batch: over micro-batches and processes."""
        parts = [self.segmenter.totals(part) for part in masks]
        summed = {name: torch.stack([part[name] for part in parts]).sum() for name in parts[0]}
        return {name: self.accelerator.reduce(value, "sum") for name, value in summed.items()}

    def _update(self) -> None:
        self.scaler.unscale_(self.optimizer)
        if self.recipe.optimizer.clip_norm is not None:
            parameters = [
                parameter for group in self.optimizer.param_groups for parameter in group["params"]
            ]
            nn.utils.clip_grad_norm_(parameters, self.recipe.optimizer.clip_norm)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)

    def _evaluate(self, curves: Curves) -> None:
        items = evaluation_items(
            self.data.val,
            self.data.val_indices,
            self.recipe.augmentation,
            rank=self.accelerator.process_index,
            world=self.accelerator.num_processes,
            workers=self.workers,
        )
        spec = self.data.spec
        read = partial(self.features.evaluation, self.data.val)
        result = evaluate(
            self.segmenter, items, len(spec.classes), self.accelerator, keep_pictures=4, read=read
        )
        miou = mean_iou(result.confusion)
        best = self.progress.record_evaluation(None if math.isnan(miou) else miou)
        curves.scalar("val/miou", miou, self.progress.step)
        curves.pictures("val", result.pictures, spec, self.progress.step)
        self._write_metrics()
        if best and self.accelerator.is_main_process:
            content = {
                "model": self.segmenter.state_dict(),
                "step": self.progress.step,
                "val_miou": miou,
            }
            save_checkpoint(self.best, {"run_id": self.run_id, **content})

    def _save(self) -> None:
        if self.accelerator.is_main_process:
            content = {
                "model": self.segmenter.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "scaler": self.scaler.state_dict(),
                "progress": self.progress.state_dict(),
            }
            save_checkpoint(self.last, {"run_id": self.run_id, **content})
        self.accelerator.wait_for_everyone()

    def _resume(self) -> None:
        if not self.last.exists():
            return
        content = load_checkpoint(self.last, self.run_id)
        load_model(self.segmenter, content["model"], self.last)
        self.optimizer.load_state_dict(content["optimizer"])
        self.scaler.load_state_dict(content["scaler"])
        self.progress.load_state_dict(content["progress"])

    def _write_metrics(self) -> None:
        """The curves as one JSON object a line; rewritten whole, so that an interrupted run leaves no stale lines."""
        if not self.accelerator.is_main_process:
            return
        lines = [json.dumps(point) for point in self.progress.points()]
        write_text(self.folder / "metrics.jsonl", "\n".join(lines) + "\n")
