"""How a run was trained, in sentences for its record and for reports."""

from collections.abc import Iterator

from encoder_ablations.engine.recipe import Recipe
from encoder_ablations.engine.recipe_parts import EmaSpec, SwaSpec
from encoder_ablations.engine.training.state import Progress

TITLES = {"miou": "mIoU", "frequency_weighted_iou": "frequency-weighted IoU"}
"""Metrics whose names are not simply their keys."""
MOST_OLD = 0.1
"""Share of an average that may still be the weights that averaging began with."""


def metric_title(name: str) -> str:
    """Return a metric's name for readers: ``mean class accuracy``."""
    return TITLES.get(name, name.replace("_", " "))


def about_training(recipe: Recipe, progress: Progress) -> Iterator[str]:
    """Yield a sentence for everything that makes the training unlike the usual one."""
    main = metric_title(progress.metric)
    metric = metric_title(recipe.checkpoints.metric or progress.metric)
    # the only evaluation is always the highest
    if progress.best_step == recipe.steps > recipe.evaluate_every:
        yield (
            f"Validation {metric} was highest at the last step: longer training may raise the "
            "score."
        )
    if metric != main:
        yield f"The checkpoint was chosen by validation {metric}, not by {main}."
    if progress.stopped is not None:
        yield (
            f"Training ended early, after step {progress.step} of {recipe.steps}, because "
            f"{progress.stopped}. The learning rate had not fallen to its end, and the training "
            "time is that of fewer steps."
        )
    if recipe.average is not None:
        yield f"The weights that were scored are {average_in_words(recipe.average)}."
        yield from _about_average(recipe, progress)


def average_in_words(average: EmaSpec | SwaSpec) -> str:
    """Return which average of weights this is: ``an exponential moving average …``."""
    if isinstance(average, EmaSpec):
        return f"an exponential moving average over steps (EMA, decay {average.decay:g})"
    often = "every step"
    if average.every > 1:
        often = f"every {average.every} steps"
    return (
        f"the mean of those of {often} after {average.start:.0%} of the training (SWA), with "
        "BatchNorm statistics estimated on training images"
    )


def _about_average(recipe: Recipe, progress: Progress) -> Iterator[str]:
    """Yield what the average of a finished training lacks."""
    average = recipe.average
    if isinstance(average, SwaSpec) and progress.best_step < average.states(recipe.steps)[0]:
        yield (
            f"The best checkpoint is of step {progress.best_step}, before averaging began: its "
            "weights are not averaged."
        )
    warning = average_warning(recipe)
    if warning is not None:
        yield warning


def average_warning(recipe: Recipe) -> str | None:
    """Return what to say of an average that is too slow for so few steps; None if it is not."""
    average = recipe.average
    if not isinstance(average, EmaSpec):
        return None
    # what each step keeps, multiplied over all of them
    old = average.decay ** (recipe.steps - average.warmup)
    if old <= MOST_OLD:
        return None
    return (
        f"recipe.average.decay {average.decay:g} is slow for {recipe.steps} steps: at the last one "
        f"{old:.0%} of the average still is the weights of step {average.warmup}. A smaller decay "
        "or a longer warmup avoids that."
    )
