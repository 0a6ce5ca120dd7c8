"""The tables that are written beside the report."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from encoder_ablations.experiments.reporting.findings.collection import Study
from encoder_ablations.experiments.reporting.findings.cross_dataset import transfer_table
from encoder_ablations.experiments.reporting.findings.folds import folds_table
from encoder_ablations.experiments.reporting.findings.groups import RunGroup, class_iou
from encoder_ablations.experiments.reporting.findings.image_intervals import Interval, Resampling
from encoder_ablations.experiments.reporting.findings.label_efficiency import (
    efficiency_table,
    target_table,
)
from encoder_ablations.experiments.reporting.findings.published_scores import Cited, citations
from encoder_ablations.experiments.reporting.findings.rank_stability import (
    deviations_table,
    stability_table,
)
from encoder_ablations.experiments.reporting.findings.ranking import (
    Comparison,
    Cost,
    comparisons,
    cost_of,
    pretraining,
)
from encoder_ablations.experiments.reporting.text import formats
from encoder_ablations.experiments.reporting.text.table import Table
from encoder_ablations.experiments.reporting.text.titles import flatten
from encoder_ablations.experiments.runs.record import RunRecord
from encoder_ablations.utils.files import write_text

LONG: Any = {
    "schema_version": True,
    "confusion_matrix": True,
    "curves": True,
    "pictures": True,
    "disclosures": True,
    "data": {"class_names", "colors"},
    "error": {"traceback"},
}
"""What ``runs.csv`` leaves out of a record: everything that is not a single value."""


def write_tables(study: Study, resampling: Resampling | None = None) -> list[Path]:
    """Writes ``tables/NAME.{csv,md,tex}`` for every one of ``TABLES``, and ``runs.csv``; returns their paths."""
    written = []
    tables: dict[str, Callable[[Study], Table]] = {
        "ranking": partial(ranking_table, resampling=resampling),
        **TABLES,
    }
    for name, make in tables.items():
        table = make(study)
        for ending, content in (
            ("csv", table.csv()),
            ("md", table.markdown()),
            ("tex", table.latex()),
        ):
            path = study.folder / "tables" / f"{name}.{ending}"
            write_text(path, content)
            written.append(path)
    runs = study.folder / "runs.csv"
    write_text(runs, runs_table(study).csv())
    return [*written, runs]


def runs_table(study: Study) -> Table:
    """A row for every run, failed ones included, with everything in its record that is a single value."""
    rows = [_flat(record, study) for record in study.records]
    header = list(dict.fromkeys(key for row in rows for key in row))
    cells = [["" if row.get(key) is None else str(row[key]) for key in header] for row in rows]
    return Table("All runs", header, cells)


def _flat(record: RunRecord, study: Study) -> dict[str, Any]:
    spec, content = record.spec, record.model_dump(mode="json", exclude=LONG)
    if content["cost"]:
        latencies = content["cost"].pop("latency_ms")
        content["cost"]["latency_ms"] = {
            f"batch_{entry.pop('batch_size')}": entry for entry in latencies
        }
    names = {
        "run_id": record.run_id,
        "status": record.status,
        "encoder": study.titles[record.run_id],
        "segmenter": spec.segmenter.name,
        "dataset": spec.dataset.name,
        "fraction": spec.fraction,
        "seed": spec.seed,
    }
    model = {"model": content.pop("encoder")}
    inputs = {"spec": content.pop("spec"), "environment": content.pop("environment")}
    results = {
        key: value for key, value in content.items() if key not in names and value is not None
    }
    return names | flatten(results | model | inputs)


def ranking_table(study: Study, resampling: Resampling | None = None) -> Table:
    """A row for every encoder and fraction, best first within its setting and fraction."""
    header = [
        "setting",
        "encoder",
        "fraction (%)",
        "mIoU (%)",
        "n",
        "failed",
        "low (%)",
        "high (%)",
        "spread",
    ]
    header += ["std (points)", "low with other images (%)", "high with other images (%)"]
    header += [
        "parameters (M)",
        "trainable (M)",
        "GFLOPs",
        "latency (ms)",
        "training (s)",
        "memory (GB)",
    ]
    cited = citations(study.groups)
    if cited:
        header += ["published (%)", "ours - published (points)", "source"]
    rows = []
    for setting in study.settings:
        order = sorted(
            setting.groups, key=lambda g: (-g.fraction, -(g.score.mean or -1), g.encoder)
        )
        for group in order:
            wide = (
                resampling.interval(group)
                if resampling and group.fraction == setting.reference
                else None
            )
            known = _published_cells(cited.get(group)) if cited else []
            rows.append([setting.title, group.encoder, *_ranking_cells(group, wide), *known])
    return Table(
        "Mean mIoU with 95 % t intervals over seeds (n >= 3) or ranges (n = 2).",
        header,
        rows,
        names=2,
    )


def _ranking_cells(group: RunGroup, wide: Interval | None) -> list[str]:
    summary = group.score
    bounds = [
        f"{100 * bound:.2f}" if bound is not None else "" for bound in (summary.low, summary.high)
    ]
    quality = [
        summary.text(with_n=False),
        str(summary.n),
        str(len(group.failed)),
        *bounds,
        summary.spread,
    ]
    quality.append("" if summary.std is None else f"{100 * summary.std:.2f}")
    quality += ["", ""] if wide is None else [f"{100 * bound:.2f}" for bound in wide]
    return [f"{group.fraction * 100:g}", *quality, *_cost_cells(cost_of(group.runs))]


def _published_cells(cited: Cited | None) -> list[str]:
    return ["", "", ""] if cited is None else [cited.score, cited.behind, cited.source]


def _cost_cells(cost: Cost | None) -> list[str]:
    if cost is None:
        return [""] * 6
    latency = f"{cost.latency[1]:.2f}" if cost.latency else ""
    sizes = [
        f"{cost.parameters / 1e6:.2f}",
        f"{cost.trainable / 1e6:.2f}",
        f"{cost.flops / 1e9:.2f}",
    ]
    return [*sizes, latency, f"{cost.train_seconds:.1f}", f"{cost.memory / 1e9:.2f}"]


def per_class_table(study: Study) -> Table:
    """IoU of every class at each setting's reference fraction."""
    rows = []
    for setting in study.settings:
        groups = [group for group in setting.at(setting.reference) if group.runs]
        rows += [
            [
                setting.title,
                group.encoder,
                name,
                group.summary(class_iou(name)).text(with_n=False),
                str(len(group.runs)),
            ]
            for name in setting.classes
            for group in groups
        ]
    return Table(
        "IoU of every class.", ["setting", "encoder", "class", "IoU (%)", "n"], rows, names=3
    )


