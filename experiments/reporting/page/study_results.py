"""The results of a study as text, JSON and CSV: every seed, then over seeds."""

import math
from collections.abc import Iterator
from itertools import chain
from operator import attrgetter
from typing import Any

from encoder_ablations.experiments.reporting.findings.groups import RunGroup, Setting
from encoder_ablations.experiments.reporting.findings.image_intervals import Resampling
from encoder_ablations.experiments.reporting.findings.study import Study
from encoder_ablations.experiments.reporting.page.terminal import seeds_table, terminal_ranking
from encoder_ablations.experiments.reporting.text.table import Table
from encoder_ablations.experiments.runs.metrics_record import ClassificationRecord, MetricsRecord
from encoder_ablations.experiments.runs.record import RunRecord


def _scores(study: Study) -> list[str]:
    """Return the measures that are one number for a run."""
    fields = list(MetricsRecord.model_fields)
    if study.task == "classification":
        fields = list(ClassificationRecord.model_fields)
    return [name for name in fields if not name.startswith("per_class")]


def text(study: Study) -> str:
    """Return both tables for the terminal: every run, and over seeds."""
    return f"{seeds_table(study)}\n\nover seeds\n{terminal_ranking(study.groups)}"


def as_json(study: Study) -> dict[str, Any]:
    """Return ``runs`` with all metrics and ``groups`` over seeds; shares in 0..1, or None."""
    resampling = Resampling(study)
    groups = [_groups(setting, resampling) for setting in study.settings]
    runs = [_run(group, run) for group in study.groups for run in group.records]
    return {
        "study": study.name,
        "runs": runs,
        "groups": list(chain.from_iterable(groups)),
        "unreadable": list(study.damaged),
    }


def _groups(setting: Setting, resampling: Resampling) -> Iterator[dict[str, Any]]:
    for group in setting.groups:
        with_images = None
        if group.fraction == setting.reference:
            with_images = _interval(*resampling.interval(group))
        found = {"interval_with_images": with_images, "published": _published(group)}
        yield _names(group) | _over_seeds(group) | found


def as_csv(study: Study) -> str:
    """Return a row for every run, and one with the seed "mean" and "std" for every group."""
    scores = _scores(study)
    header = ["setting", "encoder", "fraction", "seed", "status", *scores]
    rows = list(chain.from_iterable(_rows(group, scores) for group in study.groups))
    return Table("Results", header, rows).csv()


def _rows(group: RunGroup, scores: list[str]) -> Iterator[list[Any]]:
    start = [group.setting, group.encoder, f"{group.fraction:g}"]
    for run in group.records:
        values = [getattr(run.metrics, name, None) for name in scores]
        yield [*start, run.spec.seed, run.status, *values]
    summaries = [group.summary(attrgetter(f"metrics.{name}")) for name in scores]
    for kind in ("mean", "std"):
        values = [_known(getattr(summary, kind)) for summary in summaries]
        yield [*start, kind, "", *values]


def _known(value: float) -> float | None:
    """Return ``value``, or None for NaN."""
    return None if math.isnan(value) else value


def _interval(low: float, high: float) -> tuple[float, float] | None:
    return None if math.isnan(low) else (low, high)


def _names(group: RunGroup) -> dict[str, Any]:
    names = ("setting", "encoder", "segmenter", "dataset", "fraction")
    return {name: getattr(group, name) for name in names}


def _over_seeds(group: RunGroup) -> dict[str, Any]:
    score, key = group.score, group.metric.key
    # two seeds have a range, but no interval
    interval = _interval(score.mean - score.half_width, score.mean + score.half_width)
    return {
        "seeds": sorted(group.seeds),
        "failed": [run.spec.seed for run in group.failed],
        f"{key}_by_seed": {str(seed): value for seed, value in group.values().items()},
        f"{key}_mean": _known(score.mean),
        f"{key}_std": _known(score.std),
        "interval_over_seeds": interval,
    }


def _published(group: RunGroup) -> dict[str, Any] | None:
    if group.published is None:
        return None
    return {group.metric.key: group.published.score / 100, "source": group.published.source}


def _run(group: RunGroup, run: RunRecord) -> dict[str, Any]:
    metrics = run.model_dump(mode="json", include={"metrics"})
    seed = run.spec.seed
    return {"run_id": run.run_id, **_names(group), "seed": seed, "status": run.status, **metrics}
