"""The report: one HTML page that needs no other file, with tables and figures beside it."""

from collections.abc import Mapping, Sequence
from itertools import chain, product
from pathlib import Path
from typing import Any

from encoder_ablations.experiments.reporting.figures.classes import BARS_OF
from encoder_ablations.experiments.reporting.figures.confidence import draw_confidence
from encoder_ablations.experiments.reporting.figures.confusion import LABELLED
from encoder_ablations.experiments.reporting.figures.drawing import (
    EmbeddedFigure,
    EncoderStyle,
)
from encoder_ablations.experiments.reporting.figures.front import front_chart
from encoder_ablations.experiments.reporting.figures.privacy import draw_privacy
from encoder_ablations.experiments.reporting.figures.qualitative import picture_grid
from encoder_ablations.experiments.reporting.figures.results import PANELS, draw_setting
from encoder_ablations.experiments.reporting.figures.styles import encoder_styles
from encoder_ablations.experiments.reporting.figures.training_curves import CROWDED, panel_shares
from encoder_ablations.experiments.reporting.findings.confidence import Confidence, confidence_of
from encoder_ablations.experiments.reporting.findings.groups import Setting
from encoder_ablations.experiments.reporting.findings.image_intervals import Resampling, caution
from encoder_ablations.experiments.reporting.findings.labels.label_curves import label_curves
from encoder_ablations.experiments.reporting.findings.privacy import (
    privacy_curves,
    privacy_gain,
    privacy_table,
)
from encoder_ablations.experiments.reporting.findings.published_scores import sources
from encoder_ablations.experiments.reporting.findings.rank_stability import across
from encoder_ablations.experiments.reporting.findings.ranking import ranking
from encoder_ablations.experiments.reporting.findings.study import Study
from encoder_ablations.experiments.reporting.page import grids, views
from encoder_ablations.experiments.reporting.page.confusions import confusions
from encoder_ablations.experiments.reporting.page.labels import LabelPart, label_parts
from encoder_ablations.experiments.reporting.page.rendering import render
from encoder_ablations.experiments.reporting.page.report_files import ReportFiles
from encoder_ablations.experiments.reporting.page.tables import TABLES, write_tables
from encoder_ablations.experiments.reporting.page.terminal import terminal_ranking
from encoder_ablations.experiments.reporting.page.tuning import tuning_parts
from encoder_ablations.experiments.reporting.sentences import method, zero_labels
from encoder_ablations.experiments.reporting.sentences.answer import Answer, answer, scope_of
from encoder_ablations.experiments.reporting.sentences.cost import cost_sentences, front_sentence
from encoder_ablations.experiments.reporting.sentences.federated import said_of_federation
from encoder_ablations.experiments.reporting.sentences.predicted_masks import said_of_teachers
from encoder_ablations.experiments.reporting.sentences.pretraining_gain import gain, gain_headline
from encoder_ablations.experiments.reporting.sentences.protocols import said_of_protocols
from encoder_ablations.experiments.reporting.text import formats
from encoder_ablations.utils import garbage
from encoder_ablations.utils.files import write_text

HERE = Path(__file__).parent
OF_SETTINGS = (
    "protocols",
    "efficiency",
    "target",
    "stability",
    "deviations",
    "confidence",
    "worst_images",
    "disagreements",
    "image_classes",
)
"""Tables that the page shows setting by setting."""


def report_of(study: Study) -> ReportFiles:
    """Write report.html, runs.csv, tables/ and figures/ into the folder of a study."""
    with garbage.paused():
        return _report_of(study)


def _report_of(study: Study) -> ReportFiles:
    styles = encoder_styles(study.groups)
    resampling = Resampling(study)
    made = {name: make(study) for name, make in TABLES.items()}
    shared = {name: made[name] for name in OF_SETTINGS}
    sections = []
    # figures are large and refer to themselves; those of the last setting are left to the end
    for number, setting in enumerate(garbage.searched_between(study.settings), start=1):
        section = _section(study, setting, styles, f"s{number}", resampling)
        section["number"] = number - 1
        sections.append(section | {name: shared[name].only(setting.title) for name in shared})
    curves = label_curves(study.groups, resampling.scores, resampling.interval)
    labels = label_parts(curves, study.folder / "figures")
    tables = write_tables(study, made, resampling, curves)
    problems = [*study.damaged, *resampling.problems]
    page = study.folder / "report.html"
    private, tuning = _private(study, styles), tuning_parts(study, styles)
    between = across(shared["stability"])
    values = {"labels": labels, "between": between, "private": private, "problems": problems}
    values |= {"tuning": tuning, "said_of_federation": said_of_federation(study)}
    taught = said_of_teachers(study)
    values["said_of_teachers"] = taught
    values["front_chart"] = front_chart(study.settings, styles)
    write_text(page, render(study, styles, sections, values))
    headlines = [section["answer"].with_scope for section in sections]
    headlines += chain.from_iterable(part.sentences for part in labels)
    headlines += taught
    headlines += chain.from_iterable(part["headlines"] for part in tuning)
    ranked = terminal_ranking(study.groups)
    files = _files(study, sections + private + tuning, labels)
    return ReportFiles(page, tables, files, ranked, headlines, problems)


