"""The evaluation of a model on the validation images during its training."""

from functools import partial

from accelerate import Accelerator

from encoder_ablations.engine.evaluation.evaluate import Evaluation, evaluate
from encoder_ablations.engine.evaluation.main_metric import MAIN_METRICS
from encoder_ablations.engine.evaluation.metrics import validation_metrics
from encoder_ablations.engine.frozen.features import FeatureSource
from encoder_ablations.engine.recipe import Recipe
from encoder_ablations.engine.training.callbacks import EvaluationReport
from encoder_ablations.engine.training.data import TrainingData
from encoder_ablations.engine.training.state import Progress
from encoder_ablations.segmenters.base import Segmenter

PICTURES = 4
"""Images of every evaluation that callbacks are shown."""


def validate(
    segmenter: Segmenter,
    data: TrainingData,
    features: FeatureSource,
    recipe: Recipe,
    accelerator: Accelerator,
    workers: int,
    pictures: int = PICTURES,
) -> Evaluation:
    """Return what a model predicts on the validation images.

    Args:
        segmenter: the model.
        data: the images.
        features: makes the model's input.
        recipe: the size at which images are read.
        accelerator: the device, and the processes that share the images.
        workers: processes that load images for this one.
        pictures: how many of the first images are returned as pictures.
    """
    items = data.validation(recipe.augmentation, accelerator, workers)
    classes = len(data.spec.classes)
    read = partial(features.evaluation, data.val)
    return evaluate(segmenter, items, classes, accelerator, keep_pictures=pictures, read=read)


def record_validation(
    result: Evaluation, progress: Progress, data: TrainingData, recipe: Recipe
) -> EvaluationReport:
    """Add an evaluation to the curves; return what callbacks are told of it.

    Args:
        result: of :func:`validate`.
        progress: is added to.
        data: names the task, and so the metrics.
        recipe: names the metric that the best checkpoint is chosen by.
    """
    task = data.spec.task
    values = validation_metrics(result.confusion, task)
    best = progress.record_evaluation(values, recipe.checkpoints.metric)
    miou = MAIN_METRICS[task].of(result.confusion)
    return EvaluationReport(progress.step, miou, best, result.confusion, result.pictures)
