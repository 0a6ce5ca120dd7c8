"""What the ranking would be with other test images: intervals over seeds and images, from the stored counts."""

import re
from collections.abc import Mapping
from functools import lru_cache

import numpy as np

from encoder_ablations.engine.evaluation.per_image import load_per_image
from encoder_ablations.experiments.reporting.findings.collection import RunGroup, Study
from encoder_ablations.experiments.reporting.text import formats
from encoder_ablations.experiments.runs.record import PER_IMAGE, RunRecord
from encoder_ablations.experiments.stats.bootstrap import (
    FEW_OCCURRENCES,
    Resampled,
    interval_over_seeds_and_images,
    miou_of_draws,
    miou_without_each,
    occurrences,
    resampling_weights,
)
from encoder_ablations.utils.errors import InputError

Interval = tuple[float, float]
NAMED = 5
"""Classes that the caution names, at most."""


class Resampling:
    """Reads every run's per-image counts once, when it is first asked for, and keeps its draws.

    Attributes:
        problems: files that could not be used, one line each; their runs count as having none.
    """

    def __init__(self, study: Study) -> None:
        self.problems: list[str] = []
        self._study = study
        self._resampled: dict[str, Resampled | None] = {}
        self._occurrences: dict[str, np.ndarray] = {}

    def interval(self, group: RunGroup) -> Interval | None:
        """95 % interval of the group's mean mIoU over seeds and test images; None where it cannot be told."""
        return self._interval([(run, None) for run in group.runs])

    def difference(self, first: RunGroup, second: RunGroup) -> Interval | None:
        """The same for first minus second, over the seeds that both have."""
        others = {run.spec.seed: run for run in second.runs}
        return self._interval(
            [(run, others[run.spec.seed]) for run in first.runs if run.spec.seed in others]
        )

    def few(self, group: RunGroup) -> dict[str, int]:
        """Classes that occur in too few test images (or scenes) for the group's interval, with that number."""
        for run in group.runs:
            if self._of(run) is not None:
                named = zip(
                    run.spec.dataset.classes, self._occurrences[run.run_id].tolist(), strict=True
                )
                return {name: count for name, count in named if 0 < count < FEW_OCCURRENCES}
        return {}

    def _interval(self, pairs: list[tuple[RunRecord, RunRecord | None]]) -> Interval | None:
        values, others = [], []
        for run, other in pairs:
            value, resampled = _miou(run), self._of(run)
            if other is not None:
                minus, less = _miou(other), self._of(other)
                value = None if value is None or minus is None else value - minus
                resampled = None if resampled is None or less is None else resampled.minus(less)
            if value is None or resampled is None:
                return None
            values.append(value)
            others.append(resampled)
        return interval_over_seeds_and_images(values, others) if values else None

    def _of(self, run: RunRecord) -> Resampled | None:
        if run.run_id not in self._resampled:
            self._resampled[run.run_id] = self._read(run)
        return self._resampled[run.run_id]

    def _read(self, run: RunRecord) -> Resampled | None:
        try:
            path = self._study.run_folder(run.run_id) / PER_IMAGE
            images = load_per_image(path, np.array(run.confusion_matrix), run.run_id)
        except InputError as error:
            self.problems.append(str(error))
            return None
        if images is None:
            return None
        scenes, margins = _scenes(images.ids, run.spec.dataset.scene_pattern), images.margins()
        weights = _weights(tuple(scenes))
        if weights is None:
            return None
        self._occurrences[run.run_id] = occurrences(scenes, margins)
        return Resampled(miou_of_draws(weights, margins), miou_without_each(scenes, margins))


def caution(few: Mapping[str, int]) -> str:
    """The sentence about classes in too few test images, see :meth:`Resampling.few`; empty without such classes."""
    if not few:
        return ""
    named = [f"{name} ({count})" for name, count in few.items()]
    if len(named) > NAMED:
        named = [*named[:NAMED], f"{len(named) - NAMED} more"]
    return (
        f"In fewer than {FEW_OCCURRENCES} test images or scenes: {formats.listing(named)}. How such classes fare "
        "elsewhere cannot be told from so few, and the interval is then too narrow: in simulations it held the truth "
        "in 93 of 100 studies."
    )


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
