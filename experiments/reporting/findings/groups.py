"""Runs that differ in the seed alone, and settings: groups of runs that may be compared."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from encoder_ablations.experiments.reporting.text.titles import canonical
from encoder_ablations.experiments.runs.record import RunRecord
from encoder_ablations.experiments.runs.spec import RunSpec
from encoder_ablations.experiments.stats.seeds import Summary, summarize
from encoder_ablations.experiments.studies.published import PublishedScore

Reading = Callable[[RunRecord], float | None]

MOST_CLASSES = 255
"""Most classes that a page shows one by one; with more, it shows only some."""
SHOWN_CLASSES = 100
"""Classes that are shown then: those with most pixels."""


def miou(record: RunRecord) -> float | None:
    """Return the mIoU in 0..1 on the report split; None for a failed run."""
    return record.metrics.miou if record.metrics else None


def class_iou(name: str) -> Reading:
    """Return a function that reads the IoU of the class ``name``, 0..1, from a record."""

    def read(record: RunRecord) -> float | None:
        return record.metrics.per_class_iou.get(name) if record.metrics else None

    return read


@dataclass(frozen=True, eq=False)
class RunGroup:
    """Runs that differ in nothing but the seed.

    Attributes:
        setting: title of the setting that the group belongs to.
        encoder: its unique title.
        segmenter: name of the head.
        dataset: name of the dataset.
        fraction: share of the training images, 0..1.
        runs: the finished ones, by seed.
        failed: the failed ones, by seed.
        published: what the literature reports for this encoder, if the study names it.
    """

    setting: str
    encoder: str
    segmenter: str
    dataset: str
    fraction: float
    runs: tuple[RunRecord, ...]
    failed: tuple[RunRecord, ...]
    published: PublishedScore | None = None

    @property
    def spec(self) -> RunSpec:
        """Return the specification of the first run."""
        return (self.runs + self.failed)[0].spec

    @property
    def seeds(self) -> list[int]:
        """Return the seeds of the finished runs."""
        return [run.spec.seed for run in self.runs]

    @property
    def random_weights(self) -> bool:
        """Whether the encoder was trained from random weights."""
        return self.spec.encoder.weights == "random"

    @cached_property
    def architecture(self) -> str:
        """Return JSON that is equal for encoders that differ only in the weights at the start."""
        content = self.spec.encoder.model_dump(mode="json", exclude={"weights", "label"})
        return canonical(content)

    def values(self, read: Reading = miou) -> dict[int, float]:
        """Return seed -> what ``read`` finds in that run, without runs that lack the value."""
        found = {run.spec.seed: read(run) for run in self.runs}
        return {seed: value for seed, value in found.items() if value is not None}

    @property
    def confusion_matrices(self) -> list[list[list[int]]]:
        """Return the K×K pixel counts of every run that has them (rows: truth)."""
        return [run.confusion_matrix for run in self.runs if run.confusion_matrix]

    @cached_property
    def score(self) -> Summary:
        """Return the summary of mIoU over seeds."""
        return self.summary()

    def summary(self, read: Reading = miou) -> Summary:
        """Return the summary over seeds of what ``read`` finds in the runs."""
        return summarize(list(self.values(read).values()))


def best_first(group: RunGroup) -> tuple[float, float, str]:
    """Sort key: the largest fraction first, then the largest mean; no result comes last."""
    return -group.fraction, -(group.score.mean or -1.0), group.encoder


@dataclass(frozen=True, eq=False)
class Setting:
    """Groups that may be compared: one dataset, one segmenter, one recipe."""

    title: str
    dataset: str
    segmenter: str
    groups: tuple[RunGroup, ...]

    @cached_property
    def encoders(self) -> list[str]:
        """Return the encoders' titles, sorted."""
        return sorted({group.encoder for group in self.groups})

    @cached_property
    def fractions(self) -> list[float]:
        """Return the shares of the training images, smallest first."""
        return sorted({group.fraction for group in self.groups})

    @cached_property
    def reference(self) -> float | None:
        """Return the largest fraction at which two encoders have a result.

        Without one, the largest at which one encoder has a result; None if no run has finished.
        """
        scored = Counter(group.fraction for group in self.groups if group.values())
        compared = [fraction for fraction, encoders in scored.items() if encoders > 1]
        return max(compared or scored, default=None)

    def at(self, fraction: float | None) -> list[RunGroup]:
        """Return the groups at one fraction."""
        return [group for group in self.groups if group.fraction == fraction]

    def group(self, encoder: str, fraction: float | None) -> RunGroup | None:
        """Return the group of one encoder at one fraction; None if it was not run."""
        return next((group for group in self.at(fraction) if group.encoder == encoder), None)

    @property
    def runs(self) -> list[RunRecord]:
        """Return the finished runs of all groups."""
        return [run for group in self.groups for run in group.runs]

    @property
    def classes(self) -> list[str]:
        """Return the class names in id order."""
        return list(self.groups[0].spec.dataset.classes)

    @cached_property
    def shown_classes(self) -> list[str]:
        """Return the classes that a page shows, in id order; of very many, the largest."""
        classes = self.classes
        if len(classes) <= MOST_CLASSES:
            return classes
        return [classes[place] for place in sorted(self.by_pixels[:SHOWN_CLASSES])]

    @cached_property
    def by_pixels(self) -> list[int]:
        """Return class ids, largest first, by true pixels in the first run with counts."""
        counted = [run.confusion_matrix for run in self.runs if run.confusion_matrix]
        pixels = np.sum(counted[0], axis=1) if counted else np.zeros(len(self.classes))
        return [int(place) for place in np.argsort(-pixels, kind="stable")]
