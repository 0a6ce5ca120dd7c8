"""The tables that are written beside the report."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain, product
from pathlib import Path

from encoder_ablations.experiments.reporting.findings.confidence import confidence_table
from encoder_ablations.experiments.reporting.findings.cross_dataset import transfer_table
from encoder_ablations.experiments.reporting.findings.efficiency_tables import (
    efficiency_table,
    target_table,
)
from encoder_ablations.experiments.reporting.findings.federated import federated_table
from encoder_ablations.experiments.reporting.findings.folds import folds_table
from encoder_ablations.experiments.reporting.findings.groups import (
    RunGroup,
    Setting,
    best_first,
    class_score,
)
from encoder_ablations.experiments.reporting.findings.image_classes import image_classes_table
from encoder_ablations.experiments.reporting.findings.image_intervals import UNKNOWN, Resampling
from encoder_ablations.experiments.reporting.findings.labels.label_curves import LabelCurves
from encoder_ablations.experiments.reporting.findings.labels.label_tables import (
    labels_cost_table,
    labels_per_class_table,
    labels_table,
)
from encoder_ablations.experiments.reporting.findings.labels.predicted_masks import (
    predicted_masks_table,
)
from encoder_ablations.experiments.reporting.findings.privacy import privacy_table
from encoder_ablations.experiments.reporting.findings.protocols import protocols_table
from encoder_ablations.experiments.reporting.findings.published_scores import Cited, citations
from encoder_ablations.experiments.reporting.findings.rank_stability import (
    deviations_table,
    stability_table,
)
from encoder_ablations.experiments.reporting.findings.ranking import (
    Comparison,
    cost_of,
    pretraining,
    ranking,
)
from encoder_ablations.experiments.reporting.findings.study import Study
from encoder_ablations.experiments.reporting.findings.tuning.tables import (
    choices_table,
    sensitivity_table,
    trials_table,
)
from encoder_ablations.experiments.reporting.findings.worst_images import (
    disagreements_table,
    worst_images_table,
)
from encoder_ablations.experiments.reporting.page.compact_latex import compact_latex
from encoder_ablations.experiments.reporting.page.runs_table import runs_csv
from encoder_ablations.experiments.reporting.text import formats
from encoder_ablations.experiments.reporting.text.table import Table
from encoder_ablations.utils.files import write_text


def write_tables(
    study: Study,
    made: Mapping[str, Table],
    resampling: Resampling,
    curves: Sequence[LabelCurves],
) -> list[Path]:
    """Write ``tables/NAME.{csv,md,tex}`` for all tables, ``compact.tex`` and ``runs.csv``.

    Returns the paths.

    Args:
        study: whose tables they are.
        made: those of :data:`TABLES`, by name.
        resampling: its intervals over test images.
        curves: its scores from 0 labelled images on; () where no head does without labels.
    """
    tables = {"ranking": ranking_table(study, resampling)}
    if curves:
        tables |= {name: make(curves) for name, make in LABEL_TABLES.items()}
    tables |= made
    contents = {study.folder / "runs.csv": runs_csv(study)}
    for name, table in tables.items():
        path = study.folder / "tables" / name
        contents[path.with_suffix(".csv")] = table.csv()
        contents[path.with_suffix(".md")] = table.markdown()
        contents[path.with_suffix(".tex")] = table.latex()
    contents[study.folder / "tables" / "compact.tex"] = compact_latex(study)
    for path, content in contents.items():
        write_text(path, content)
    return list(contents)


RANKING = ["setting", "encoder", "fraction (%)", "{} (%)", "n", "failed"]
RANKING += ["low (%)", "high (%)", "spread", "std (points)"]
RANKING += ["low with other images (%)", "high with other images (%)"]
RANKING += ["parameters (M)", "trainable (M)", "GFLOPs", "latency (ms)", "training (s)"]
RANKING += ["memory (GB)"]
"""Columns; {} is the main metric."""
PUBLISHED = ["published (%)", "difference (points)", "source"]


def ranking_table(study: Study, resampling: Resampling) -> Table:
    """Return a row for every encoder and fraction, best first within setting and fraction."""
    cited = citations(study.groups)
    rows = []
    for setting in study.settings:
        for group in sorted(setting.groups, key=best_first):
            wide = UNKNOWN
            if group.fraction == setting.reference:
                wide = resampling.interval(group)
            cells = [setting.title, group.encoder, *_scores(group), *map(_percent, wide)]
            rows.append([*cells, *_costs(group), *_published(cited.get(group))])
    label = study.metric.label
    header = [name.format(label) for name in RANKING] + PUBLISHED
    if not cited:
        header, rows = header[: len(RANKING)], [row[: len(RANKING)] for row in rows]
    caption = f"Mean {label} with 95 % t intervals over seeds (n >= 3) or ranges (n = 2)."
    return Table(caption, header, rows, names=2)


def _scores(group: RunGroup) -> list[str]:
    score, share = group.score, f"{group.fraction * 100:g}"
    counts = [str(score.n), str(len(group.failed))]
    spread = [_percent(score.low), _percent(score.high), score.spread, _percent(score.std)]
    return [share, score.text(), *counts, *spread]


def _percent(share: float) -> str:
    return formats.percent(share, 2)


def _published(cited: Cited | None) -> list[str]:
    if cited is None:
        return ["", "", ""]
    return [cited.score, cited.behind, cited.source]


def _costs(group: RunGroup) -> list[str]:
    if not group.runs:
        return [""] * 6
    cost = cost_of(group.runs)
    millions = [f"{cost.parameters / 1e6:.2f}", f"{cost.trainable / 1e6:.2f}"]
    speed = [f"{cost.flops / 1e9:.2f}", f"{cost.latency[1]:.2f}", f"{cost.train_seconds:.1f}"]
    return [*millions, *speed, f"{cost.memory / 1e9:.2f}"]


def per_class_table(study: Study) -> Table:
    """Return the IoU or the recall of every class at each setting's reference fraction."""
    rows = list(chain.from_iterable(map(_class_rows, study.settings)))
    label = study.metric.class_label
    header = ["setting", "encoder", "class", f"{label} (%)", "n"]
    return Table(f"{label} of every class.", header, rows, names=3)


