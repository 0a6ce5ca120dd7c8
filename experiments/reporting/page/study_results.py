"""The results of a study as tables for the terminal, JSON and CSV: every seed, then over seeds."""

import csv
import io
import json
from operator import attrgetter
from typing import Any

from encoder_ablations.experiments.reporting.findings.collection import Study
from encoder_ablations.experiments.reporting.findings.groups import RunGroup
from encoder_ablations.experiments.reporting.findings.image_intervals import Resampling
from encoder_ablations.experiments.reporting.page.page import terminal_ranking
from encoder_ablations.experiments.reporting.text import formats
from encoder_ablations.experiments.runs.metrics_record import MetricsRecord
from encoder_ablations.experiments.runs.record import RunRecord

COLUMNS = {"miou": "mIoU", "mean_class_accuracy": "mean acc.", "pixel_accuracy": "pixel acc."}
"""Measures in the terminal's table of seeds, in percent; JSON and CSV have all."""


def seeds_table(study: Study) -> str:
    """Return a line for every run, failed ones included, in a block for every setting."""
    width = max(len("encoder"), *(len(group.encoder) for group in study.groups))
    heads = "  ".join(f"{text:>10}" for text in COLUMNS.values())
    lines = []
    for setting in study.settings:
        lines += [setting.title, f"  {'encoder':<{width}}  images  seed  {heads}"]
        for group in sorted(setting.groups, key=lambda group: (-group.fraction, group.encoder)):
            start = f"  {group.encoder:<{width}}  {formats.fraction(group.fraction):>6}"
            for run in sorted(group.runs + group.failed, key=lambda run: run.spec.seed):
                lines.append(f"{start}  {run.spec.seed:>4}  {_measures(run)}")
    return "\n".join(lines)


def _measures(run: RunRecord) -> str:
    if run.metrics is None:
        message = run.error.message if run.error else ""
        return f"failed: {message.splitlines()[0] if message else 'no reason given'}"
    values = [getattr(run.metrics, name) for name in COLUMNS]
    texts = [formats.DASH if value is None else f"{100 * value:.2f}" for value in values]
    return "  ".join(f"{text:>10}" for text in texts)


def text(study: Study) -> str:
    """Return both tables for the terminal: every run, and over seeds."""
    return f"{seeds_table(study)}\n\nover seeds\n{terminal_ranking(study.groups)}"


def as_json(study: Study) -> dict[str, Any]:
    """Return ``runs`` with all metrics and ``groups`` over seeds; shares in 0..1, None if unknown."""
    resampling = Resampling(study)
    groups = []
    for setting in study.settings:
        for group in setting.groups:
            wide = resampling.interval(group) if group.fraction == setting.reference else None
            found = {"interval_with_images": wide, "published": _published(group)}
            groups.append({**_names(group), **_over_seeds(group), **found})
    return {
        "study": study.name,
        "runs": _runs(study),
        "groups": groups,
        "unreadable": list(study.damaged),
    }


def as_csv(study: Study) -> str:
    """Return a row for every run, and one with the seed "mean" and "std" for every group."""
    scores = [name for name in MetricsRecord.model_fields if not name.startswith("per_class")]
    rows = [["setting", "encoder", "fraction", "seed", "status", *scores]]
    for group in study.groups:
        start = [group.setting, group.encoder, f"{group.fraction:g}"]
        for run in group.runs + group.failed:
            values = [getattr(run.metrics, name) if run.metrics else None for name in scores]
            rows.append([*start, str(run.spec.seed), run.status, *map(_cell, values)])
        summaries = [group.summary(attrgetter(f"metrics.{name}")) for name in scores]
        for kind in ("mean", "std"):
            values = [getattr(summary, kind) for summary in summaries]
            rows.append([*start, kind, "", *map(_cell, values)])
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerows(rows)
    return buffer.getvalue()


def _cell(value: float | None) -> str:
    return "" if value is None else json.dumps(value)


def _names(group: RunGroup) -> dict[str, Any]:
    names = {"setting": group.setting, "encoder": group.encoder, "segmenter": group.segmenter}
    return names | {"dataset": group.dataset, "fraction": group.fraction}


def _over_seeds(group: RunGroup) -> dict[str, Any]:
    score = group.score
    interval = None if score.half_width is None else (score.low, score.high)
    return {
        "seeds": sorted(group.seeds),
        "failed": [run.spec.seed for run in group.failed],
        "miou_by_seed": {str(seed): value for seed, value in group.values().items()},
        "miou_mean": score.mean,
        "miou_std": score.std,
        "interval_over_seeds": interval,
    }


def _published(group: RunGroup) -> dict[str, Any] | None:
    score = group.published
    return None if score is None else {"miou": score.miou / 100, "source": score.source}


def _runs(study: Study) -> list[dict[str, Any]]:
    return [
        {
            "run_id": run.run_id,
            **_names(group),
            "seed": run.spec.seed,
            "status": run.status,
            "metrics": run.metrics.model_dump(mode="json") if run.metrics else None,
        }
        for group in study.groups
        for run in group.runs + group.failed
    ]
