"""The official Mask2Former ``Trainer``, with what our encoders and records need."""

import time
from functools import cache
from pathlib import Path
from typing import Any

import torch
from detectron2.config import CfgNode
from detectron2.engine import AMPTrainer, HookBase, hooks
from detectron2.utils import comm
from torch import nn

from encoder_ablations.encoders.frameworks.detectron2 import EncoderBackbone
from encoder_ablations.engine.cost.memory import PeakMemory
from encoder_ablations.engine.evaluation.metrics import number_or_none
from encoder_ablations.engine.training.batch_norm import synchronise
from encoder_ablations.engine.training.checkpoints import save_checkpoint
from encoder_ablations.engine.training.optimizer import undecayed_names
from encoder_ablations.engine.training.state import LOSS_POINTS, Progress
from encoder_ablations.experiments.detectron2_loop.repository import official_trainer
from encoder_ablations.experiments.detectron2_loop.translation import DTYPES
from encoder_ablations.experiments.runs.spec import RunSpec
from encoder_ablations.utils.arithmetic import tensor_float32
from encoder_ablations.utils.interrupts import Interrupt

KEPT = 2
"""How many of Detectron2's checkpoints a run keeps, besides the best and the final weights."""


class RecordedTraining:
    """What :func:`trainer_class` adds to the official ``Trainer``.

    Optimiser groups for our encoders, bfloat16, a :class:`Recorder`, and tests in true float32.

    Attributes:
        interrupt: when it is requested, the step is finished and saved before training stops.
    """

    _trainer: Any
    cfg: CfgNode
    checkpointer: Any
    iter: int
    interrupt = Interrupt()

    def __init__(self, cfg: CfgNode, spec: RunSpec | None = None) -> None:
        """Build the official trainer.

        Args:
            cfg: its configuration.
            spec: what is trained; None where no record is kept.
        """
        self.recorder: Recorder | None = None
        if spec is not None:
            self.recorder = Recorder(cfg, spec)
        super().__init__(cfg)  # type: ignore[call-arg]
        if cfg.SOLVER.AMP.ENABLED and cfg.SOLVER.AMP.DTYPE != "float16":
            inner = self._trainer
            self._trainer = AMPTrainer(
                inner.model,
                inner.data_loader,
                inner.optimizer,
                # bfloat16 has float32's range and needs no scaling
                grad_scaler=torch.amp.GradScaler("cuda", enabled=False),
                precision=DTYPES[cfg.SOLVER.AMP.DTYPE],
            )

    def run_step(self) -> None:
        """Train one step; its time and memory are recorded."""
        began = time.perf_counter()
        super().run_step()  # type: ignore[misc]
        if self.recorder is not None:
            self.recorder.progress.seconds += time.perf_counter() - began
            self.recorder.note_memory()

    def after_step(self) -> None:
        """Run the hooks, then save and stop if that was requested."""
        super().after_step()  # type: ignore[misc]
        if self.interrupt.requested:
            self.checkpointer.save(f"model_{self.iter:07d}")
            self.interrupt.stop()

    @classmethod
    def build_model(cls, cfg: CfgNode) -> nn.Module:
        """Return the official model, whose encoder's BatchNorms see the batch of all processes."""
        model: nn.Module = super().build_model(cfg)  # type: ignore[misc]
        if comm.get_world_size() > 1 and isinstance(model.backbone, EncoderBackbone):
            synchronise(model.backbone)
        return model

    @classmethod
    def test(cls, cfg: CfgNode, model: nn.Module, evaluators: Any = None) -> Any:
        """Test as Detectron2 does, but in true float32 whatever training is in."""
        with tensor_float32(False):
            return super().test(cfg, model, evaluators)  # type: ignore[misc]

    @classmethod
    def build_optimizer(cls, cfg: CfgNode, model: nn.Module) -> torch.optim.Optimizer:
        """Return the official optimiser, with two rules put right where the backbone is ours.

        ``SOLVER.BACKBONE_MULTIPLIER`` holds for the pretrained body only. What our engine does not
        decay does not decay here: position embeddings, tokens, biases, norms, LayerScale.
        """
        optimizer: torch.optim.Optimizer = super().build_optimizer(cfg, model)  # type: ignore[misc]
        if not isinstance(model.backbone, EncoderBackbone):
            return optimizer
        undecayed = {f"backbone.{name}" for name in undecayed_names(model.backbone)}
        names = {parameter: name for name, parameter in model.named_parameters()}
        for group in optimizer.param_groups:
            (parameter,) = group["params"]
            if names[parameter].startswith("backbone.encoder.neck."):
                group["lr"] = cfg.SOLVER.BASE_LR
            if names[parameter] in undecayed:
                group["weight_decay"] = 0.0
        return optimizer

    def build_hooks(self) -> list[HookBase]:
        """Return the hooks, evaluation before the checkpoint so that a resumed run knows of it."""
        found: list[HookBase] = super().build_hooks()  # type: ignore[misc]
        if self.recorder is None:
            return found
        for hook in found:
            if isinstance(hook, hooks.PeriodicCheckpointer):
                _keep_few(hook, Path(self.cfg.OUTPUT_DIR))
        # a stable sort: all others stay in Detectron2's order
        return sorted([*found, self.recorder], key=_place)


