"""The report: one HTML page that needs no other file, with tables and figures beside it."""

import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from encoder_ablations.experiments.reporting.figures.classes import BARS_OF
from encoder_ablations.experiments.reporting.figures.confusion import LABELLED
from encoder_ablations.experiments.reporting.figures.curves import CROWDED, panel_shares
from encoder_ablations.experiments.reporting.figures.drawing import EncoderStyle, encoder_styles
from encoder_ablations.experiments.reporting.figures.qualitative import picture_grid
from encoder_ablations.experiments.reporting.figures.results import PANELS, draw_setting
from encoder_ablations.experiments.reporting.findings.collection import Study, collect
from encoder_ablations.experiments.reporting.findings.cross_dataset import matrices
from encoder_ablations.experiments.reporting.findings.folds import folds_table
from encoder_ablations.experiments.reporting.findings.groups import (
    RunGroup,
    Setting,
    best_first,
)
from encoder_ablations.experiments.reporting.findings.image_intervals import Resampling, caution
from encoder_ablations.experiments.reporting.findings.published_scores import (
    Cited,
    citations,
    sources,
)
from encoder_ablations.experiments.reporting.findings.rank_stability import across
from encoder_ablations.experiments.reporting.page import grids, views
from encoder_ablations.experiments.reporting.page.tables import TABLES, write_tables
from encoder_ablations.experiments.reporting.sentences import method
from encoder_ablations.experiments.reporting.sentences.answer import Answer, answer
from encoder_ablations.experiments.reporting.sentences.cost import front_sentence
from encoder_ablations.experiments.reporting.text import formats
from encoder_ablations.experiments.reporting.text.table import Table
from encoder_ablations.utils.files import write_text
from encoder_ablations.utils.texts import plural

HERE = Path(__file__).parent


@dataclass(frozen=True)
class ReportFiles:
    """What was written, and texts for the terminal.

    Attributes:
        page: the HTML page.
        tables: their files.
        figures: their files.
        ranking: a small table.
        headlines: the shortest answer of every setting.
        problems: files that could not be used, one line each.
    """

    page: Path
    tables: list[Path]
    figures: list[Path]
    ranking: str
    headlines: list[str]
    problems: list[str]

    def announce(self) -> None:
        """Print the ranking, the answer and where the report lies."""
        answers = "\n".join(self.headlines)
        print(
            f"\n{self.ranking}\n\n{answers}\n\nreport: {self.page}\ntables: {self.tables[0].parent}"
        )
        for problem in self.problems:
            print(f"left out: {problem}", file=sys.stderr)


def write_report(study_folder: Path | str) -> ReportFiles:
    """Write report.html, runs.csv, tables/ and figures/ into the study's folder.

    Args:
        study_folder: the folder that holds ``runs/``.

    Raises:
        InputError: there are no records, or they cannot be read.
    """
    study = collect(Path(study_folder))
    styles = encoder_styles(study)
    resampling = Resampling(study)
    figures = study.folder / "figures"
    shared = {
        name: TABLES[name](study) for name in ("efficiency", "target", "stability", "deviations")
    }
    sections = []
    for number, setting in enumerate(study.settings, start=1):
        section = _section(study, setting, styles, figures, f"s{number}", resampling)
        section |= {name: table.only(setting.title) for name, table in shared.items()}
        sections.append(section)
    tables = write_tables(study, resampling)
    problems = [*study.damaged, *resampling.problems]
    between = {"between": across(shared["stability"]), "folds": folds_table(study)}
    page = study.folder / "report.html"
    write_text(page, _render(study, styles, sections, between, problems))
    names = [figure.name for section in sections for figure in section["figures"].values()]
    drawn = [figures / f"{name}.{ending}" for name in names for ending in ("png", "pdf")]
    headlines = [_headline(section["answer"]) for section in sections]
    return ReportFiles(page, tables, drawn, terminal_ranking(study.groups), headlines, problems)


def _headline(found: Answer) -> str:
    return f"{found.headline} ({found.scope})" if found.scope else found.headline


def terminal_ranking(groups: Iterable[RunGroup]) -> str:
    """Return encoder, fraction, mIoU, spread and seeds in aligned columns, best first.

    Every setting has a block of lines; published scores, where there are any, follow our own.
    """
    blocks: dict[str, list[RunGroup]] = {}
    for group in groups:
        blocks.setdefault(group.setting, []).append(group)
    return "\n\n".join(_block(title, members) for title, members in blocks.items())


def _block(title: str, groups: list[RunGroup]) -> str:
    groups = sorted(groups, key=best_first)
    cited = citations(groups)
    rows = [["encoder", "images", "mIoU %", "spread", "n"], *map(_terminal_row, groups)]
    if cited:
        rows[0] += ["published %", "ours minus that"]
        for group, row in zip(groups, rows[1:], strict=True):
            row += _terminal_citation(cited.get(group))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [_aligned(row, widths) for row in rows]
    lines += [f"[{note}] {text}" for note, text in enumerate(sources(cited.values()), start=1)]
    return "\n".join([title, *(f"  {line}" for line in lines)])


