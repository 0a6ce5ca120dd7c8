"""The evaluation of a model on the validation images during its training."""

from collections.abc import Iterable
from functools import partial

from accelerate import Accelerator

from encoder_ablations.data.datasets.sample import Labels, Task
from encoder_ablations.data.loading.items import EvaluationItem, Samples
from encoder_ablations.engine.evaluation.evaluate import Evaluation, evaluate
from encoder_ablations.engine.evaluation.main_metric import MAIN_METRICS
from encoder_ablations.engine.evaluation.metrics import validation_metrics
from encoder_ablations.engine.frozen.features import FeatureSource
from encoder_ablations.engine.recipe import Recipe
from encoder_ablations.engine.training.callbacks import EvaluationReport
from encoder_ablations.engine.training.state import Progress

PICTURES = 4
"""Images of every evaluation that callbacks are shown."""


def validate(
    features: FeatureSource,
    val: Samples,
    items: Iterable[EvaluationItem],
    labels: Labels,
    accelerator: Accelerator,
    pictures: int = PICTURES,
    batch: int = 1,
) -> Evaluation:
    """Return what a model predicts on the validation images.

    Args:
        features: the model, and what makes its input.
        val: the images.
        items: those of this process, at the size of evaluation.
        labels: the classes.
        accelerator: the device, and the processes that share the images.
        pictures: how many of the first images are returned as pictures.
        batch: images of one size that are predicted together, on a GPU.
    """
    return evaluate(
        features.segmenter,
        items,
        len(labels.classes),
        accelerator,
        keep_pictures=pictures,
        read=partial(features.evaluation, val),
        batch=batch,
    )


def record_validation(
    result: Evaluation, progress: Progress, task: Task, recipe: Recipe
) -> EvaluationReport:
    """Add an evaluation to the curves; return what callbacks are told of it.

    Args:
        result: of :func:`validate`.
        progress: is added to.
        task: decides the metrics.
        recipe: names the metric that the best checkpoint is chosen by.
    """
    values = validation_metrics(result.confusion, task)
    best = progress.record_evaluation(values, recipe.checkpoints.metric)
    miou = MAIN_METRICS[task].of(result.confusion)
    return EvaluationReport(progress.step, miou, best, result.confusion, result.pictures)
