"""How one optimiser step is made from a batch."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, NamedTuple

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from encoder_ablations.data.loading.items import Batch
from encoder_ablations.engine.compilation import compile_layers
from encoder_ablations.engine.devices import autocast
from encoder_ablations.engine.recipe import Recipe
from encoder_ablations.segmenters.base import Segmenter
from encoder_ablations.segmenters.features import Features, OtherMasks
from encoder_ablations.segmenters.ops.transfers import sent


class MicroBatch(NamedTuple):
    """A part of this process's share of the batch, on its device.

    Attributes:
        images: B×3×H×W, RGB 0..255; or a frozen body's features of them.
        masks: B×H×W int64 class ids.
        others: with MixUp, the masks of the images that were blended in.
        share: which part of the loss is that of ``masks``; the same in all micro-batches of a step.
        image_classes: B class ids of the whole images, where the dataset has them.
    """

    images: Tensor | Features
    masks: Tensor
    others: Tensor | None = None
    share: float = 1.0
    image_classes: Tensor | None = None

    @classmethod
    def of(cls, batch: Batch, images: Tensor | Features, device: torch.device) -> "MicroBatch":
        """Return the labels of a loaded batch on a device, with its images or their features."""
        others, classes = batch.others, batch.image_classes
        if others is not None:
            others = sent(others, device).long()
        if classes is not None:
            classes = sent(classes, device)
        return cls(images, sent(batch.masks, device).long(), others, batch.share, classes)


@dataclass(frozen=True)
class StepSetup:
    """What a step works on: the model, its optimiser, and how and where it is trained."""

    segmenter: Segmenter
    optimizer: torch.optim.Optimizer
    recipe: Recipe
    accelerator: Accelerator


class Step(ABC):
    """Makes one optimiser step from the micro-batches of a batch.

    The loop has set the learning rates and seeded the global generators before.

    Attributes:
        terms: the losses of the last step by name, over all processes, where there are several;
            empty for a kind of step that does not tell.
    """

    terms: Mapping[str, float] = MappingProxyType({})

    @abstractmethod
    def take(self, batch: Sequence[MicroBatch], reduce: Callable[[Tensor], float]) -> float:
        """Update the weights once and return the loss of the whole batch.

        Args:
            batch: this process's share, at least one micro-batch.
            reduce: sums a scalar loss over all processes and refuses one that is not finite. To be
                called exactly once, before the weights change: what the processes must agree on
                travels with it.

        Raises:
            FloatingPointError: the loss is not finite.
        """

    def privacy(self) -> dict[str, float] | None:
        """Return what private training has spent so far; None for a step that is not private.

        Returns:
            "epsilon", and of the steps: "noise", "rate" (the probability of each image to be in a
            sample) and "taken" (their number).
        """
        return None

    def state_dict(self) -> dict[str, Any]:
        """Return what the next step depends on, beside model and optimiser, for a checkpoint."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over what ``state_dict`` returned.

        Raises:
            ValueError: there is a state, but this kind of step has none.
        """
        if state:
            raise ValueError(f"{type(self).__name__} has no state, but is given {sorted(state)}")


class PlainStep(Step):
    """The gradient of the whole batch's loss, clipped as a whole.

    Losses are divided by counts of the whole batch, so that neither micro-batches nor processes
    change the loss. Gradients are summed over micro-batches and exchanged with the last one. With
    MixUp the loss is λ times that of the batch with its own masks, and 1 - λ times that of the
    batch with the masks of the images that were blended in, each divided by its own counts.
    """

    def __init__(self, setup: StepSetup) -> None:
        self.segmenter = setup.segmenter
        self.optimizer = setup.optimizer
        self.recipe = setup.recipe
        self.accelerator = setup.accelerator
        fp16 = self.recipe.precision == "fp16"
        self.scaler = torch.amp.GradScaler(self.accelerator.device.type, enabled=fp16)
        if self.recipe.compile:
            compile_layers(self.segmenter)
        self.losses = self.accelerator.prepare_model(_Losses(self.segmenter))
        self._parts: list[dict[str, Tensor]] = []
        """The losses of each micro-batch of the step."""

    def take(self, batch: Sequence[MicroBatch], reduce: Callable[[Tensor], float]) -> float:
        """See :class:`Step`."""
        totals = self._totals([micro.masks for micro in batch])
        others = [micro.others for micro in batch if micro.others is not None]
        other_totals = self._totals(others) if others else {}
        value = torch.zeros((), device=self.accelerator.device)
        self._parts.clear()
        for micro in batch[:-1]:
            with self.accelerator.no_sync(self.losses):
                value += self._backward(micro, totals, other_totals)
        value += self._backward(batch[-1], totals, other_totals)
        names, terms = self._terms()
        loss = reduce(value)
        # they have arrived with the loss, which was waited for
        self.terms = dict(zip(names, terms.tolist(), strict=True))
        self.update()
        return loss

    def _totals(self, masks: list[Tensor]) -> dict[str, Tensor]:
        """Return the counts of the whole batch: over micro-batches and processes."""
        parts = [self.segmenter.totals(part) for part in masks]
        totals = {}
        for name in parts[0]:
            own = torch.stack([part[name] for part in parts]).sum()
            totals[name] = self.accelerator.reduce(own, "sum")
        return totals

    def _backward(
        self, micro: MicroBatch, totals: dict[str, Tensor], other_totals: dict[str, Tensor]
    ) -> Tensor:
        """Add a micro-batch's gradient to the parameters'; return its share of the loss."""
        other = None
        if micro.others is not None:
            other = OtherMasks(micro.others, other_totals, 1 - micro.share)
        with autocast(self.accelerator.device, self.recipe.precision):
            terms = self.losses(micro.images, micro.masks, totals, other, micro.image_classes)
            loss = torch.stack(list(terms.values())).sum()
        self._parts.append({name: term.detach() for name, term in terms.items()})
        # DistributedDataParallel averages over processes; the totals are those of all together
        self.scaler.scale(loss * self.accelerator.num_processes).backward()
        return loss.detach()

    def _terms(self) -> tuple[list[str], Tensor]:
        """Return the names of the losses, if there are several, and each one of the whole batch.

        From a GPU they are on their way to the CPU.
        """
        names = list(self._parts[0])
        if len(names) < 2:
            return [], torch.empty(0)
        own = [torch.stack([part[name] for part in self._parts]).sum() for name in names]
        values = self.accelerator.reduce(torch.stack(own), "sum")
        return names, values.to("cpu", non_blocking=True)

    def update(self) -> None:
        """Clip the gradient, change the weights, and clear the gradient."""
        self.scaler.unscale_(self.optimizer)
        limit = self.recipe.optimizer.clip_norm
        if limit is not None:
            groups = self.optimizer.param_groups
            nn.utils.clip_grad_norm_([each for group in groups for each in group["params"]], limit)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad(set_to_none=True)

    def state_dict(self) -> dict[str, Any]:
        """Return the state of the loss scaling of fp16; empty for other precisions."""
        return self.scaler.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """See :class:`Step`."""
        self.scaler.load_state_dict(state)


class _Losses(nn.Module):
    """The loss as a forward pass, which is what DistributedDataParallel synchronises."""

    def __init__(self, segmenter: Segmenter) -> None:
        super().__init__()
        self.segmenter = segmenter

    def forward(
        self,
        images: Tensor | Features,
        masks: Tensor,
        totals: dict[str, Tensor],
        other: OtherMasks | None,
        image_classes: Tensor | None,
    ) -> dict[str, Tensor]:
        return self.segmenter.loss(images, masks, totals, other, image_classes)
