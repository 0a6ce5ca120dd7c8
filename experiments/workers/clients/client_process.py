"""A process that computes clients of a federated run, one after another."""

import traceback
from collections.abc import Iterator
from dataclasses import replace
from multiprocessing.connection import Connection

import torch
from accelerate import Accelerator

from encoder_ablations.engine.devices import computing, make_accelerator
from encoder_ablations.engine.processes import device_is_lost
from encoder_ablations.engine.training.federated.course import FederatedCourse
from encoder_ablations.engine.training.federated.remote import Learnt, News, Task
from encoder_ablations.engine.training.loop import Trainer
from encoder_ablations.experiments.runs.model import build_model
from encoder_ablations.experiments.workers.child_process import DEATH
from encoder_ablations.experiments.workers.clients.messages import (
    Broken,
    Setup,
    receive,
    send,
    sendable,
)


def serve(connection: Connection) -> None:
    """Answer with what becomes of each client, until the other end is closed.

    The first message is a :class:`Setup`, the others are tasks of one client each.
    """
    try:
        setup: Setup = receive(connection)
    except DEATH:
        return
    try:
        _serve_clients(connection, setup)
    except Exception as error:  # noqa: BLE001 - the parent raises it
        error.add_note(traceback.format_exc())  # pickling drops the traceback
        send(connection, Broken(sendable(error)))


def _serve_clients(connection: Connection, setup: Setup) -> None:
    accelerator = make_accelerator(setup.execution.device)
    device, precision = accelerator.device, setup.spec.recipe.precision
    with computing(device, precision, setup.execution.deterministic):
        trainer = _trainer(setup, accelerator)
        # after some errors of CUDA nothing works here any more, and another process follows
        while not device_is_lost():
            try:
                task: Task = receive(connection)
            except DEATH:
                return
            for news in _computed(trainer, task):
                send(connection, news)


def _trainer(setup: Setup, accelerator: Accelerator) -> Trainer:
    """Return what makes the steps of clients; it is not run, and so writes nothing."""
    segmenter = build_model(setup.spec, setup.class_pixels)
    segmenter.load_state_dict(setup.weights)
    shares = max(setup.processes, torch.cuda.device_count())
    execution = setup.execution.on(accelerator.device.type, shares)
    trainer = setup.make_trainer(segmenter, setup.folder, accelerator, execution, [])
    assert isinstance(trainer, Trainer)
    trainer.segmenter.train()
    return trainer


def _computed(trainer: Trainer, task: Task) -> Iterator[News]:
    """Yield the answers of a task's client."""
    course, progress = trainer.course, trainer.progress
    assert isinstance(course, FederatedCourse)
    seconds = progress.seconds
    for _, news in course.simulated(trainer.loop()).train(task, list(task.own)):
        if isinstance(news, Exception):
            yield sendable(news)
        elif isinstance(news, Learnt):
            spent = progress.seconds - seconds
            yield replace(news, seconds=spent, peak_memory_bytes=progress.peak_memory_bytes)
        else:
            yield news