def _terminal_row(group: RunGroup) -> list[str]:
    mean, _, spread = group.score.text(with_n=False).partition(" ")
    seeds = str(group.score.n)
    if group.failed:
        seeds += f" ({len(group.failed)} failed)"
    return [group.encoder, formats.fraction(group.fraction), mean, spread.strip("()"), seeds]


def _terminal_citation(cited: Cited | None) -> list[str]:
    return ["", ""] if cited is None else [f"{cited.score} [{cited.note}]", cited.behind]


NUMBERS = (1, 2, 5)
"""Columns that are aligned to the right."""


def _aligned(row: list[str], widths: list[int]) -> str:
    cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
    for column in range(len(row)):
        if column in NUMBERS:
            cells[column] = row[column].rjust(widths[column])
    return "  ".join(cells).rstrip()


def _section(
    study: Study,
    setting: Setting,
    styles: dict[str, EncoderStyle],
    folder: Path,
    key: str,
    resampling: Resampling,
) -> dict[str, Any]:
    """Return everything that the page shows of one setting, by its name in the template."""
    rows = views.ranking(setting, resampling)
    encoders = [row.encoder for row in rows]
    everyone = list(dict.fromkeys(encoders + setting.encoders))
    figures = draw_setting(setting, styles, folder, key)
    has_series = any("data-series" in figure.svg for figure in figures.values())
    few: dict[str, int] = {}
    for group in setting.groups:
        few |= resampling.few(group)
    return {
        "key": key,
        "setting": setting,
        "answer": answer(setting, resampling),
        "share": formats.fraction(setting.reference) if setting.reference else formats.DASH,
        "ranking": rows,
        "sources": sources(row.published for row in rows if row.published),
        "scale": views.ranking_scale(setting),
        "spread_name": rows[0].spread_name if rows else "",
        "figures": figures,
        "toggles": everyone if has_series else [],
        "wide": any(row.wide for row in rows),
        "caution": caution(few),
        "fractions": grids.fractions_grid(setting, everyone),
        "pretraining": grids.pretraining_grid(setting),
        "panels": PANELS,
        "bars_of": BARS_OF,
        "crowded": len(everyone) > CROWDED,
        "curve_shares": [formats.fraction(share) for share in panel_shares(setting)],
        "quality": grids.quality_grid(setting, encoders),
        "costs": views.cost_rows(setting, encoders),
        "parts": grids.flops_by_part(setting, encoders),
        "input_size": views.input_size(setting),
        "convergence": views.convergence_rows(setting, everyone),
        "front": front_sentence(setting),
        "mistakes": grids.mistakes(setting, encoders[:PANELS]),
        "classes": grids.classes_grid(setting, encoders),
        "rare": len(setting.classes) - len(setting.shown_classes),
        "matrix_classes": LABELLED - 1,
        "pictures": picture_grid(study, setting, encoders),
        "protocol": method.protocol(setting),
    }


def _render(
    study: Study,
    styles: dict[str, EncoderStyle],
    sections: list[dict[str, Any]],
    between: dict[str, Table],
    problems: list[str],
) -> str:
    templates = Environment(
        loader=FileSystemLoader(HERE),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_keep_together,
    )
    return templates.get_template("page.html").render(
        css=Markup((HERE / "page.css").read_text(encoding="utf-8")),
        script=Markup((HERE / "page.js").read_text(encoding="utf-8")),
        study=study,
        **between,
        matrices=matrices(study),
        problems=problems,
        facts=_facts(study),
        styles=styles,
        sections=sections,
        warnings=method.warnings(study),
        failures=[(record, method.run_name(study, record)) for record in study.failed],
        disclosures=method.disclosures(study),
        environment=method.environment(study),
        commands=method.commands(study),
    )


def _keep_together(value: Any) -> Any:
    """Return ``value`` with spaces before percent signs at which no line breaks."""
    if isinstance(value, str) and not isinstance(value, Markup):
        return value.replace(" %", "\u00a0%")
    return value


def _facts(study: Study) -> list[str]:
    """Return the study in numbers, for the head of the page."""
    runs = plural(len(study.finished), "finished run")
    if study.failed:
        runs += f", {len(study.failed)} failed"
    encoders = len(set(study.titles.values()))
    datasets = len({record.spec.dataset.name for record in study.records})
    seeds = len({record.spec.seed for record in study.records})
    ended = max(record.finished for record in study.records)
    counted = [plural(encoders, "encoder"), plural(datasets, "dataset"), plural(seeds, "seed")]
    return [runs, *counted, f"last run ended {ended[:16].replace('T', ' ')}"]
