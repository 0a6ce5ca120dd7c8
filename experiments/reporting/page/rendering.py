"""The page as HTML: everything that its templates show of the whole study."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from encoder_ablations.experiments.reporting.figures.drawing import Styles
from encoder_ablations.experiments.reporting.findings.cross_dataset import matrices
from encoder_ablations.experiments.reporting.findings.federated import federated_table
from encoder_ablations.experiments.reporting.findings.folds import folds_table
from encoder_ablations.experiments.reporting.findings.labels.predicted_masks import (
    predicted_masks_table,
)
from encoder_ablations.experiments.reporting.findings.study import Study
from encoder_ablations.experiments.reporting.findings.tuning.beside import (
    count_trials,
    main_settings,
)
from encoder_ablations.experiments.reporting.page import all_results
from encoder_ablations.experiments.reporting.page.parts import (
    OF_SETTINGS,
    OF_STUDY,
    shown_parts,
)
from encoder_ablations.experiments.reporting.sentences import cautions, method, summary
from encoder_ablations.utils.pages.html_page import render_page
from encoder_ablations.utils.texts import plural

HERE = Path(__file__).parent
SCRIPTS = ("figures", "filters", "tables", "pictures")
"""Files of ``scripts/``, in their order in the page."""


def render(
    study: Study, styles: Styles, sections: Sequence[dict[str, Any]], values: Mapping[str, Any]
) -> str:
    """Return the page.

    Args:
        study: what is reported.
        styles: encoder -> its colour.
        sections: what is shown of each setting, by names in the templates.
        values: further values by their names in the templates.
    """
    content = _of_study(study, styles, sections) | dict(values)
    for section in sections:
        section["shown_parts"] = shown_parts(OF_SETTINGS, section) if section["ranking"] else []
    return render_page(
        HERE / "page.html",
        finalize=_keep_together,
        script=_script(),
        styles=styles,
        sections=sections,
        parts=shown_parts(OF_STUDY, content),
        **content,
    )


def _of_study(
    study: Study, styles: Styles, sections: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """Return what is shown of the whole study, by names in the templates."""
    main = main_settings(study.settings)
    answers = [section["answer"] for section in sections if section["setting"] in main]
    return {
        "study": study,
        "task": study.task,
        "metric": study.metric,
        "facts": _facts(study),
        "one_answer": summary.one_answer(study, [answer.headline for answer in answers]),
        "scopes": [answer.scope for answer in answers],
        "is_tuned": any(group.is_tuned for group in study.groups),
        "cost_line": summary.cost_line(study),
        "sure_line": summary.sure_line(study),
        "folds": folds_table(study),
        "federated": federated_table(study),
        "taught": predicted_masks_table(study),
        "matrices": matrices(study),
        "warnings": cautions.warnings(study),
        "failures": [(record, method.run_name(study, record)) for record in study.failed],
        "disclosures": method.disclosures(study),
        "versions": method.versions(study),
        "environment": method.environment(study),
        "commands": method.commands(study),
        **all_results.for_template(study, styles),
    }


def _script() -> Markup:
    """Return all scripts as one."""
    files = [HERE / "scripts" / f"{name}.js" for name in SCRIPTS]
    return Markup("\n".join(path.read_text(encoding="utf-8") for path in files))


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
    if study.trials:
        counted.insert(0, plural(count_trials(study.trials), "trial"))
    return [runs, *counted, f"last run ended {ended[:16].replace('T', ' ')}"]
