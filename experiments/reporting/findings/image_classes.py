"""How well the classes of whole images are predicted, by runs that predict them beside masks."""

from collections.abc import Iterator
from itertools import chain
from operator import attrgetter

from encoder_ablations.experiments.reporting.findings.groups import (
    FinishedRun,
    RunGroup,
    Setting,
    best_first,
)
from encoder_ablations.experiments.reporting.findings.study import Study
from encoder_ablations.experiments.reporting.text.table import Table

HEADER = ["setting", "encoder", "class", "accuracy (%)", "balanced accuracy (%)", "n"]
MEASURES = ("accuracy", "balanced_accuracy")


def image_classes_table(study: Study) -> Table:
    """Return a row for each encoder at each setting's reference fraction, and one for each class.

    In the row of a class its recall stands in place of the accuracy.
    """
    rows = list(chain.from_iterable(map(_rows, study.settings)))
    return Table("Classes of whole images, beside the masks.", HEADER, rows, names=3)


def _rows(setting: Setting) -> Iterator[list[str]]:
    groups = [group for group in setting.at(setting.reference) if _predicts(group)]
    for group in sorted(groups, key=best_first):
        start, count = [setting.title, group.encoder], str(len(group.runs))
        whole = [group.summary(attrgetter(f"image_classes.metrics.{name}")) for name in MEASURES]
        yield [*start, "all", *(score.text() for score in whole), count]
        for name in group.runs[0].spec.dataset.image_classes or ():
            yield [*start, name, _recall(group, name), "", count]


def _predicts(group: RunGroup) -> bool:
    """Return whether the runs of a group predict classes of whole images."""
    return bool(group.runs) and all(run.image_classes is not None for run in group.runs)


def _recall(group: RunGroup, name: str) -> str:
    """Return the recall of a class over the seeds of a group."""

    def read(run: FinishedRun) -> float | None:
        assert run.image_classes is not None
        return run.image_classes.metrics.per_class_recall[name]

    return group.summary(read).text()
