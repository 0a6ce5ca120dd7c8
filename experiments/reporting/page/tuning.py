"""The part of the page about tuning."""

from pathlib import Path
from typing import Any

from encoder_ablations.experiments.reporting.figures.drawing import EncoderStyle
from encoder_ablations.experiments.reporting.figures.tuning import draw_tuning
from encoder_ablations.experiments.reporting.findings.study import Study
from encoder_ablations.experiments.reporting.findings.tuning.tables import (
    choices_table,
    sensitivity_table,
)
from encoder_ablations.experiments.reporting.findings.tuning.trials import tuning
from encoder_ablations.experiments.reporting.sentences.tuning import disagreement, said_of_tuning
from encoder_ablations.experiments.reporting.text import formats
from encoder_ablations.experiments.reporting.text.table import Table


def tuning_parts(study: Study, styles: dict[str, EncoderStyle]) -> list[dict[str, Any]]:
    """Return what the page shows of tuning, a mapping for each data, head and fraction.

    Args:
        study: whose trials they are.
        styles: encoder -> how it is drawn.
    """
    folder = Path(study.folder, "figures")
    choices, leaders = choices_table(study), sensitivity_table(study)
    found = []
    for number, place in enumerate(tuning(study.groups, study.trials), start=1):
        share = f"{place.fraction * 100:g}"
        figures = {}
        if len(place.encoders[0].trials) > 1:
            drawn = draw_tuning(place, study.metric.label, styles, folder, number)
            figures["tuning"] = drawn
        said = said_of_tuning(place)
        found.append(
            {
                "title": f"{place.title}, {formats.fraction(place.fraction)} of the images",
                "said": said,
                "headlines": list(dict.fromkeys([said[0], *disagreement(place)])),
                "figures": figures,
                "choices": _at(choices.only(place.title), share),
                "leaders": _at(leaders.only(place.title), share),
            }
        )
    return found


def _at(table: Table, share: str) -> Table:
    """Return the rows at a share of the images, without that column."""
    column = table.header.index("images (%)")
    rows = [_without(row, column) for row in table.rows if row[column] == share]
    names = table.names - (column < table.names)
    return Table(table.caption, _without(table.header, column), rows, names)


def _without(cells: list[Any], column: int) -> list[Any]:
    return [*cells[:column], *cells[column + 1 :]]
