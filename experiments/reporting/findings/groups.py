"""Runs that differ in the seed alone, and settings: groups of runs that may be compared."""

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, wraps
from typing import Concatenate, NamedTuple, ParamSpec, TypeVar
from weakref import WeakKeyDictionary

import numpy as np

from encoder_ablations.engine.evaluation.main_metric import MAIN_METRICS, MainMetric
from encoder_ablations.experiments.reporting.text.encoder_names import encoder_name
from encoder_ablations.experiments.reporting.text.titles import canonical
from encoder_ablations.experiments.runs.metrics_record import TaskMetrics
from encoder_ablations.experiments.runs.record import RunRecord
from encoder_ablations.experiments.runs.record_parts import CostRecord, CurvesRecord, DataRecord
from encoder_ablations.experiments.runs.spec import RunSpec
from encoder_ablations.experiments.stats.seeds import Summary, summarize
from encoder_ablations.experiments.studies.seed_rule import SeedRule

Given = ParamSpec("Given")
Found = TypeVar("Found")

MOST_CLASSES = 255
"""Most classes that a page shows one by one; with more, it shows only some."""
SHOWN_CLASSES = 100
"""Classes that are shown then: those with most pixels."""


class FinishedRun(RunRecord):
    """The record of a finished run, which holds all results."""

    data: DataRecord
    metrics: TaskMetrics
    confusion_matrix: list[list[int]]
    curves: CurvesRecord
    cost: CostRecord

    @classmethod
    def of(cls, record: RunRecord) -> "FinishedRun":
        """Return a record that was checked when it was read as that of a finished run."""
        if isinstance(record, cls):
            return record
        return cls.model_construct(**dict(record))


Reading = Callable[[FinishedRun], float | None]
"""Reads a number from a run; None where there was nothing to divide by."""


def main_score(run: FinishedRun) -> float | None:
    """Return the task's main metric in 0..1 on the report split: mIoU, or accuracy."""
    return run.metrics.main


def class_score(name: str) -> Reading:
    """Return a function that reads the IoU or the recall of a class, 0..1, from a run."""
    return lambda run: run.metrics.by_class[name]


class Published(NamedTuple):
    """A score from the literature, in percent, and who reports it."""

    score: float
    source: str


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
        seed_rule: by which the study adds seeds, if it does.
    """

    setting: str
    encoder: str
    segmenter: str
    dataset: str
    fraction: float
    runs: tuple[FinishedRun, ...] = ()
    failed: tuple[RunRecord, ...] = ()
    published: Published | None = None
    seed_rule: SeedRule | None = None

    @property
    def records(self) -> tuple[RunRecord, ...]:
        """Return the records of all runs, the finished ones first."""
        return self.runs + self.failed

    @property
    def spec(self) -> RunSpec:
        """Return the specification of the first run."""
        return self.records[0].spec

    @property
    def metric(self) -> MainMetric:
        """Return what the runs are judged by."""
        return MAIN_METRICS[self.spec.dataset.task]

    @property
    def seeds(self) -> list[int]:
        """Return the seeds of the finished runs."""
        return [run.spec.seed for run in self.runs]

    @property
    def most_seeds(self) -> int | None:
        """Return the most seeds that a rule allows; None if the study lists its seeds."""
        if self.seed_rule is None:
            return None
        return self.seed_rule.to

    @property
    def is_tuned(self) -> bool:
        """Whether the runs have values that were chosen for their encoder."""
        return self.spec.tuning is not None

    @property
    def random_weights(self) -> bool:
        """Whether the encoder was trained from random weights."""
        return self.spec.encoder.weights == "random"

    @cached_property
    def architecture(self) -> str:
        """Return JSON that is equal for encoders that differ only in the weights at the start."""
        content = self.spec.encoder.model_dump(mode="json", exclude={"weights", "label"})
        return canonical(content)

    @property
    def without_labels(self) -> bool:
        """Whether the head needs no labels: then there is one run, and nothing to repeat."""
        return self.fraction == 0

    @property
    def protocol(self) -> str:
        """Return what learns of the encoder's body, such as "frozen" or "fine-tuned"."""
        if self.without_labels:
            return "untrained"
        return self.spec.encoder.protocol

    @cached_property
    def network(self) -> str:
        """Return JSON that is equal for encoders that differ only in what learns of their body."""
        left_out = {"freeze", "adapt", "batch_norm", "label"}
        return canonical(self.spec.encoder.model_dump(mode="json", exclude=left_out))

    @property
    def network_title(self) -> str:
        """Return the encoder's title without what learns of its body."""
        changes = {"freeze": "none", "adapt": None, "batch_norm": None, "label": None}
        return encoder_name(self.spec.encoder.model_copy(update=changes))

    def values(self, read: Reading = main_score) -> dict[int, float]:
        """Return seed -> what ``read`` finds in that run, without runs that lack the value."""
        found = {run.spec.seed: read(run) for run in self.runs}
        return {seed: value for seed, value in found.items() if value is not None}

    @property
    def confusion_matrix(self) -> np.ndarray:
        """Return the K×K counts of all finished runs together (rows: truth), float64."""
        matrices = [run.confusion_matrix for run in self.runs]
        return np.asarray(np.sum(matrices, axis=0, dtype=np.float64))

    @cached_property
    def score(self) -> Summary:
        """Return the summary of the main metric over seeds."""
        return self.summary()

    def summary(self, read: Reading = main_score) -> Summary:
        """Return the summary over seeds of what ``read`` finds in the runs."""
        return summarize(list(self.values(read).values()), self.most_seeds)


