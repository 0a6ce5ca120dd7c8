"""The images of a training."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from accelerate import Accelerator

from encoder_ablations.data.datasets.sample import Labels
from encoder_ablations.data.loading.batches import (
    EvaluationLoader,
    evaluation_items,
    poisson_batches,
    training_batches,
)
from encoder_ablations.data.loading.items import Batch, EvaluationItem, Samples
from encoder_ablations.data.views.augmentation import AugmentationSpec
from encoder_ablations.engine.recipe import Recipe


@dataclass(frozen=True)
class TrainingData:
    """Which images are trained on, and which decide the best checkpoint.

    Attributes:
        spec: the classes; of a dataset in a folder all of its specification.
        class_pixels: of each class in the training images; needed where the recipe's augmentation
            balances classes.
        validate_together: validation images that are predicted together.
        loaders: what loads the validation images in other processes, once it is made.
    """

    spec: Labels
    train: Samples
    train_indices: list[int]
    val: Samples
    val_indices: list[int]
    class_pixels: list[int] | None = None
    validate_together: int = 1
    loaders: list[EvaluationLoader] = field(default_factory=list, compare=False)

    def batches(
        self,
        recipe: Recipe,
        seed: int,
        start_step: int,
        accelerator: Accelerator,
        workers: int,
        end_step: int | None = None,
    ) -> Iterator[list[Batch]]:
        """Yield this process's micro-batches of each step, see :func:`training_batches`.

        Private training takes Poisson samples, see :func:`poisson_batches`.

        Args:
            recipe: batches, steps and augmentation.
            seed: of order and augmentation.
            start_step: the first step, counted from 0.
            accelerator: the processes that share the run.
            workers: processes that load images for this one.
            end_step: the step before which they end; None = the recipe's last.
        """
        if recipe.privacy is not None:
            return poisson_batches(
                self.train,
                self.train_indices,
                recipe.augmentation,
                seed=seed,
                batch_size=recipe.batch_size,
                steps=recipe.steps,
                start_step=start_step,
                workers=workers,
            )
        return training_batches(
            self.train,
            self.train_indices,
            recipe.augmentation,
            seed=seed,
            batch_size=recipe.batch_size,
            steps=end_step or recipe.steps,
            start_step=start_step,
            accumulation=recipe.accumulation,
            rank=accelerator.process_index,
            world=accelerator.num_processes,
            workers=workers,
            class_pixels=self.class_pixels,
            pinned=accelerator.device.type == "cuda",
        )

    def batches_between(
        self,
        recipe: Recipe,
        seed: int,
        accelerator: Accelerator,
        workers: int,
        start_step: int,
        end_step: int,
    ) -> Iterator[list[Batch]]:
        """Yield those of :meth:`batches` from one step to, but not including, another."""
        return self.batches(recipe, seed, start_step, accelerator, workers, end_step)

    def validation(
        self, augmentation: AugmentationSpec, accelerator: Accelerator, workers: int
    ) -> Iterator[EvaluationItem]:
        """Yield this process's validation images, see :func:`evaluation_items`.

        The processes that load them are those of the evaluation before.
        """
        own = self.val_indices[accelerator.process_index :: accelerator.num_processes]
        if not workers:
            return evaluation_items(self.val, own, augmentation)
        if not self.loaders:
            pinned = accelerator.device.type == "cuda"
            self.loaders.append(EvaluationLoader(self.val, own, augmentation, workers, pinned))
        return iter(self.loaders[0])
