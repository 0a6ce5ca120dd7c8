"""The callback that shows a run in Weights & Biases or MLflow."""

import json
import logging
import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from encoder_ablations.engine.training.callbacks import (
    Callback,
    EvaluationReport,
    StepReport,
    Training,
)
from encoder_ablations.utils.files import write_json

if TYPE_CHECKING:
    from accelerate.tracking import GeneralTracker

IDS = "trackers.json"
"""In a run's folder: the ids by which trackers know the run."""
LONGEST_NAME = 128
"""Weights & Biases takes no longer names of runs."""

logger = logging.getLogger(__name__)


class Trackers(Callback):
    """Logs losses, learning rate, validation and final scores, by the trackers of accelerate.

    A run that was interrupted goes on in the same run of the tracker. Of several processes the
    first one logs. Trackers are no part of a run: one that fails, as without a network, is left out
    from then on, after one line of warning.

    Args:
        names: "wandb" or "mlflow", or both.
        project: groups runs: the project of Weights & Biases, the experiment of MLflow. The
            environment variables ``WANDB_PROJECT`` and ``MLFLOW_EXPERIMENT_NAME`` go first.
        config: what is shown as the run's settings; keys of inner mappings are joined by dots.
    """

    def __init__(self, names: Sequence[str], project: str, config: Mapping[str, Any]) -> None:
        self._names = tuple(names)
        self._project = project
        self._config = config
        self._open: dict[str, GeneralTracker] = {}

    def on_start(self, training: Training) -> None:
        """Begin, or go on with, the run of each tracker."""
        if not training.writes:
            return
        for name in self._names:
            with self._forgiving(name):
                self._start(name, training)

    def _start(self, name: str, training: Training) -> None:
        known = _read_ids(training)
        tracker = STARTERS[name](self._project, training, known.get(name))
        tracker.start()
        self._open[name] = tracker
        if name in known:
            return
        place = {"run_id": training.run_id, "folder": str(training.folder.absolute())}
        tracker.store_init_configuration(place | _flat(self._config))
        ids = known | {name: _id_of(tracker)}
        write_json(training.folder / IDS, {"run_id": training.run_id, "ids": ids})

    def on_step(self, report: StepReport) -> None:
        """Log losses and learning rate at every new point of the loss curve."""
        if report.mean_loss is None:
            return
        values = {"train/loss": report.mean_loss, "train/lr": report.rate}
        values |= {f"train/loss/{name}": value for name, value in report.mean_terms.items()}
        self._log(values, report.step)

    def on_evaluation(self, report: EvaluationReport) -> None:
        """Log the mIoU on the validation split."""
        self._log({"val/miou": report.miou}, report.step)

    def on_end(self, step: int, finished: bool) -> None:
        """End the trackers' runs where training ended early; final scores may follow otherwise."""
        if not finished:
            self.close()

    def log_scores(self, scores: Mapping[str, float | None]) -> None:
        """Log the final scores by name; None is left out."""
        known = {name: value for name, value in scores.items() if value is not None}
        self._log({f"final/{name}": value for name, value in known.items()}, None)

    def close(self) -> None:
        """End the trackers' runs, if any is open."""
        for name, tracker in list(self._open.items()):
            with self._forgiving(name):
                tracker.finish()
        self._open.clear()

    def _log(self, values: Mapping[str, float], step: int | None) -> None:
        finite = {name: value for name, value in values.items() if math.isfinite(value)}
        for name, tracker in list(self._open.items()):
            with self._forgiving(name):
                tracker.log(finite, step=step)

    @contextmanager
    def _forgiving(self, name: str) -> Iterator[None]:
        """Within the block an error ends the tracker, not the run."""
        try:
            yield
        except Exception as error:  # noqa: BLE001 - trackers are no part of the run
            failed = self._open.pop(name, None)
            if failed is not None:
                # otherwise the next run of this process would be logged into this one
                with suppress(Exception):
                    failed.finish()
            words = " ".join(str(error).split())
            logger.warning(
                "%s shows no more of this run, which goes on: %s: %s",
                name,
                type(error).__name__,
                words,
            )


def _wandb(project: str, training: Training, identity: str | None) -> "GeneralTracker":
    from accelerate.tracking import WandBTracker

    return WandBTracker(
        os.environ.get("WANDB_PROJECT", project),
        id=identity,
        resume="allow",
        name=training.run_id[:LONGEST_NAME],
        dir=str(training.folder),
        reinit="finish_previous",
        settings={"console": "off"},
    )


def _mlflow(project: str, training: Training, identity: str | None) -> "GeneralTracker":
    from accelerate.tracking import MLflowTracker

    return MLflowTracker(experiment_name=project, run_id=identity, run_name=training.run_id)


STARTERS: dict[str, Callable[[str, Training, str | None], "GeneralTracker"]] = {
    "mlflow": _mlflow,
    "wandb": _wandb,
}
"""What makes a tracker: of the project, the training, and the id if the run is known already."""


def _id_of(tracker: "GeneralTracker") -> str:
    """Return the id by which a tracker that has started knows the run."""
    if tracker.name == "wandb":
        return str(tracker.tracker.id)
    return str(tracker.tracker.info.run_id)


def _read_ids(training: Training) -> dict[str, str]:
    """Return the ids by which trackers know the run; empty where there are none."""
    path: Path = training.folder / IDS
    if not path.exists():
        return {}
    content = json.loads(path.read_text(encoding="utf-8"))
    if content["run_id"] != training.run_id:
        return {}  # a copied folder
    return dict(content["ids"])


def _flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return settings without inner mappings: ``{"recipe.steps": 100}``."""
    found: dict[str, Any] = {}
    for key, value in config.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            found |= _flat(value, f"{name}.")
        else:
            found[name] = value
    return found
