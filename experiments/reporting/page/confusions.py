"""Confusion matrices as tables of the page, one for each of the best encoders."""

import math
from dataclasses import dataclass

import numpy as np

from encoder_ablations.experiments.reporting.figures.confusion import (
    LABELLED,
    matrix_rows,
    row_shares,
)
from encoder_ablations.experiments.reporting.findings.groups import Setting
from encoder_ablations.experiments.reporting.text import formats

DARKEST = 60
"""Percent of blue in the darkest cell; letters stay legible on it."""


@dataclass(frozen=True)
class Shade:
    """A cell: its share in percent as text, and the percent of blue in its ground."""

    text: str
    percent: int


@dataclass(frozen=True)
class Confusion:
    """The matrix of one encoder, all seeds added up.

    Attributes:
        encoder: its title.
        found: the mean share of a class that is found, in percent.
        classes: names of rows and columns.
        rows: a true class and its shades.
    """

    encoder: str
    found: str
    classes: list[str]
    rows: list[tuple[str, list[Shade]]]


def confusions(setting: Setting, encoders: list[str]) -> list[Confusion]:
    """Return the matrices of encoders that have runs at the reference fraction.

    Matrices of very many classes are left out: those are in the figure and in the records.
    """
    classes, kept = matrix_rows(setting)
    if len(classes) > LABELLED:
        return []
    return [_confusion(setting, encoder, classes, kept) for encoder in encoders]


def _confusion(
    setting: Setting, encoder: str, classes: list[str], kept: list[int] | None
) -> Confusion:
    shares = row_shares(setting.group(encoder, setting.reference), kept)
    rows = [(name, list(map(_shade, row))) for name, row in zip(classes, shares, strict=True)]
    found = formats.percent(float(np.nanmean(np.diagonal(shares))), 0)
    return Confusion(encoder, found, classes, rows)


def _shade(share: float) -> Shade:
    """Return the cell of a share; a dash where the class does not occur in the truth."""
    if math.isnan(share):
        return Shade(formats.DASH, 0)
    return Shade(f"{100 * share:.0f}", round(DARKEST * share))