def differences_table(study: Study) -> Table:
    """Every pair of encoders at every fraction, over the seeds they share."""
    rows = []
    for setting in study.settings:
        for share in reversed(setting.fractions):
            for pair in comparisons(setting, share):
                names = [setting.title, pair.first.encoder, pair.second.encoder, f"{share * 100:g}"]
                rows.append(
                    names
                    + _difference_cells(pair, f"{pair.difference.wins} of {pair.difference.over.n}")
                )
    header = [
        "setting",
        "first",
        "second",
        "fraction (%)",
        "first - second (points)",
        "low",
        "high",
        "spread",
        "wins",
    ]
    return Table(
        "Paired differences over shared seeds.",
        [*header, "effect size (g)", "p (Holm)"],
        rows,
        names=3,
    )


def pretraining_table(study: Study) -> Table:
    """What pretraining buys: loaded minus random weights of every network that has both, at every fraction."""
    rows = []
    for setting in study.settings:
        for share in reversed(setting.fractions):
            for pair in pretraining(setting, share):
                names = [setting.title, pair.first.encoder, f"{share * 100:g}"]
                rows.append(names + _difference_cells(pair, str(pair.difference.over.n)))
    header = [
        "setting",
        "encoder",
        "fraction (%)",
        "gain (points)",
        "low",
        "high",
        "spread",
        "n",
        "effect size (g)",
    ]
    return Table("What pretraining adds to the same network.", [*header, "p (Holm)"], rows, names=2)


def _difference_cells(pair: Comparison, seeds: str) -> list[str]:
    """Mean, low, high and what these two are, ``seeds``, effect size and p; "" for what so few seeds do not have."""
    over, effect = pair.difference.over, pair.difference.effect
    bounds = [
        formats.points(bound) if bound is not None and over.n > 1 else ""
        for bound in (over.low, over.high)
    ]
    certainty = [
        "" if effect is None else f"{effect:.2f}",
        "" if pair.p is None else f"{pair.p:.4f}",
    ]
    return [formats.points(over.mean or 0.0), *bounds, over.spread, seeds, *certainty]


TABLES: dict[str, Callable[[Study], Table]] = {
    "per_class": per_class_table,
    "differences": differences_table,
    "pretraining": pretraining_table,
    "efficiency": efficiency_table,
    "target": target_table,
    "stability": stability_table,
    "deviations": deviations_table,
    "transfer": transfer_table,
    "folds": folds_table,
}
"""File name -> what makes the table; the ranking comes before them."""