def best_first(group: RunGroup) -> tuple[float, float, str]:
    """Sort key: the largest fraction first, then the largest mean; no result comes last."""
    mean = np.nan_to_num(group.score.mean, nan=-1.0)
    return -group.fraction, -float(mean), group.encoder


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
    def protocols(self) -> list[str]:
        """Return what learns of the encoders, each once; see :attr:`RunGroup.protocol`."""
        return sorted({group.protocol for group in self.groups})

    @cached_property
    def fractions(self) -> list[float]:
        """Return the shares of the training images, smallest first."""
        return sorted({group.fraction for group in self.groups})

    @property
    def without_labels(self) -> bool:
        """Whether the head needs no labels."""
        return all(group.without_labels for group in self.groups)

    @cached_property
    def scored(self) -> list[RunGroup]:
        """Return the groups that have a result."""
        return [group for group in self.groups if group.score.n]

    @cached_property
    def reference(self) -> float:
        """Return the largest fraction at which two encoders have a result.

        Without one, the largest at which one encoder has a result; NaN if no run has finished.
        """
        encoders = Counter(group.fraction for group in self.scored)
        most = min(2, max(encoders.values(), default=0))
        compared = [fraction for fraction, count in encoders.items() if count >= most]
        return max(compared, default=math.nan)

    def scored_at(self, fraction: float) -> list[RunGroup]:
        """Return the groups at one fraction that have a result."""
        return [group for group in self.scored if group.fraction == fraction]

    def at(self, fraction: float) -> list[RunGroup]:
        """Return the groups at one fraction."""
        return [group for group in self.groups if group.fraction == fraction]

    @cached_property
    def _by_place(self) -> dict[tuple[str, float], RunGroup]:
        return {(group.encoder, group.fraction): group for group in self.groups}

    def group(self, encoder: str, fraction: float) -> RunGroup:
        """Return the group of one encoder at one fraction; without runs if it was not run."""
        none = RunGroup(self.title, encoder, self.segmenter, self.dataset, fraction)
        return self._by_place.get((encoder, fraction), none)

    @property
    def runs(self) -> list[FinishedRun]:
        """Return the finished runs of all groups."""
        return [run for group in self.groups for run in group.runs]

    @property
    def metric(self) -> MainMetric:
        """Return what the setting's runs are judged by."""
        return self.groups[0].metric

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
        """Return class ids, largest first, by true pixels in the first finished run."""
        counted = [np.sum(run.confusion_matrix, axis=1) for run in self.runs[:1]]
        pixels = sum(counted, np.zeros(len(self.classes)))
        return [int(place) for place in np.argsort(-pixels, kind="stable")]


def once_per_setting(
    find: Callable[Concatenate[Setting, Given], Found],
) -> Callable[Concatenate[Setting, Given], Found]:
    """Return ``find``, which computes once for equal arguments.

    Results are kept as long as the setting: a study that is watched is reported many times.
    """
    kept: WeakKeyDictionary[Setting, dict[object, Found]] = WeakKeyDictionary()

    @wraps(find)
    def found(setting: Setting, /, *given: Given.args, **named: Given.kwargs) -> Found:
        results = kept.setdefault(setting, {})
        place = (*given, *named.items())
        if place not in results:
            results[place] = find(setting, *given, **named)
        return results[place]

    return found