def _class_rows(setting: Setting) -> Iterator[list[str]]:
    groups = [group for group in setting.at(setting.reference) if group.runs]
    for name, group in product(setting.classes, groups):
        score = group.summary(class_score(name)).text()
        yield [setting.title, group.encoder, name, score, str(len(group.runs))]


def differences_table(study: Study) -> Table:
    """Return every pair of encoders at every fraction, over the seeds they share."""
    rows = []
    for setting, share in _places(study):
        for pair in ranking(setting, share).comparisons:
            names = [setting.title, pair.first.encoder, pair.second.encoder, f"{share * 100:g}"]
            wins = f"{pair.difference.wins} of {pair.seeds}"
            rows.append(names + _difference_cells(pair, wins))
    header = ["setting", "first", "second", "fraction (%)", "first - second (points)"]
    header += ["low", "high", "spread", "wins", "effect size (g)", "p (Holm)"]
    return Table("Paired differences over shared seeds.", header, rows, names=3)


def pretraining_table(study: Study) -> Table:
    """Return loaded minus random weights of every network that has both, at every fraction."""
    rows = []
    for setting, share in _places(study):
        for pair in pretraining(setting, share):
            names = [setting.title, pair.first.encoder, f"{share * 100:g}"]
            rows.append(names + _difference_cells(pair, str(pair.seeds)))
    header = ["setting", "encoder", "fraction (%)", "gain (points)"]
    header += ["low", "high", "spread", "n", "effect size (g)", "p (Holm)"]
    return Table("What pretraining adds to the same network.", header, rows, names=2)


def _places(study: Study) -> Iterator[tuple[Setting, float]]:
    """Return every setting with every share of the images, the largest first."""
    for setting in study.settings:
        yield from product([setting], reversed(setting.fractions))


def _difference_cells(pair: Comparison, seeds: str) -> list[str]:
    """Return mean, low, high, their kind, ``seeds``, effect size and p; "" for what is missing."""
    over, effect = pair.difference.over, formats.number(pair.difference.effect, ".2f")
    bounds = [formats.points(over.low), formats.points(over.high)]
    if not over.spread:
        bounds = ["", ""]
    p = formats.number(pair.p, ".4f")
    return [formats.points(pair.mean), *bounds, over.spread, seeds, effect, p]


TABLES: dict[str, Callable[[Study], Table]] = {
    "per_class": per_class_table,
    "differences": differences_table,
    "pretraining": pretraining_table,
    "protocols": protocols_table,
    "efficiency": efficiency_table,
    "target": target_table,
    "stability": stability_table,
    "deviations": deviations_table,
    "transfer": transfer_table,
    "folds": folds_table,
    "federated": federated_table,
    "predicted_masks": predicted_masks_table,
    "confidence": confidence_table,
    "privacy": privacy_table,
    "worst_images": worst_images_table,
    "disagreements": disagreements_table,
    "image_classes": image_classes_table,
    "tuning": choices_table,
    "tuning_trials": trials_table,
    "tuning_settings": sensitivity_table,
}
"""File name -> function that makes the table; the ranking comes before them."""
LABEL_TABLES: dict[str, Callable[[Sequence[LabelCurves]], Table]] = {
    "labels": labels_table,
    "labels_per_class": labels_per_class_table,
    "labels_cost": labels_cost_table,
}
"""The same for tables of curves from 0 labelled images on."""
