"""The table of all runs, ``runs.csv``: every single value of their records."""

from collections.abc import Iterator
from typing import Any

from encoder_ablations.experiments.reporting.findings.study import Study
from encoder_ablations.experiments.reporting.text.table import csv_text
from encoder_ablations.experiments.reporting.text.titles import flatten
from encoder_ablations.experiments.runs.record import RunRecord

LONG: Any = {
    "schema_version": True,
    "confusion_matrix": True,
    "image_classes": {"confusion_matrix"},
    "curves": True,
    "pictures": True,
    "disclosures": True,
    "data": {"class_names", "colors"},
    "error": {"traceback"},
    "federation": {"clients", "bytes_down", "bytes_up", "failures"},
}
"""What ``runs.csv`` leaves out of a record: everything that is not a single value."""


def run_values(study: Study) -> Iterator[dict[str, Any]]:
    """Yield every single value of each run's record by its name; failed runs have only some."""
    for record in study.records:
        yield _flat(record, study)


def runs_csv(study: Study) -> str:
    """Return every single value of each record as CSV, a row for every run, failed ones too."""
    columns: dict[str, None] = {}
    lines = []
    for row in run_values(study):
        columns |= dict.fromkeys(row)
        cells = [row.get(name) for name in columns]
        # as text, a row of a large study takes a tenth of the memory
        lines.append((csv_text([cells]).removesuffix("\n"), len(columns)))
    # columns that later runs have added are empty in the rows before
    rows = (f"{line}{',' * (len(columns) - known)}\n" for line, known in lines)
    return csv_text([list(columns)]) + "".join(rows)


def _flat(record: RunRecord, study: Study) -> dict[str, Any]:
    """Return every single value of a record by its name."""
    spec, content = record.spec, record.model_dump(mode="json", exclude=LONG)
    cost = content["cost"] or {}
    # a column's name has the batch size, not the position in the list
    for latency in cost.pop("latency_ms", []):
        cost[f"latency_ms.batch_{latency.pop('batch_size')}"] = latency
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
    measured = {key: value for key, value in content.items() if value is not None}
    return names | flatten(measured | model | inputs)
