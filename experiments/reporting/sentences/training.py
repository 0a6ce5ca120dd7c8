"""How the models of a setting were trained, in sentences."""

from collections.abc import Iterator
from typing import Any

from encoder_ablations.engine.evaluation.main_metric import MAIN_METRICS
from encoder_ablations.engine.recipe import Recipe
from encoder_ablations.engine.recipe_parts import OptimizerSpec, ScheduleSpec
from encoder_ablations.engine.training.description import average_in_words, metric_title
from encoder_ablations.experiments.reporting.text import formats
from encoder_ablations.experiments.runs.spec import RunSpec
from encoder_ablations.utils.config import in_yaml
from encoder_ablations.utils.texts import plural

SELECTION = {
    "test": "For every run, the state with the best {metric} on the validation images was scored "
    "on the test images, which played no part in choosing it.",
    "val": "This dataset has no test images: the state with the best {metric} on the validation "
    "images was chosen, and is scored on those same images. The scores are therefore a little too "
    "high, for all encoders alike.",
    "train": "The runs were scored on the images that they were trained on: a check that learning "
    "works, not a result.",
}
"""Split that the scores come from -> how the scored state was chosen, by which metric."""
NAMES = {"adamw": "AdamW", "sgd": "SGD", "adam": "Adam"}
"""Optimisers as readers know them, where that is not the name of the key."""
ELSEWHERE = frozenset({"crop", "scale", "flip", "short_side", "resize_first", "custom"})
"""Settings of the augmentation that are not named as further ones, where they are set."""


def training_sentences(spec: RunSpec) -> list[str]:
    """Return how the models of a setting were trained, from the spec of one of its runs."""
    usual = _usual_sentences(spec.recipe, by_encoder(spec))
    return [*usual, *_tuned(spec), *_unusual_sentences(spec)]


def with_study_recipe(spec: RunSpec) -> RunSpec:
    """Return a run's specification; that of a tuned one with the recipe before tuning."""
    if spec.tuning is None or spec.study_recipe is None:
        return spec
    return spec.model_copy(update={"recipe": spec.study_recipe})


def _tuned(spec: RunSpec) -> list[str]:
    """Return which settings each encoder has chosen for itself."""
    if spec.tuning is None or spec.tuning.chosen_by is None:
        return []
    tune = spec.tuning.chosen_by
    return [
        f"Values of {formats.listing(list(tune.settings))} differ by encoder: each has the best of "
        f"{plural(tune.number, 'trial')} on validation images. The table of chosen values under "
        "Tuning lists them."
    ]


def by_encoder(spec: RunSpec) -> frozenset[str]:
    """Return the settings of the recipe that differ by encoder, such as ``optimizer.lr``."""
    if spec.tuning is None:
        return frozenset()
    return frozenset(spec.tuning.values)


def _usual_sentences(recipe: Recipe, tuned: frozenset[str]) -> list[str]:
    """Return what every recipe decides: batches, crops, the optimiser and its schedule.

    Args:
        recipe: of the study.
        tuned: settings that differ by encoder, whose values are left out.
    """
    augmentation = recipe.augmentation
    height, width = augmentation.crop
    low, high = augmentation.scale
    return [
        f"Every model learns for {plural(recipe.steps, 'step')} with "
        f"{plural(recipe.batch_size, 'image')} a step (random crops of {height}×{width} pixels at "
        f"{low:g} to {high:g} times their size), in {recipe.precision}.",
        f"{', '.join(_optimizer(recipe.optimizer, tuned))}{_schedule_part(recipe, tuned)}.",
    ]


def _optimizer(optimizer: OptimizerSpec, tuned: frozenset[str]) -> Iterator[str]:
    """Yield the optimiser's name, and its settings as far as all encoders share them."""
    yield NAMES.get(optimizer.name, optimizer.name)
    rate = f"learning rate {optimizer.lr:g}"
    multiplier = f" ({optimizer.encoder_lr_multiplier:g} times that in the encoder's body)"
    if "optimizer.encoder_lr_multiplier" in tuned:
        multiplier = ""
    if "optimizer.lr" not in tuned:
        yield f"{rate}{multiplier}"
    elif multiplier:
        yield f"learning rate of each encoder's own{multiplier}"
    if "optimizer.weight_decay" not in tuned:
        yield f"weight decay {optimizer.weight_decay:g}"


def _schedule_part(recipe: Recipe, tuned: frozenset[str]) -> str:
    """Return the schedule after a semicolon; "" where encoders do not share it."""
    if any(name.startswith("schedule.") for name in tuned):
        return ""
    return f"; {_schedule(recipe.schedule)}"


def _schedule(schedule: ScheduleSpec) -> str:
    """Return how the learning rate rises and decays."""
    end = "zero"
    if schedule.min_factor:
        end = f"{schedule.min_factor:g} times the rate"
    if schedule.decay == "one_cycle":
        return f"one cycle, which rises over {schedule.rise:.0%} of the steps and falls to {end}"
    warmup = "no warm-up"
    if schedule.warmup_steps:
        warmup = f"{plural(schedule.warmup_steps, 'step')} of warm-up"
    if schedule.decay == "constant":
        return f"{warmup}, then a constant rate"
    if schedule.decay == "step":
        at = ", ".join(f"{milestone:.0%}" for milestone in schedule.milestones)
        return f"{warmup}, then the rate times {schedule.factor:g} after {at} of the steps"
    return f"{warmup}, then {schedule.decay} decay to {end}"


def _end_sentences(spec: RunSpec) -> Iterator[str]:
    """Return when training ends early, and which weights are scored."""
    recipe = spec.recipe
    early = recipe.early_stopping
    if early is not None:
        rise = "risen"
        if early.min_delta:
            rise = f"risen by more than {early.min_delta:g}"
        metric = metric_title(early.metric or MAIN_METRICS[spec.dataset.task].key)
        yield (
            f"Training ends early when validation {metric} has not {rise} for "
            f"{plural(early.patience, 'evaluation')}."
        )
    if recipe.average is not None:
        yield f"The weights that are scored are {average_in_words(recipe.average)}."


def _unusual_sentences(spec: RunSpec) -> Iterator[str]:
    """Return what only some recipes and heads decide."""
    recipe = spec.recipe
    yield from _end_sentences(spec)
    changed = recipe.augmentation.model_dump(exclude_defaults=True)
    settings = recipe.augmentation.model_dump(mode="json")
    more = [_setting(name, settings[name]) for name in changed if name not in ELSEWHERE]
    if more:
        yield f"Further transforms of the crops: {', '.join(more)}."
    if recipe.augmentation.custom:
        yield f"Then transforms of the user: {', '.join(recipe.augmentation.custom)}."
    if recipe.pos_ratio is not None:
        yield f"{recipe.pos_ratio:.0%} of the training samples show the object."
    if recipe.overfit:
        images = plural(recipe.overfit, "image")
        yield f"Only {images} were used, for training and scoring alike."
    if getattr(spec.segmenter, "ignored_pixels", "excluded") == "negative":
        yield (
            "In this head's mask loss, ignored pixels count as belonging to no mask, as in the "
            "official code."
        )


def _setting(name: str, value: Any) -> str:
    """Return a setting in words: its name and its value as YAML, or "off"."""
    words = name.replace("_", " ")
    if value is None:
        return f"{words} off"
    return f"{words} {in_yaml(value)}"
