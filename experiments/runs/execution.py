"""How runs are computed, as opposed to what they compute."""

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from encoder_ablations.utils.cache_folder import cache_folder

if TYPE_CHECKING:
    from encoder_ablations.engine.frozen.feature_store import FeatureStore

Advance = Callable[[int, str], object]
"""Called after every training step with the number of steps done and a short status.

After training the status says what is done then, see :func:`follows_training`.
"""
EVALUATING, MEASURING = "evaluating", "measuring cost"


def follows_training(status: str) -> bool:
    """Return whether a status says what is done after the last step."""
    return status.endswith((EVALUATING, MEASURING))


MOST_LOADERS = 8
"""More processes than this seldom load data faster."""
TRACKERS = ("mlflow", "wandb")
"""Packages that show runs while they are trained; TensorBoard's files are always written."""


@dataclass(frozen=True)
class Execution:
    """Nothing here changes a result on the CPU.

    Attributes:
        device: "auto", "cpu", "cuda" or "cuda:N".
        workers: processes that load data, 0 = the main process; None = 0 on the CPU, and on a GPU
            its share of the cores.
        feature_cache_gb: space in GiB for features of frozen bodies; 0 = none are kept.
        feature_cache: where that is kept; None = in the user's cache folder.
        deterministic: whether a GPU takes deterministic kernels, which are slower and need more
            memory.
        keep_last: whether finished runs keep the checkpoint that training would go on from.
        evaluation_batch: images that a GPU predicts together in evaluations; the CPU takes one at a
            time, because some of its kernels round by the number of images.
        client_processes: how many processes compute the clients of a federated run; 1 = this one
            does, one client after another.
        profile: whether the study's folder gets a profile of one step of each encoder and head.
        trackers: where else runs are shown while they are trained, see :data:`TRACKERS`.
    """

    device: str = "auto"
    workers: int | None = None
    feature_cache_gb: float = 0.0
    feature_cache: Path | None = None
    deterministic: bool = False
    keep_last: bool = False
    trackers: tuple[str, ...] = ()
    evaluation_batch: int = 8
    profile: bool = False
    client_processes: int = 1

    def on(self, device_type: str, gpus: int = 1) -> "Execution":
        """Return these settings for a device, with nothing left open.

        Args:
            device_type: "cpu" or "cuda".
            gpus: those of this machine; each may have a run, and shares the cores with the others.
        """
        workers, batch = self.workers, self.evaluation_batch
        if device_type != "cuda":
            return replace(self, workers=workers or 0, evaluation_batch=1)
        if workers is None:
            # one core of the share is left to the run itself
            share = len(os.sched_getaffinity(0)) // max(1, gpus) - 1
            workers = min(MOST_LOADERS, max(0, share))
        return replace(self, workers=workers, evaluation_batch=batch)

    @property
    def loaders(self) -> int:
        """The processes that load data, after :meth:`on`."""
        return self.workers or 0

    def store(self) -> "FeatureStore | None":
        """Return where features are kept; None if they are not."""
        if not self.feature_cache_gb:
            return None
        # not above: commands that only read options start in a third of the time without PyTorch
        from encoder_ablations.engine.frozen.feature_store import GIB, FeatureStore

        return FeatureStore(
            self.feature_cache or cache_folder("features"), int(self.feature_cache_gb * GIB)
        )
