"""The official Mask2Former ``Trainer``, with what our encoders need and a record of what happened."""

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
from encoder_ablations.engine.training.batch_norm import synchronise
from encoder_ablations.engine.training.checkpoints import save_checkpoint
from encoder_ablations.engine.training.optimizer import undecayed_names
from encoder_ablations.engine.training.state import LOSS_POINTS, Progress
from encoder_ablations.experiments.detectron2_loop.configuration import DTYPES
from encoder_ablations.experiments.detectron2_loop.repository import official_trainer
from encoder_ablations.experiments.runs.spec import RunSpec
from encoder_ablations.utils.arithmetic import tensor_float32
from encoder_ablations.utils.interrupts import Interrupt

KEPT = 2
"""How many of Detectron2's checkpoints a recorded run keeps on disk, besides the best and the final weights."""


class RecordedTraining:
    """What :func:`trainer_class` adds to the official ``Trainer``.

    It differs in the optimiser's groups for our encoders, bfloat16, and a :class:`Recorder`.

    What it tests is computed in true float32.

    Attributes:
        interrupt: when it is requested, the step is finished and saved before training stops.
    """

    _trainer: Any
    cfg: CfgNode
    checkpointer: Any
    iter: int
    interrupt = Interrupt()

    def __init__(self, cfg: CfgNode, spec: RunSpec | None = None) -> None:
        """
        Args:
            spec: what is trained; None where no record is kept.
        """
        self.recorder = Recorder(cfg, spec) if spec is not None else None
        super().__init__(cfg)  # type: ignore[call-arg]
        if cfg.SOLVER.AMP.ENABLED and cfg.SOLVER.AMP.DTYPE != "float16":
            inner = self._trainer
            self._trainer = AMPTrainer(
                inner.model,
                inner.data_loader,
                inner.optimizer,
                grad_scaler=torch.amp.GradScaler(
                    "cuda", enabled=False
                ),  # bfloat16 has float32's range
                precision=DTYPES[cfg.SOLVER.AMP.DTYPE],
            )

    def run_step(self) -> None:
        began = time.perf_counter()
        super().run_step()  # type: ignore[misc]
        if self.recorder is not None:
            self.recorder.progress.seconds += time.perf_counter() - began
            self.recorder.note_memory()

    def after_step(self) -> None:
        super().after_step()  # type: ignore[misc]
        if self.interrupt.requested:
            self.checkpointer.save(f"model_{self.iter:07d}")
            raise KeyboardInterrupt

    @classmethod
    def build_model(cls, cfg: CfgNode) -> nn.Module:
        """The official model; with several processes our encoders' BatchNorms see the whole batch."""
        model: nn.Module = super().build_model(cfg)  # type: ignore[misc]
        if comm.get_world_size() > 1 and isinstance(model.backbone, EncoderBackbone):
            synchronise(model.backbone)
        return model

    @classmethod
    def test(cls, cfg: CfgNode, model: nn.Module, evaluators: Any = None) -> Any:
        """As in Detectron2, in true float32 whatever training is in."""
        with tensor_float32(False):
            return super().test(cfg, model, evaluators)  # type: ignore[misc]

    @classmethod
    def build_optimizer(cls, cfg: CfgNode, model: nn.Module) -> torch.optim.Optimizer:
        """The official groups, one for each parameter; where the backbone is ours, two rules are put right.

        ``SOLVER.BACKBONE_MULTIPLIER`` holds for the pretrained body only, and nothing of the encoder decays that our
        engine does not decay: position embeddings, tokens, biases, norms, LayerScale.
        """
        optimizer: torch.optim.Optimizer = super().build_optimizer(cfg, model)  # type: ignore[misc]
        if isinstance(model.backbone, EncoderBackbone):
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
        """Evaluation comes before the checkpoint, so that a resumed run knows of it."""
        found: list[HookBase] = super().build_hooks()  # type: ignore[misc]
        if self.recorder is None:
            return found
        (evaluation,) = [hook for hook in found if isinstance(hook, hooks.EvalHook)]
        found.remove(evaluation)
        later = [
            hook
            for hook in found
            if isinstance(hook, hooks.PeriodicCheckpointer | hooks.PeriodicWriter)
        ]
        for hook in later:
            if isinstance(hook, hooks.PeriodicCheckpointer):
                hook.max_to_keep = KEPT
                saved = sorted(Path(self.cfg.OUTPUT_DIR).glob("model_[0-9]*.pth"))
                for path in saved[
                    :-KEPT
                ]:  # left by a process that was killed before it removed them
                    path.unlink()
                hook.recent_checkpoints = list(map(str, saved[-KEPT:]))
        earlier = [hook for hook in found if hook not in later]
        return [*earlier, evaluation, self.recorder, *later]


@cache
def trainer_class() -> Any:
    """Return the official ``Trainer``, extended by :class:`RecordedTraining`; executes the official script.

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
        if self.trainer.start_iter:
            self.resumed_at.append(self.trainer.start_iter)
        self.memory.restart()

    def note_memory(self) -> None:
        """After the training part of a step: evaluation and saving come later."""
        self.progress.peak_memory_bytes = max(self.progress.peak_memory_bytes, self.memory.read())

    def after_step(self) -> None:
        progress = self.progress
        progress.step = self.trainer.iter + 1
        latest = self.trainer.storage.latest()
        if "total_loss" in latest:  # only the main process writes it
            progress.record_loss(latest["total_loss"][0], self.log_every)
        self._note_evaluation()
        self.memory.restart()

    def after_train(self) -> None:
        """The last evaluation takes place after the last step."""
        self._note_evaluation()
        if (
            self.progress.step == self.steps
        ):  # Detectron2 comes here after a failure, too, which others do not share
            self.progress.peak_memory_bytes = max(comm.all_gather(self.progress.peak_memory_bytes))
        self.progress.peak_memory_of = self.memory.words(comm.get_world_size())

    def _note_evaluation(self) -> None:
        progress, latest = self.progress, self.trainer.storage.latest()
        value, iteration = latest.get("sem_seg/mIoU", (None, -1))
        if value is None or iteration != self.trainer.iter or progress.step in progress.val_steps:
            return
        miou = float(value) / 100
        if progress.record_evaluation(None if miou != miou else miou):
            content = {"model": unwrapped(self.trainer.model).state_dict(), "encoder": self.encoder}
            save_checkpoint(
                self.best,
                content | {"run_id": self.run_id, "step": progress.step, "val_miou": miou},
            )

    def state_dict(self) -> dict[str, Any]:
        state = {"run_id": self.run_id, "encoder": self.encoder, "resumed_at": self.resumed_at}
        return state | {"progress": self.progress.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.progress.load_state_dict(state["progress"])
        self.resumed_at = list(state["resumed_at"])


def unwrapped(model: nn.Module) -> nn.Module:
    """The model inside of DistributedDataParallel."""
    return model.module if isinstance(model, nn.parallel.DistributedDataParallel) else model
