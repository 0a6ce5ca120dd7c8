"""The page's part about labels: the curve from no labelled image on, dataset by dataset."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from encoder_ablations.experiments.reporting.figures.drawing import EmbeddedFigure
from encoder_ablations.experiments.reporting.figures.label_curves import draw_label_curves
from encoder_ablations.experiments.reporting.findings.labels.label_curves import LabelCurves
from encoder_ablations.experiments.reporting.findings.labels.label_tables import (
    labels_cost_table,
    labels_per_class_table,
    labels_table,
)
from encoder_ablations.experiments.reporting.sentences.label_curves import label_sentences
from encoder_ablations.experiments.reporting.text.table import Table


@dataclass(frozen=True)
class LabelPart:
    """What the page shows of one dataset.

    Attributes:
        curves: the arms on it.
        sentences: the answer in words.
        figures: "labels" -> the figure.
        needed: labelled images that score what others score without labels.
        per_class: the same, class by class.
        cost: of one image.
    """

    curves: LabelCurves
    sentences: list[str]
    figures: dict[str, EmbeddedFigure]
    needed: Table
    per_class: Table
    cost: Table


def label_parts(curves: Sequence[LabelCurves], folder: Path) -> list[LabelPart]:
    """Return the parts of all datasets that have one, and write their figures.

    Args:
        curves: of the datasets.
        folder: gets the figures.
    """
    parts = []
    for number, each in enumerate(curves, start=1):
        drawn = draw_label_curves(each, folder, f"d{number}-labels")
        tables = [labels_table([each]), labels_per_class_table([each]), labels_cost_table([each])]
        own = [table.only(each.dataset) for table in tables]
        parts.append(LabelPart(each, label_sentences(each), {"labels": drawn}, *own))
    return parts
