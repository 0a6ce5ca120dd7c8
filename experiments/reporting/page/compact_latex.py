"""A LaTeX table for a paper's column: seven columns at most, for each setting."""

from collections.abc import Sequence

import numpy as np

from encoder_ablations.experiments.reporting.findings.groups import RunGroup, Setting
from encoder_ablations.experiments.reporting.findings.ranking import Ranking, ranking
from encoder_ablations.experiments.reporting.findings.study import Study
from encoder_ablations.experiments.reporting.text import formats
from encoder_ablations.experiments.reporting.text.table import LATEX
from encoder_ablations.experiments.stats.letters import significance_letters
from encoder_ablations.experiments.stats.seeds import ENOUGH

MOST_SHARES = 4
"""Most shares of the images with a column; beside them stand the encoder, GFLOPs and latency."""


def compact_latex(study: Study) -> str:
    r"""Return one table for each setting with a result; it needs ``\usepackage{booktabs}``.

    A cell has the mean in percent, ± half the 95 % interval (three seeds or more), and letters:
    encoders of a column that share one do not differ by the paired t test with Holm's correction.
    """
    return "\n".join(_table(setting) for setting in study.settings if setting.scored)


def _table(setting: Setting) -> str:
    shares = _shown_shares(setting)
    columns = [_column(ranking(setting, share)) for share in shares]
    ranked = ranking(setting, setting.reference)
    titles = [f"{formats.fraction(share)}" for share in shares]
    header = ["Encoder", *titles, "GFLOPs", "ms"]
    rows = []
    for standing in ranked.standings:
        cells = [column.get(standing.encoder, formats.DASH) for column in columns]
        costs = [formats.giga(standing.flops), formats.three_digits(standing.latency)]
        rows.append([standing.encoder, *cells, *costs])
    body = [" & ".join(map(_escaped, row)) + r" \\" for row in [header, *rows]]
    lines = [
        r"\begin{table}",
        r"\centering",
        rf"\caption{{{_escaped(_caption(setting, shares))}}}",
        rf"\begin{{tabular}}{{l{'r' * (len(header) - 1)}}}",
        r"\toprule",
        body[0],
        r"\midrule",
        *body[1:],
        r"\bottomrule",
        r"\end{tabular}",
        r"\end{table}",
    ]
    return "\n".join(lines) + "\n"


def _shown_shares(setting: Setting) -> list[float]:
    """Return the shares with a column: evenly chosen, both ends among them."""
    shares = sorted({group.fraction for group in setting.scored})
    chosen = np.linspace(0, len(shares) - 1, min(len(shares), MOST_SHARES)).round()
    return [shares[int(place)] for place in chosen]


def _column(ranked: Ranking) -> dict[str, str]:
    """Return encoder -> its cell at one share of the images."""
    groups = [standing.group for standing in ranked.standings]
    letters = _letters(ranked, groups)
    cells = {}
    for group, letter in zip(groups, letters, strict=True):
        text = group.score.text()
        # marked here, because escaping would change the backslash
        cells[group.encoder] = f"{text}{MARK}{letter}{MARK}" if letter else text
    return cells


MARK = "\x00"
"""Around the letters of a cell, until the text is LaTeX."""


def _letters(ranked: Ranking, groups: Sequence[RunGroup]) -> list[str]:
    """Return the letters of every encoder; "" where not all pairs were tested."""
    pairs = ranked.comparisons
    every = len(groups) * (len(groups) - 1) // 2
    if len(groups) < 2 or len(pairs) < every or not all(pair.tested for pair in pairs):
        return [""] * len(groups)
    different = [pair.names for pair in pairs if pair.holds]
    return significance_letters([group.encoder for group in groups], different)


def _escaped(text: str) -> str:
    """Return a text as LaTeX, with its marked letters as a superscript."""
    plain, *marked = text.split(MARK)
    escaped = plain.translate(LATEX)
    if not marked:
        return escaped
    return rf"{escaped}\textsuperscript{{{marked[0]}}}"


def _caption(setting: Setting, shares: Sequence[float]) -> str:
    told = f"{setting.metric.label} (%) on {setting.title}"
    if len(shares) > 1:
        told += " by share of the training images"
    seeds = min(group.score.n for group in setting.scored)
    if seeds < ENOUGH:
        return f"{told}. Fewer than {ENOUGH} seeds: no interval and no test."
    return (
        f"{told}: mean ± half the 95 % interval over seeds. Encoders that share a letter in a "
        "column do not differ (paired t test, Holm, 5 %)."
    )
