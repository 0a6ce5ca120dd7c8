"""Federated trainings of the model of ``tiny_training`` that take milliseconds."""

from dataclasses import replace
from functools import partial

from tiny_training import digest, model_of

from encoder_ablations.engine.devices import make_accelerator
from encoder_ablations.engine.recipe import Recipe
from encoder_ablations.engine.training.federated.clients import (
    Client,
    client_seeds,
    client_step,
)
from encoder_ablations.engine.training.federated.course import FederatedCourse
from encoder_ablations.engine.training.federated.spec import FederationSpec
from encoder_ablations.engine.training.loop import Trainer
from encoder_ablations.utils.config import build

STEPS = 4
CONTENT = {
    "steps": STEPS,
    "batch_size": 2,
    "evaluate_every": 2,
    "augmentation": {"crop": [64, 64]},
    "optimizer": {"lr": 0.1, "encoder_lr_multiplier": 1.0, "clip_norm": None},
}
THREE = [[0, 1, 2], [3, 4], [5, 6, 7, 8]]


def trainer_of(
    data, folder, federation, places=None, frozen="none", kind=FederatedCourse, model=None
):
    """Return a trainer of a federation, or of central training where ``federation`` is None."""
    recipe, accelerator = Recipe.model_validate(CONTENT), make_accelerator("cpu")
    place = (recipe, 0, folder, accelerator)
    model = model or model_of(frozen)
    if federation is None:
        return Trainer(model, data, *place)
    places = places or THREE
    spec = build(FederationSpec, {"clients": len(places), **federation}, "x")
    clients = []
    for number, seed in enumerate(client_seeds(len(places), 0)):
        own = replace(data, train_indices=places[number])
        batches = partial(own.batches_between, recipe, seed, accelerator, 0)
        clients.append(Client(number, len(places[number]), seed, batches))
    parts = {"make_step": client_step(spec), "make_course": partial(kind, spec, clients, 0)}
    return Trainer(model, data, *place, **parts)


def result(trainer):
    """Return what must be equal to the bit: weights and curves."""
    progress = trainer.progress
    curves = (progress.loss, progress.val_score, progress.val_metrics, progress.best_step)
    return digest(trainer.segmenter.state_dict().values()), curves


def trained(data, folder, federation, **further):
    """Return a trainer after its training."""
    trainer = trainer_of(data, folder, federation, **further)
    trainer.run()
    return trainer


class Killed(BaseException):
    """As by a signal: nothing can be saved."""


def killed_after(calls):
    """Return an ``advance`` that kills the training at so many calls."""
    seen = []

    def stop(_step, _status):
        seen.append(1)
        if len(seen) == calls:
            raise Killed

    return stop