def _place(hook: HookBase) -> int:
    """Return 0 for hooks that come first, and more for those of ``LAST_HOOKS``."""
    places = [place for place, kind in LAST_HOOKS.items() if isinstance(hook, kind)]
    return max(places, default=0)


def _keep_few(hook: Any, folder: Path) -> None:
    """Let a checkpointer keep the latest checkpoints only, also of earlier processes."""
    hook.max_to_keep = KEPT
    saved = sorted(folder.glob("model_[0-9]*.pth"))
    # left by a process that was killed before it removed them
    for path in saved[:-KEPT]:
        path.unlink()
    hook.recent_checkpoints = list(map(str, saved[-KEPT:]))


@cache
def trainer_class() -> Any:
    """Return the official ``Trainer``, extended by :class:`RecordedTraining`.

    This executes the official script.

    Raises:
        InputError: the clone of Mask2Former is missing or incomplete.
    """
    return type("Trainer", (RecordedTraining, official_trainer()), {})


class Recorder(HookBase):
    """Curves, time, memory and the best weights. Its state is part of Detectron2's checkpoints."""

    def __init__(self, cfg: CfgNode, spec: RunSpec) -> None:
        self.progress = Progress()
        self.memory = PeakMemory(torch.device(cfg.MODEL.DEVICE))
        self.run_id = spec.run_id
        self.encoder = spec.encoder.model_dump(mode="json")
        self.steps = cfg.SOLVER.MAX_ITER
        self.best = Path(cfg.OUTPUT_DIR) / "model_best.pth"
        self.log_every = max(1, cfg.SOLVER.MAX_ITER // LOSS_POINTS)
        self.resumed_at: list[int] = []

    def before_train(self) -> None:
        """Note where a resumed run goes on."""
        if self.trainer.start_iter:
            self.resumed_at.append(self.trainer.start_iter)
        self.memory.restart()

    def note_memory(self) -> None:
        """Note the memory of a step's training part; evaluation and saving come later."""
        self.progress.peak_memory_bytes = max(self.progress.peak_memory_bytes, self.memory.read())

    def after_step(self) -> None:
        """Record loss and evaluation of a step."""
        progress = self.progress
        progress.step = self.trainer.iter + 1
        latest = self.trainer.storage.latest()
        if "total_loss" in latest:  # only the main process writes it
            progress.record_loss(latest["total_loss"][0], self.log_every, {})
        self._note_evaluation()
        self.memory.restart()

    def after_train(self) -> None:
        """Record the last evaluation, which takes place after the last step."""
        self._note_evaluation()
        # Detectron2 comes here after a failure, too, which other processes do not share
        if self.progress.step == self.steps:
            self.progress.peak_memory_bytes = max(comm.all_gather(self.progress.peak_memory_bytes))
        self.progress.peak_memory_of = self.memory.words(comm.get_world_size())

    def _note_evaluation(self) -> None:
        progress, latest = self.progress, self.trainer.storage.latest()
        value, iteration = latest.get("sem_seg/mIoU", (None, -1))
        if value is None or iteration != self.trainer.iter or progress.step in progress.val_steps:
            return
        miou = float(value) / 100
        if progress.record_evaluation({"miou": number_or_none(miou)}):
            content = {
                "model": unwrapped(self.trainer.model).state_dict(),
                "encoder": self.encoder,
                "run_id": self.run_id,
                "step": progress.step,
                "val_score": miou,
            }
            save_checkpoint(self.best, content)

    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint keeps of the recorder."""
        state = {"run_id": self.run_id, "encoder": self.encoder, "resumed_at": self.resumed_at}
        return state | {"progress": self.progress.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what :meth:`state_dict` gave."""
        self.progress.load_state_dict(state["progress"])
        self.resumed_at = list(state["resumed_at"])


def unwrapped(model: nn.Module) -> nn.Module:
    """Return the model inside of DistributedDataParallel."""
    if isinstance(model, nn.parallel.DistributedDataParallel):
        inner: nn.Module = model.module
        return inner
    return model


LAST_HOOKS = {
    1: hooks.EvalHook,
    2: Recorder,
    3: hooks.PeriodicCheckpointer | hooks.PeriodicWriter,
}
"""Hooks that come after all others, in this order."""
