"""What the ranking would be with other test images: intervals over seeds and images, from the stored counts."""

import re
from functools import lru_cache

import numpy as np

from encoder_ablations.engine.per_image import load_per_image
from encoder_ablations.experiments.reporting.collect import RunGroup, Study
from encoder_ablations.experiments.run_record import PER_IMAGE, RunRecord
from encoder_ablations.experiments.stats.bootstrap import (
    interval_over_seeds_and_images,
    miou_of_draws,
    resampling_weights,
)
from encoder_ablations.utils.errors import InputError

Interval = tuple[float, float]


class Resampling:
    """Reads every run's per-image counts once, when it is first asked for, and keeps its draws.

    Attributes:
        problems: files that could not be used, one line each; their runs count as having none.
    """

    def __init__(self, study: Study) -> None:
        self.problems: list[str] = []
        self._study = study
        self._draws: dict[str, np.ndarray | None] = {}

    def interval(self, group: RunGroup) -> Interval | None:
        """95 % interval of the group's mean mIoU over seeds and test images; None where it cannot be told."""
        return self._interval([(run, None) for run in group.runs])

    def difference(self, first: RunGroup, second: RunGroup) -> Interval | None:
        """The same for first minus second, over the seeds that both have."""
        others = {run.spec.seed: run for run in second.runs}
        return self._interval([(run, others[run.spec.seed]) for run in first.runs if run.spec.seed in others])

    def _interval(self, pairs: list[tuple[RunRecord, RunRecord | None]]) -> Interval | None:
        values, draws = [], []
        for run, other in pairs:
            value, drawn = _miou(run), self._of(run)
            if other is not None:
                minus, less = _miou(other), self._of(other)
                value = None if value is None or minus is None else value - minus
                drawn = None if drawn is None or less is None else drawn - less
            if value is None or drawn is None:
                return None
            values.append(value)
            draws.append(drawn)
        return interval_over_seeds_and_images(values, np.array(draws)) if values else None

    def _of(self, run: RunRecord) -> np.ndarray | None:
        if run.run_id not in self._draws:
            self._draws[run.run_id] = self._read(run)
        return self._draws[run.run_id]

    def _read(self, run: RunRecord) -> np.ndarray | None:
        try:
            path = self._study.run_folder(run.run_id) / PER_IMAGE
            images = load_per_image(path, np.array(run.confusion_matrix), run.run_id)
        except InputError as error:
            self.problems.append(str(error))
            return None
        if images is None:
            return None
        weights = _weights(tuple(_scenes(images.ids, run.spec.dataset.scene_pattern)))
        return None if weights is None else miou_of_draws(weights, images.margins())


def _miou(run: RunRecord) -> float | None:
    return run.metrics.miou if run.metrics else None


def _scenes(ids: list[str], pattern: str | None) -> list[str]:
    """What each image belongs to: what the dataset's pattern finds in its name, else itself."""
    if pattern is None:
        return ids
    found = [re.search(pattern, id) for id in ids]
    return [match[1] if match else id for match, id in zip(found, ids, strict=True)]


@lru_cache(maxsize=8)
def _weights(scenes: tuple[str, ...]) -> np.ndarray | None:
    return resampling_weights(scenes)
