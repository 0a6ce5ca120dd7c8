"""The tables that are written beside the report."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from encoder_ablations.experiments.reporting.findings.collection import Study
from encoder_ablations.experiments.reporting.findings.cross_dataset import transfer_table
from encoder_ablations.experiments.reporting.findings.folds import folds_table
from encoder_ablations.experiments.reporting.findings.groups import (
    RunGroup,
    best_first,
    class_iou,
)
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
    """Write ``tables/NAME.{csv,md,tex}`` for all ``TABLES`` and ``runs.csv``; return their paths."""
    tables = {"ranking": ranking_table(study, resampling)}
    tables |= {name: make(study) for name, make in TABLES.items()}
    contents = {study.folder / "runs.csv": runs_table(study).csv()}
    for name, table in tables.items():
        path = study.folder / "tables" / name
        contents[path.with_suffix(".csv")] = table.csv()
        contents[path.with_suffix(".md")] = table.markdown()
        contents[path.with_suffix(".tex")] = table.latex()
    for path, content in contents.items():
        write_text(path, content)
    return list(contents)


def runs_table(study: Study) -> Table:
    """Return a row for every run, failed ones too, with every single value of its record."""
    rows = [_flat(record, study) for record in study.records]
    header = list(dict.fromkeys(key for row in rows for key in row))
    cells = [["" if row.get(key) is None else str(row[key]) for key in header] for row in rows]
    return Table("All runs", header, cells)


def _flat(record: RunRecord, study: Study) -> dict[str, Any]:
    spec, content = record.spec, record.model_dump(mode="json", exclude=LONG)
    if content["cost"]:
        measured = content["cost"].pop("latency_ms")
        latencies = {entry.pop("batch_size"): entry for entry in measured}
        content["cost"]["latency_ms"] = {f"batch_{n}": entry for n, entry in latencies.items()}
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
    known = {key: value for key, value in content.items() if value is not None}
    results = {key: value for key, value in known.items() if key not in names}
    return names | flatten(results | model | inputs)


RANKING = ["setting", "encoder", "fraction (%)", "mIoU (%)", "n", "failed"]
RANKING += ["low (%)", "high (%)", "spread", "std (points)"]
RANKING += ["low with other images (%)", "high with other images (%)"]
RANKING += ["parameters (M)", "trainable (M)", "GFLOPs", "latency (ms)", "training (s)"]
RANKING += ["memory (GB)"]
PUBLISHED = ["published (%)", "ours - published (points)", "source"]


def ranking_table(study: Study, resampling: Resampling | None = None) -> Table:
    """Return a row for every encoder and fraction, best first within setting and fraction."""
    cited = citations(study.groups)
    rows = []
    for setting in study.settings:
        for group in sorted(setting.groups, key=best_first):
            wide = None
            if resampling and group.fraction == setting.reference:
                wide = resampling.interval(group)
            cells = [setting.title, group.encoder, *_ranking_cells(group, wide)]
            if cited:
                cells += _published_cells(cited.get(group))
            rows.append(cells)
    header = RANKING + PUBLISHED if cited else RANKING
    caption = "Mean mIoU with 95 % t intervals over seeds (n >= 3) or ranges (n = 2)."
    return Table(caption, header, rows, names=2)


def _ranking_cells(group: RunGroup, wide: Interval | None) -> list[str]:
    summary = group.score
    score = [summary.text(with_n=False), str(summary.n), str(len(group.failed))]
    spread = [_percent(summary.low), _percent(summary.high), summary.spread, _percent(summary.std)]
    low, high = wide or (None, None)
    cost = _cost_cells(cost_of(group.runs))
    share = f"{group.fraction * 100:g}"
    return [share, *score, *spread, _percent(low), _percent(high), *cost]


def _percent(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.2f}"


def _published_cells(cited: Cited | None) -> list[str]:
    return ["", "", ""] if cited is None else [cited.score, cited.behind, cited.source]


def _cost_cells(cost: Cost | None) -> list[str]:
    if cost is None:
        return [""] * 6
    millions = [f"{cost.parameters / 1e6:.2f}", f"{cost.trainable / 1e6:.2f}"]
    latency = f"{cost.latency[1]:.2f}" if cost.latency else ""
    speed = [f"{cost.flops / 1e9:.2f}", latency, f"{cost.train_seconds:.1f}"]
    return [*millions, *speed, f"{cost.memory / 1e9:.2f}"]


def per_class_table(study: Study) -> Table:
    """Return the IoU of every class at each setting's reference fraction."""
    rows = []
    for setting in study.settings:
        groups = [group for group in setting.at(setting.reference) if group.runs]
        for name in setting.classes:
            for group in groups:
                score = group.summary(class_iou(name)).text(with_n=False)
                rows.append([setting.title, group.encoder, name, score, str(len(group.runs))])
    header = ["setting", "encoder", "class", "IoU (%)", "n"]
    return Table("IoU of every class.", header, rows, names=3)


def differences_table(study: Study) -> Table:
    """Return every pair of encoders at every fraction, over the seeds they share."""
    rows = []
    for setting in study.settings:
        for share in reversed(setting.fractions):
            for pair in comparisons(setting, share):
                names = [setting.title, pair.first.encoder, pair.second.encoder, f"{share * 100:g}"]
                wins = f"{pair.difference.wins} of {pair.difference.over.n}"
                rows.append(names + _difference_cells(pair, wins))
    header = ["setting", "first", "second", "fraction (%)", "first - second (points)"]
    header += ["low", "high", "spread", "wins", "effect size (g)", "p (Holm)"]
    return Table("Paired differences over shared seeds.", header, rows, names=3)


def pretraining_table(study: Study) -> Table:
    """Return loaded minus random weights of every network that has both, at every fraction."""
    rows = []
    for setting in study.settings:
        for share in reversed(setting.fractions):
            for pair in pretraining(setting, share):
                names = [setting.title, pair.first.encoder, f"{share * 100:g}"]
                rows.append(names + _difference_cells(pair, str(pair.difference.over.n)))
    header = ["setting", "encoder", "fraction (%)", "gain (points)"]
    header += ["low", "high", "spread", "n", "effect size (g)", "p (Holm)"]
    return Table("What pretraining adds to the same network.", header, rows, names=2)


def _difference_cells(pair: Comparison, seeds: str) -> list[str]:
    """Return mean, low, high, their kind, ``seeds``, effect size and p; "" for what is missing."""
    over, effect = pair.difference.over, pair.difference.effect
    low = high = ""
    if over.n > 1:
        low, high = formats.points(over.low or 0.0), formats.points(over.high or 0.0)
    size = "" if effect is None else f"{effect:.2f}"
    p = "" if pair.p is None else f"{pair.p:.4f}"
    return [formats.points(pair.mean), low, high, over.spread, seeds, size, p]


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
"""File name -> function that makes the table; the ranking comes before them."""
