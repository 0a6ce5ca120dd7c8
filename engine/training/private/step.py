"""The optimiser step of private training."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from encoder_ablations.engine.devices import autocast
from encoder_ablations.engine.training.private.accountant import Steps, epsilon_of, noise_for
from encoder_ablations.engine.training.private.checks import (
    check_buffers,
    check_private_images,
    check_private_model,
)
from encoder_ablations.engine.training.private.gradients import ClippedSum
from encoder_ablations.engine.training.steps import MicroBatch, Step, StepSetup
from encoder_ablations.segmenters.features import Features
from encoder_ablations.utils.errors import InputError


class PrivateStep(Step):
    """A step of DP-SGD (Abadi et al., CCS 2016) on a Poisson sample of the images.

    Every image has a backward pass of its own, and its loss is divided by its own counts. Its
    gradient is clipped. The sum gets Gaussian noise and is divided by the expected batch size. An
    empty sample is a step, too, with noise alone. What follows sees only the result: clipping of
    the whole gradient, momentum, weight decay, averages of weights.

    Attributes:
        spent: noise, sampling rate and number of the steps taken so far.
    """

    def __init__(self, setup: StepSetup, seed: int, images: int) -> None:
        """Check the model and find the noise.

        Args:
            setup: the model and how it is trained; ``recipe.privacy`` is given.
            seed: of the noise.
            images: number of training images.

        Raises:
            InputError: the model couples images, several processes share the training, the
                settings do not fit so many images, or Opacus is not installed.
        """
        assert setup.recipe.privacy is not None  # without it the loop takes another step
        _refuse_several(setup.accelerator.num_processes)
        check_private_model(setup.segmenter, setup.recipe)
        check_private_images(setup.recipe, images)
        self.segmenter = setup.segmenter
        self.optimizer = setup.optimizer
        self.recipe = setup.recipe
        self.device = setup.accelerator.device
        self.spec = setup.recipe.privacy
        self.seed = seed
        groups = self.optimizer.param_groups
        self.parameters: list[nn.Parameter] = [each for group in groups for each in group["params"]]
        rate = self.recipe.batch_size / images
        self.spent = Steps(noise_for(self.spec, rate, self.recipe.steps), rate, 0)
        self._buffers_checked = False

    def take(self, batch: Sequence[MicroBatch], reduce: Callable[[Tensor], float]) -> float:
        """See :class:`Step`. The loss is that of the sample, over the expected batch size."""
        gradients = ClippedSum(self.parameters, self.spec.clip)
        value = torch.zeros((), device=self.device)
        before = {name: each.clone() for name, each in self._unchecked_buffers()}
        for micro in batch:
            for image in self._single_images(micro):
                loss = self._loss(image)
                gradients.add(loss)
                value += loss.detach()
        if len(batch[0].masks):
            check_buffers(before, dict(self._unchecked_buffers()))
            self._buffers_checked = True
        loss_of_sample = reduce(value / self.recipe.batch_size)
        self._update(gradients)
        return loss_of_sample

    def _single_images(self, micro: MicroBatch) -> Iterator[MicroBatch]:
        """Yield every image by itself; a frozen body computes the maps of all of them together."""
        images = micro.images
        if isinstance(images, Tensor) and len(images) and self.segmenter.reads_features:
            with torch.no_grad(), autocast(self.device, self.recipe.precision):
                images = self.segmenter.features(images)
        for number in range(len(micro.masks)):
            one = slice(number, number + 1)
            classes = micro.image_classes
            if classes is not None:
                classes = classes[one]
            yield MicroBatch(_part(images, one), micro.masks[one], image_classes=classes)

    def _loss(self, image: MicroBatch) -> Tensor:
        """Return the loss of an image, divided by its own counts."""
        with autocast(self.device, self.recipe.precision):
            terms = self.segmenter.loss(
                image.images, image.masks, image_classes=image.image_classes
            )
            return torch.stack(list(terms.values())).sum()

    def _unchecked_buffers(self) -> Iterator[tuple[str, Tensor]]:
        """Yield all buffers by name until they have been checked; what changes always changes."""
        if not self._buffers_checked:
            yield from self.segmenter.named_buffers()

    def _update(self, gradients: ClippedSum) -> None:
        """Change the weights by the noised mean, and count the step."""
        noised = gradients.noised(self.spent.noise, self.seed, self.spent.taken)
        for parameter, gradient in zip(self.parameters, noised, strict=True):
            parameter.grad = gradient / self.recipe.batch_size
        limit = self.recipe.optimizer.clip_norm
        if limit is not None:
            nn.utils.clip_grad_norm_(self.parameters, limit)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.spent = self.spent._replace(taken=self.spent.taken + 1)

    def privacy(self) -> dict[str, float]:
        """See :class:`Step`."""
        epsilon = epsilon_of(self.spent, self.spec.delta, self.spec.accountant)
        return {"epsilon": epsilon, **self.spent._asdict()}

    def state_dict(self) -> dict[str, Any]:
        """Return noise, sampling rate and number of the steps taken."""
        return dict(self.spent._asdict())

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """See :class:`Step`. The noise stays what it was, also if it would be solved otherwise."""
        self.spent = Steps(**state)


def _refuse_several(processes: int) -> None:
    if processes > 1:
        raise InputError(
            f"recipe.privacy: private training takes one process, not {processes}. Runs of a study "
            "go side by side with --processes."
        )


def _part(images: Tensor | Features, one: slice) -> Tensor | Features:
    if isinstance(images, Features):
        return Features([each[one] for each in images.maps], images.image_size)
    return images[one]
