"""The scores of a run as a table for the terminal."""

from pathlib import Path

from encoder_ablations.experiments.runs.metrics_record import MetricsRecord
from encoder_ablations.experiments.runs.transfer.record import TransferRecord, transfer_file
from encoder_ablations.utils.texts import plural


def score_table(scores: MetricsRecord, title: str) -> str:
    """Return all metrics in percent, below a title."""
    lines = [title]
    for name, value in scores.model_dump().items():
        if not isinstance(value, dict):
            lines.append(f"  {name:<26}{_percent(value)}")
    lines.append(f"  {'class':<26}{'IoU':>7}{'Dice':>8}")
    for name, iou in scores.per_class_iou.items():
        lines.append(f"  {name:<26}{_percent(iou)} {_percent(scores.per_class_dice[name])}")
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