def _files(
    study: Study, sections: Sequence[Mapping[str, Any]], labels: Sequence[LabelPart]
) -> list[Path]:
    """Return the files of all figures."""
    figures = [figure.name for section in sections for figure in section["figures"].values()]
    figures += [figure.name for part in labels for figure in part.figures.values()]
    names = map("".join, product(figures, (".png", ".pdf")))
    return [study.folder / "figures" / name for name in names]


def _section(
    study: Study,
    setting: Setting,
    styles: dict[str, EncoderStyle],
    key: str,
    resampling: Resampling,
) -> dict[str, Any]:
    """Return everything that the page shows of one setting, by its name in the template."""
    rows = views.ranking_rows(setting, resampling)
    encoders = [row.encoder for row in rows]
    everyone = list(dict.fromkeys(encoders + setting.encoders))
    ranked = ranking(setting, setting.reference)
    measured = confidence_of(study, setting)
    # those at the reference share have been read for the ranking's intervals
    few = resampling.few([*setting.at(setting.reference), *setting.groups])
    return {
        "key": key,
        "setting": setting,
        "answer": _answer(setting, resampling),
        "said_of_gain": gain(setting),
        "said_of_cost": cost_sentences(ranked),
        "said_of_protocols": said_of_protocols(setting),
        "share": formats.fraction(setting.reference),
        "ranking": rows,
        "sources": sources(row.published for row in rows if row.published),
        "scale": views.ranking_scale(setting),
        "figures": _drawn(study, setting, styles, key, measured),
        "measured": measured,
        "caution": caution(few),
        "fractions": grids.fractions_grid(setting, everyone),
        "pretraining": grids.pretraining_grid(setting),
        "panels": PANELS,
        "bars_of": BARS_OF,
        "crowded": len(everyone) > CROWDED,
        "curve_shares": list(map(formats.fraction, panel_shares(setting))),
        "quality": grids.quality_grid(setting, encoders),
        "costs": views.cost_rows(setting, encoders),
        "parts": grids.flops_by_part(setting, encoders),
        "input_size": views.input_size(setting),
        "convergence": views.convergence_rows(setting, everyone),
        "front": front_sentence(ranked),
        "mistakes": grids.mistakes(setting, encoders[:PANELS]),
        "confusions": confusions(setting, encoders[:PANELS]),
        "classes": grids.classes_grid(setting, encoders),
        "rare": len(setting.classes) - len(setting.shown_classes),
        "matrix_classes": LABELLED - 1,
        "pictures": picture_grid(study, setting, encoders),
        "protocol": method.protocol(setting),
    }


def _answer(setting: Setting, resampling: Resampling) -> Answer:
    """Return the answer; without labels there are no seeds to compare by."""
    ranked = ranking(setting, setting.reference)
    if not setting.without_labels or not ranked.standings:
        return answer(setting, resampling, gain_headline(setting))
    return Answer(
        setting.title,
        zero_labels.headline(ranked, resampling),
        scope_of(setting, ranked),
        zero_labels.scores(ranked, resampling),
        zero_labels.certainty(setting),
    )


def _drawn(
    study: Study,
    setting: Setting,
    styles: dict[str, EncoderStyle],
    key: str,
    measured: Confidence | None,
) -> dict[str, EmbeddedFigure]:
    """Draw and save the figures of a setting, and return them by name."""
    folder = study.folder / "figures"
    figures = draw_setting(setting, styles, folder, key)
    if measured is not None:
        figures["confidence"] = draw_confidence(measured.records, styles, folder, key)
    return figures


def _private(study: Study, styles: dict[str, EncoderStyle]) -> list[dict[str, Any]]:
    """Return what the page shows of private trainings, a mapping for each data and head."""
    table, folder = privacy_table(study), study.folder / "figures"
    found = []
    for number, curves in enumerate(privacy_curves(study), start=1):
        figures = {}
        if curves.is_curve:
            figures["privacy"] = draw_privacy(curves, styles, folder, number)
        part = {"title": curves.title, "table": table.only(curves.title), "figures": figures}
        found.append(part | {"said": privacy_gain(curves)})
    return found
