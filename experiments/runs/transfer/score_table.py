"""The scores of a run as a table for the terminal."""

from pathlib import Path

from encoder_ablations.experiments.runs.metrics_record import TaskMetrics
from encoder_ablations.experiments.runs.transfer.record import TransferRecord, transfer_file
from encoder_ablations.utils.texts import plural

SHOWN = {"per_class_iou": "IoU", "per_class_dice": "Dice"}
SHOWN |= {"per_class_recall": "recall", "per_class_precision": "prec.", "per_class_f1": "F1"}
"""Metrics of each class that a table shows, and their headings."""


def score_table(scores: TaskMetrics, title: str) -> str:
    """Return all metrics in percent, below a title."""
    lines = [title]
    content = scores.model_dump()
    for name, value in content.items():
        if not isinstance(value, dict):
            lines.append(f"  {name:<26}{_percent(value)}")
    columns = [key for key in SHOWN if key in content]
    heads = [f"{SHOWN[key]:>7}" for key in columns]
    lines.append(f"  {'class':<26}{' '.join(heads)}")
    for name in scores.by_class:
        values = [_percent(content[key][name]) for key in columns]
        lines.append(f"  {name:<26}{' '.join(values)}")
    return "\n".join(lines)


def transfer_table(record: TransferRecord, folder: Path) -> str:
    """Return the metrics on the other dataset, mIoU on the run's own beside them, and the file."""
    where = f"{record.tested_on} {record.split}"
    lines = [
        score_table(record.metrics, f"{record.run_id}, step {record.checkpoint_step}, {where}")
    ]
    if record.at_home is not None:
        classes = plural(len(record.class_names), "class")
        home = f"miou on {record.trained_on} itself, over the same {classes}"
        lines.append(f"  {home:<60}{_percent(record.at_home.miou)}")
    lines.append(f"  record: {transfer_file(folder, record)}")
    return "\n".join(lines)


def _percent(value: float | None) -> str:
    if value is None:
        return "      –"
    return f"{100 * value:7.2f}"
